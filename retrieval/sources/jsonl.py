"""The rows of a JSONL file as documents: `{"id": ..., "title": ..., "text": ...}`, one on each line."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.filters import METADATA_NAME, unfit
from retrieval.rights import Attributes
from retrieval.sources.document import Document, Unreadable, unreadable
from retrieval.sources.rows import filterable, row_name, row_text

MAX_LINE_BYTES = 16 * 1024 * 1024
IDS = ("id", "_id")
TEXTS = ("text", "content")
_NO_METADATA = {*IDS, *TEXTS, "title"}


def documents(file: str, chunks: Iterable[bytes], attributes: Attributes, path: Path | None) -> Iterator[Document]:
    """Every row of a file, one at a time. Fields that searches can be filtered by become metadata.

    A row says nothing of tenant and labels: whoever writes a line must not decide who reads it.

    Args:
        file: the file's name in the index; a row's is `file#id`, with the number of its line where it has no id.
        chunks: the file's bytes, in pieces of any length.
        attributes: what the source says of its documents.
        path: the local file, where it is one.
    """
    for number, line in enumerate(_lines(chunks), 1):
        if line is None:
            reason = f"has more than {MAX_LINE_BYTES // 2**20} MiB on its line"
            yield unreadable(f"{file}#{number}", reason, attributes, path)
        elif line.strip():
            yield _document(file, number, line, attributes, path)


def _document(file: str, number: int, line: bytes, attributes: Attributes, path: Path | None) -> Document:
    name = f"{file}#{number}"
    try:
        row = _parsed(line)
        name = f"{file}#{_id(row, number)}"
        carried = _attributes(row, attributes)
        text = _text(row)
    except Unreadable as error:
        return unreadable(name, str(error), attributes, path)
    return Document(name, carried, partial(digest_json, text), partial(str, text), path)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise Unreadable("is no JSON object")
    return row


def _id(row: dict[str, Any], number: int) -> str:
    key = next((row[name] for name in IDS if row.get(name) not in (None, "")), number)
    if isinstance(key, bool) or not isinstance(key, str | int) or (isinstance(key, str) and unfit(key)):
        raise Unreadable("has an id that is no number and no text without control characters")
    return row_name(key)


def _text(row: dict[str, Any]) -> str:
    column = next((name for name in TEXTS if isinstance(row.get(name), str)), None)
    if column is None:
        raise Unreadable(f"has no {' and no '.join(TEXTS)}")
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
