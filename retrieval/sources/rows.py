"""A row of a table or of a JSONL file as a document: its name, its text, and its tenant, labels and metadata.

A line of a JSONL file is `{"id": ..., "title": ..., "text": ...}`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.filters.filters import MAX_TEXT_BYTES, METADATA_NAME, Scalar, unfit
from retrieval.filters.rights import Attributes
from retrieval.sources.document import Document, Emptied, Origin, Unreadable, unreadable
from retrieval.sources.parsing.limits import MAX_FILE_BYTES

MAX_ID_BYTES = 1000


def row_name(key: object) -> str:
    """The id as the last part of a document's name: what is too long to be one ends in its digest."""
    name = str(key)
    written = name.encode(errors="backslashreplace")
    if len(written) <= MAX_ID_BYTES:
        return name
    return f"{written[:900].decode(errors='ignore')}~{hashlib.sha256(written).hexdigest()[:16]}"


def row_text(row: Mapping[str, Any], title: str | None, columns: Sequence[str]) -> str:
    """The title as a heading, then the columns, one paragraph each; empty ones are left out.

    Raises:
        Unreadable: a column holds bytes that are not UTF-8 or characters that are none, or the text is too long.
    """
    heading = " ".join(_text(row[title]).split()) if title else ""
    paragraphs = [f"# {heading}"] if heading else []
    paragraphs += [text for column in columns if (text := _text(row[column]).strip())]
    text = "\n\n".join(paragraphs).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise Unreadable("is not text (it holds NUL bytes)")
    if (size := _num_bytes(text)) > MAX_FILE_BYTES:
        raise Unreadable(f"has {size / 2**20:.0f} MiB, more than {MAX_FILE_BYTES // 2**20}")
    return text


def row_attributes(
    source: Attributes, row: Mapping[str, Any], tenant: str | None, access: str | None, metadata: Sequence[str]
) -> Attributes:
    """What the source says of all its documents, and the columns `tenant`, `access` and `metadata` of this one.

    Raises:
        Unreadable: nobody knows whom the row is for, or it carries what no store keeps.
    """
    for name in (tenant, access):
        if name and row[name] is None:
            raise Unreadable(f"has no {name}")
    values = {name: value for name in metadata if (value := _scalar(row[name])) is not None}
    try:
        whose = str(row[tenant]).strip() if tenant else source.tenant
        if tenant and not whose:
            raise Unreadable(f"has no {tenant}")
        labels = _labels(row[access]) if access else source.access
        return Attributes(whose, labels, {**values, **source.metadata})
    except TandemError as error:
        raise Unreadable(f"cannot carry its columns: {error.seen.rstrip('.')}") from error


def filterable(value: object) -> bool:
    """Whether searches can be filtered by a value of a row."""
    return unfit(value) is None and not (isinstance(value, str) and _num_bytes(value) > MAX_TEXT_BYTES)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"is not UTF-8 (byte {error.start})") from error
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)  # a JSON column, as its driver gives it
    return value if isinstance(value, str) else str(value)


def _num_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise Unreadable(f"holds half a character (at {error.start})") from error


def _scalar(value: object) -> Scalar | None:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, str | int | float) else _text(value)


def _labels(value: object) -> tuple[str, ...]:
    """A list (an array column, or JSON), or labels separated by commas."""
    if isinstance(value, str):
        value = _parsed(value) if value.lstrip().startswith("[") else value.split(",") if value.strip() else []
    if not isinstance(value, list | tuple) or not all(isinstance(label, str) for label in value):
        raise Unreadable("has labels that are no list of texts")
    return tuple(label.strip() for label in value)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreadable("has labels that begin like a JSON list and are none") from error


MAX_LINE_BYTES = 16 * 1024 * 1024
IDS = ("id", "_id")
TEXTS = ("text", "content")
_NO_METADATA = {*IDS, *TEXTS, "title"}


def row_documents(
    file: str, chunks: Iterable[bytes], attributes: Attributes, path: Path | None, origin: Origin | None = None
) -> Iterator[Document]:
    """Every row of a file, one at a time. Fields that searches can be filtered by become metadata.

    A row says nothing of tenant and labels: its author must not decide who reads it.

    Args:
        file: the file's name in the index; a row's is `file#id`, with the number of its line where it has no id. A
            line that is no row is `file:line`.
        chunks: the file's bytes, in pieces of any length.
        attributes: what the source says of its documents.
        path: the local file, where it is one.
        origin: where the file is kept. A row without an id has no origin: its number is another row's tomorrow.
    """
    for number, line in enumerate(_lines(chunks), 1):
        if line is None:
            reason = f"has more than {MAX_LINE_BYTES // 2**20} MiB on its line"
            yield unreadable(_line_name(file, number), reason, attributes, path)
        elif line.strip():
            yield _document(file, number, line, attributes, path, origin)


def _document(
    file: str, number: int, line: bytes, attributes: Attributes, path: Path | None, origin: Origin | None
) -> Document:
    name, place, is_torn = _line_name(file, number), None, True
    try:
        row = _parsed_line(line)
        is_torn = False
        key = _id(row)
        if key is not None:
            name, place = f"{file}#{key}", origin and Origin(origin.root, f"{origin.path}#{key}")
        carried = _attributes(row, attributes)
        text = _text_of(row)
    except Unreadable as error:
        return replace(unreadable(name, error, attributes, path, place), is_torn=is_torn)
    name = f"{file}#{number if key is None else key}"
    return Document(name, carried, partial(digest_json, text), partial(str, text), path, origin=place)


def _line_name(file: str, number: int) -> str:
    """What a line is called that is no document: no row has such a name, whatever its id."""
    return f"{file}:{number}"


def _parsed_line(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise Unreadable("is no JSON object")
    return row


def _id(row: dict[str, Any]) -> str | None:
    """The row's id as a part of its name; None where it has none."""
    key = next((row[name] for name in IDS if row.get(name) not in (None, "")), None)
    if key is None:
        return None
    if isinstance(key, float) and math.isfinite(key):
        return row_name(key)
    if isinstance(key, bool) or not isinstance(key, str | int) or (isinstance(key, str) and unfit(key)):
        raise Unreadable("has an id that is no finite number and no text without control characters")
    return row_name(key)


def _text_of(row: dict[str, Any]) -> str:
    column = next((name for name in TEXTS if isinstance(row.get(name), str)), None)
    if column is None:
        reason = f"has no {' and no '.join(TEXTS)}"
        raise Emptied(reason) if all(row.get(name) is None for name in TEXTS) else Unreadable(reason)
    return row_text(row, "title" if isinstance(row.get("title"), str) else None, [column])


def _attributes(row: dict[str, Any], source: Attributes) -> Attributes:
    metadata = {
        name: value
        for name, value in row.items()
        if name not in _NO_METADATA and METADATA_NAME.fullmatch(name) and filterable(value)
    }
    try:
        return Attributes(source.tenant, source.access, {**metadata, **source.metadata})
    except TandemError as error:
        raise Unreadable(f"cannot carry its fields: {error.seen.rstrip('.')}") from error


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is too long, of which no more is kept than the limit."""
    begun, is_too_long = b"", False
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            is_too_long = is_too_long or len(begun) + len(part) > MAX_LINE_BYTES
            yield None if is_too_long else begun + part
            begun, is_too_long = b"", False
        is_too_long = is_too_long or len(begun) + len(rest) > MAX_LINE_BYTES
        begun = b"" if is_too_long else begun + rest
    if begun or is_too_long:
        yield None if is_too_long else begun
