"""Reading a data source: JSONL, JSON or Parquet, recognised by its content, or a split of a hub data set.

Each record is a JSON object with its place in the file, or the reason why there is none at that place. JSON is an array
of objects, or an object whose `data` is one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_file, digest_json
from training.config import DataSource
from training.data.formats import kind

_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Record:
    """What stands at one place: an object, or (where that is None) what is wrong with it."""

    line: int
    where: str
    value: dict[str, Any] | None
    reason: str = ""


@dataclass(frozen=True)
class Reading:
    """A source that is being read: what it is written in, and its records."""

    container: str
    records: Iterator[Record]


def read_source(source: DataSource) -> Reading:
    """Open a source; its records are read as they are asked for.

    Raises:
        TandemError: it does not exist, cannot be read, or is not what it says it is.
    """
    if source.path is None:
        return Reading("hub data set", _rows_of_hub(source))
    container = _container(source.path)
    return Reading(container, {"JSONL": _lines, "JSON": _array, "Parquet": _parquet}[container](source.path))


def digest_source(source: DataSource) -> str:
    """A digest of a source's content: of a file's bytes, or of a hub data set's rows.

    Raises:
        TandemError: as `read_source`.
    """
    if source.path is None:
        return digest_json([record.value for record in _rows_of_hub(source)])
    _container(source.path)
    return digest_file(source.path)


def unusable(
    name: object, problem: str, remedy: str = "Set `training.data` in the project file to such a file."
) -> TandemError:
    """The error for a source that no row can be read from."""
    return TandemError(
        f"The training data {name} {problem}.", "A JSONL, JSON or Parquet file with at least one row.", remedy
    )


def _container(path: Path) -> str:
    """JSONL, JSON or Parquet. One line that is an array, or an object with only `data`, is JSON; so is a text that is
    JSON as a whole, and any other is JSONL, line by line."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_PARQUET))
            file.seek(0)
            first = next((line for line in file if line.strip()), b"")
            more = any(line.strip() for line in file)
    except FileNotFoundError as error:
        raise unusable(path, "does not exist") from error
    except IsADirectoryError as error:
        raise unusable(path, "is a folder", "Name a file in it, or set `hub:` to the folder of a data set.") from error
    except OSError as error:
        raise unusable(path, f"cannot be read ({error.strerror})") from error
    if head == _PARQUET:
        return "Parquet"
    if path.suffix.lower() == ".parquet" and first:
        raise unusable(path, "is called Parquet and does not begin as such a file does", "Write the file again.")
    return "JSON" if _is_document(path, first.strip(), more) else "JSONL"


def _is_document(path: Path, first: bytes, more: bool) -> bool:
    if path.suffix.lower() == ".jsonl" and more:
        return False
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return first[:1] in (b"[", b"{") and (path.suffix.lower() == ".json" or _parses(path))
    return not more and (isinstance(value, list) or (isinstance(value, dict) and value.keys() == {"data"}))


def _parses(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _lines(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if text.strip():
                yield _record(number, f"{path}:{number}", text)


def _record(line: int, where: str, text: bytes) -> Record:
    try:
        return _checked(line, where, json.loads(text.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        return Record(line, where, None, f"not UTF-8 text (byte {error.start + 1})")
    except json.JSONDecodeError as error:
        return Record(line, where, None, f"not JSON ({error.msg}, column {error.colno})")
    except RecursionError:
        return Record(line, where, None, "JSON that is nested too deeply")


def _checked(line: int, where: str, value: Any) -> Record:
    if isinstance(value, dict):
        return Record(line, where, value)
    return Record(line, where, None, f"a JSON {kind(value)}, not an object")


def _array(path: Path) -> Iterator[Record]:
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise unusable(path, f"is not UTF-8 text (byte {error.start + 1})", "Write it in UTF-8.") from error
    except json.JSONDecodeError as error:
        problem = f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        raise unusable(path, problem, "Mend that place; the file may have been cut off.") from error
    except RecursionError as error:
        raise unusable(path, "is JSON that is nested too deeply") from error
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise unusable(path, "is a JSON object without a list `data`", "Write an array of rows, or one row per line.")
    for number, row in enumerate(rows, start=1):
        yield _checked(number, f"{path}:row {number}", row)


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    number += 1
                    yield Record(number, f"{path}:row {number}", value)
    except (pyarrow.ArrowException, OSError) as error:
        problem = f"is not readable Parquet behind row {number} ({str(error).splitlines()[0]})"
        raise unusable(path, problem, "Write the file again.") from error


def _rows_of_hub(source: DataSource) -> Iterator[Record]:
    for number, value in enumerate(_load_hub(source), start=1):
        yield _checked(number, f"{source.name}:row {number}", value)


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
