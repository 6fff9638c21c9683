"""Read a data source: a file or folder of rows, recognised by its content, or a split of a hub data set.

Each record is a JSON object with its place in the file, or the reason why that place has no object. Records are read
one after the other: no more of a source is in memory than the row that is read.
"""

import hashlib
import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.fingerprints.digests import digest_file, digest_folder, digest_json, to_canonical_json
from training.config import DataSource
from training.data.containers.json_documents import is_columns, read_json
from training.data.containers.lines import find_delimiter, read_jsonl, read_table
from training.data.containers.opening import open_raw, open_text, read_head, refuse_others
from training.data.containers.records import SourceRecord, unusable_source
from training.data.containers.tables import (
    ARROW_FILE,
    ARROW_STREAM,
    PARQUET,
    describe_folder,
    is_saved,
    read_arrow,
    read_hub,
    read_parquet,
    read_saved,
)
from training.data.formats.formats import recognise_format

__all__ = ["OpenSource", "SourceRecord", "digest_source", "open_source", "unusable_source"]

_MAX_FIRST_LINE = 2**26
_MAX_WHOLE = 2**28
_PIECE = 2**20
_DATA_FIRST = re.compile(rb"""\s*\{\s*"data"\s*:\s*\[""")
_TABLES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class OpenSource:
    """A source that is being read: its container (JSONL, CSV, a hub data set ...) and its records."""

    container: str
    records: Iterator[SourceRecord]


def open_source(source: DataSource) -> OpenSource:
    """Open a source; its records are read while a caller iterates over them.

    Raises:
        TandemError: the source does not exist, cannot be read, or is not in the format that its name says.
    """
    if source.path is None:
        return OpenSource("hub data set", read_hub(source.name, source.hub, source.split))
    if source.path.is_dir():
        _check_saved(source.path)
        return OpenSource("saved data set", read_saved(source.path, source.split))
    container, read = _detect_container(source.path)
    return OpenSource(container, read(source.path))


def digest_source(source: DataSource) -> str:
    """A digest of a source's content: of a file's bytes, a folder's files and split, or a hub data set's rows.

    Raises:
        TandemError: as `open_source`.
    """
    if source.path is None:
        return _digest_records(read_hub(source.name, source.hub, source.split))
    if source.path.is_dir():
        _check_saved(source.path)
        return digest_json([digest_folder(source.path, (".arrow", ".json")), source.split])
    _detect_container(source.path)
    return digest_file(source.path)


def _digest_records(records: Iterator[SourceRecord]) -> str:
    """What `digest_json` gives for the list of values, of which only one is in memory."""
    hashed = hashlib.sha256(b"[")
    for number, record in enumerate(records):
        hashed.update(("," if number else "").encode() + to_canonical_json(record.value).encode())
    hashed.update(b"]")
    return hashed.hexdigest()


def _check_saved(folder: Path) -> None:
    if not is_saved(folder):
        raise unusable_source(
            folder, describe_folder(folder), "Name a file in it, or set `hub:` to the folder of a data set."
        )


def _detect_container(path: Path) -> tuple[str, Callable[[Path], Iterator[SourceRecord]]]:
    """What a file is, and what reads it. Raises TandemError where it is something that rows are not read from."""
    head = read_head(path)
    refuse_others(path, head)
    if head.startswith(PARQUET):
        return _uncompressed(path, "Parquet"), read_parquet
    if head.startswith((ARROW_FILE, ARROW_STREAM)):
        return _uncompressed(path, "Arrow"), read_arrow
    suffix = _suffix(path)
    if suffix in (".parquet", ".arrow", ".feather") and head:
        name = "Parquet" if suffix == ".parquet" else "Arrow"
        raise unusable_source(path, f"is called {name} and does not begin as such a file does", "Write the file again.")
    file, made_from = open_text(path)
    with file:
        name, read = _detect_text(path, file, suffix)
    return f"{name} ({made_from})" if made_from else name, read


def _uncompressed(path: Path, name: str) -> str:
    file, compression = open_raw(path)
    file.close()
    if compression:
        raise unusable_source(path, f"is {name}, compressed with {compression}", f"Decompress it to a {name} file.")
    return name


def _suffix(path: Path) -> str:
    """The last part of a name, without what it says of a compression."""
    name = Path(path.stem) if path.suffix.lower() in (".gz", ".bz2", ".xz") else path
    return name.suffix.lower()


def _detect_text(path: Path, file: Any, suffix: str) -> tuple[str, Callable[[Path], Iterator[SourceRecord]]]:
    """JSONL, JSON, or a table. One line that is an array, or an object with a list `data`, is JSON; so is a text that
    is JSON as a whole. Any other is JSONL, line by line, unless it is called a table."""
    first, is_whole_line = _first_line(file)
    start = first.strip()[:1]
    if first and start not in (b"[", b"{"):
        line = first[:_PIECE].decode("utf-8-sig", "replace").rstrip("\r\n")
        delimiter = find_delimiter(line)
        if suffix in _TABLES:
            delimiter = delimiter or _TABLES[suffix]
            name = "TSV" if delimiter == "\t" else "CSV"
            return name, lambda path: read_table(path, delimiter)
        if delimiter:
            kind = "TSV" if delimiter == "\t" else "CSV"
            raise unusable_source(
                path, f"is a table of texts ({kind}) by its first line, and its name does not say so",
                f"Call it .{kind.lower()}, or write JSONL, one JSON object per line.",
            )  # fmt: skip
    if not is_whole_line:
        is_json = start == b"[" or (suffix != ".jsonl" and bool(_DATA_FIRST.match(first[:_PIECE])))
        return ("JSON", read_json) if is_json else ("JSONL", read_jsonl)
    more = _has_more(file)
    if _is_single_document(path, first.strip(), more, suffix):
        return "JSON", read_json
    return "JSONL", read_jsonl


def _first_line(file: Any) -> tuple[bytes, bool]:
    """The first line that is not blank, and whether it is whole: a very long one is not read to its end."""
    first = file.readline(_PIECE).removeprefix(BOM_UTF8)
    while not first.strip():
        first = file.readline(_PIECE)
        if not first:
            return first, True
    if first.endswith(b"\n"):
        return first, True
    if first.lstrip()[:1] == b"[":
        rest = file.read(_PIECE)
        return first + rest, not rest and len(first) < _PIECE
    rest = file.readline(_MAX_FIRST_LINE)
    return first + rest, len(rest) < _MAX_FIRST_LINE


def _has_more(file: Any) -> bool:
    """Whether a line that is not blank follows."""
    while piece := file.readline(_PIECE):
        if piece.strip():
            return True
    return False


def _is_single_document(path: Path, first: bytes, more: bool, suffix: str) -> bool:
    if suffix == ".jsonl" and more:
        return False
    try:
        value = json.loads(first.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return first[:1] in (b"[", b"{") and (suffix == ".json" or first[:1] == b"[" or _is_json_file(path))
    return not more and (isinstance(value, list) or (isinstance(value, dict) and _holds_rows(value, suffix)))


def _holds_rows(value: dict[str, Any], suffix: str) -> bool:
    """Whether an object is no row but holds rows: in a list `data`, or as columns."""
    if suffix != ".jsonl" and is_columns(value):
        return True
    try:
        recognise_format(value)
    except ValueError:
        return isinstance(value.get("data"), list) or value.keys() == {"data"}
    return False


def _is_json_file(path: Path) -> bool:
    file, _ = open_text(path)
    with file:
        text = file.read(_MAX_WHOLE)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
