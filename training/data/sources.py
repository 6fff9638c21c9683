"""Read a data source: JSONL, JSON or Parquet, recognised by its content, or a split of a hub data set.

Each record is a JSON object with its place in the file, or the reason why that place has no object. JSON is an array of
objects, or an object whose `data` is an array.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_file, digest_json
from training.config import DataSource
from training.data.formats.values import json_type, parse_json

_PARQUET = b"PAR1"


@dataclass(frozen=True)
class SourceRecord:
    """One record of a source: `value` is its object, or None where the record is unusable for the given `reason`."""

    line: int
    where: str
    value: dict[str, Any] | None
    reason: str = ""


@dataclass(frozen=True)
class OpenSource:
    """A source that is being read: its container (JSONL, JSON, Parquet or a hub data set) and its records."""

    container: str
    records: Iterator[SourceRecord]


def open_source(source: DataSource) -> OpenSource:
    """Open a source; its records are read while a caller iterates over them.

    Raises:
        TandemError: the source does not exist, cannot be read, or is not in the format that its name says.
    """
    if source.path is None:
        return OpenSource("hub data set", _read_hub(source))
    container = _detect_container(source.path)
    return OpenSource(
        container, {"JSONL": _read_jsonl, "JSON": _read_json, "Parquet": _read_parquet}[container](source.path)
    )


def digest_source(source: DataSource) -> str:
    """A digest of a source's content: of a file's bytes, or of a hub data set's rows.

    Raises:
        TandemError: as `open_source`.
    """
    if source.path is None:
        return digest_json([record.value for record in _read_hub(source)])
    _detect_container(source.path)
    return digest_file(source.path)


def unusable_source(
    name: object, problem: str, remedy: str = "Set `training.data` in the project file to such a file."
) -> TandemError:
    """The error for a source that no row can be read from."""
    return TandemError(
        f"The training data {name} {problem}.", "A JSONL, JSON or Parquet file with at least one row.", remedy
    )


def _detect_container(path: Path) -> str:
    """JSONL, JSON or Parquet. One line that is an array, or an object with only `data`, is JSON; so is a text that is
    JSON as a whole, and any other is JSONL, line by line."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_PARQUET))
            file.seek(0)
            first = next((line for line in file if line.strip()), b"")
            more = any(line.strip() for line in file)
    except FileNotFoundError as error:
        raise unusable_source(path, "does not exist") from error
    except IsADirectoryError as error:
        raise unusable_source(
            path, "is a folder", "Name a file in it, or set `hub:` to the folder of a data set."
        ) from error
    except OSError as error:
        raise unusable_source(path, f"cannot be read ({error.strerror})") from error
    if head == _PARQUET:
        return "Parquet"
    if path.suffix.lower() == ".parquet" and first:
        raise unusable_source(path, "is called Parquet and does not begin as such a file does", "Write the file again.")
    return "JSON" if _is_single_document(path, first.strip(), more) else "JSONL"


def _is_single_document(path: Path, first: bytes, more: bool) -> bool:
    if path.suffix.lower() == ".jsonl" and more:
        return False
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return first[:1] in (b"[", b"{") and (path.suffix.lower() == ".json" or _is_json_file(path))
    return not more and (isinstance(value, list) or (isinstance(value, dict) and value.keys() == {"data"}))


def _is_json_file(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _read_jsonl(path: Path) -> Iterator[SourceRecord]:
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if text.strip():
                yield _parse_line(number, f"{path}:{number}", text)


def _parse_line(line: int, where: str, text: bytes) -> SourceRecord:
    try:
        return _require_object(line, where, parse_json(text.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        return SourceRecord(line, where, None, f"not UTF-8 text (byte {error.start + 1})")
    except json.JSONDecodeError as error:
        return SourceRecord(line, where, None, f"not JSON ({error.msg}, column {error.colno})")
    except ValueError as error:
        return SourceRecord(line, where, None, str(error))
    except RecursionError:
        return SourceRecord(line, where, None, "JSON that is nested too deeply")


def _require_object(line: int, where: str, value: Any) -> SourceRecord:
    if isinstance(value, dict):
        return SourceRecord(line, where, value)
    return SourceRecord(line, where, None, f"a JSON {json_type(value)}, not an object")


def _read_json(path: Path) -> Iterator[SourceRecord]:
    try:
        value = parse_json(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise unusable_source(path, f"is not UTF-8 text (byte {error.start + 1})", "Write it in UTF-8.") from error
    except json.JSONDecodeError as error:
        problem = f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        raise unusable_source(path, problem, "Correct that place; the file may have been cut off.") from error
    except ValueError as error:
        raise unusable_source(path, f"{error} in one object", "Remove one of them, or rename it.") from error
    except RecursionError as error:
        raise unusable_source(path, "is JSON that is nested too deeply") from error
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise unusable_source(
            path, "is a JSON object without a list `data`", "Write an array of rows, or one row per line."
        )
    for number, row in enumerate(rows, start=1):
        yield _require_object(number, f"{path}:row {number}", row)


def _read_parquet(path: Path) -> Iterator[SourceRecord]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    number += 1
                    yield SourceRecord(number, f"{path}:row {number}", value)
    except (pyarrow.ArrowException, OSError) as error:
        problem = f"is not readable Parquet behind row {number} ({str(error).splitlines()[0]})"
        raise unusable_source(path, problem, "Write the file again.") from error


def _read_hub(source: DataSource) -> Iterator[SourceRecord]:
    for number, value in enumerate(_load_hub(source), start=1):
        yield _require_object(number, f"{source.name}:row {number}", value)


def _load_hub(source: DataSource) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(source.hub, split=source.split)
    except (OSError, ValueError, RuntimeError) as error:
        # What `datasets` raises where the hub is out of reach, and where data set, split or files are not there.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TandemError(
            f"The data set {source.name} cannot be loaded ({reason}).",
            "A data set on the hub or in a folder, and one of its splits.",
            "Check `hub` and `split` under `training.data` and the connection to the hub, or name a file by `path`.",
        ) from error
