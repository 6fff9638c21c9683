"""Rows of a JSON document, read one by one: an array of objects, or an object whose `data` is such an array."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cluster.errors import TandemError
from training.data.containers.opening import open_text
from training.data.containers.records import SourceRecord, make_record, unusable_source
from training.data.formats.values import unique_keys

READ_CHARACTERS = 2**20
MAX_ROW_CHARACTERS = 2**28
"""A row, or what is no JSON any more, is not read any further than this."""

# Keys beside `data` that say something about the file and nothing about what its rows teach.
HARMLESS_KEYS = frozenset((
    "$schema", "author", "authors", "citation", "count", "created", "created_at", "dataset", "dataset_name", "date",
    "description", "features", "format", "generated_at", "generator", "homepage", "id", "info", "lang", "language",
    "languages", "license", "meta", "metadata", "name", "num_examples", "num_rows", "schema", "schema_version", "size",
    "source", "split", "tags", "title", "total", "type", "updated_at", "url", "version",
))  # fmt: skip
_LONGEST_NUMBER = 32
"""Characters behind a number that are looked at before it is believed to end where it does."""

_SPACE = " \t\n\r"


def read_json(path: Path) -> Iterator[SourceRecord]:
    """The records of a JSON document; a row is numbered by its place in the array.

    Raises:
        TandemError: the document is no JSON, or has no array of rows.
    """
    file, _ = open_text(path)
    with file:
        try:
            for number, value in enumerate(_Document(path, file).rows(), start=1):
                yield make_record(number, f"{path}:row {number}", value)
        except ValueError as error:
            raise unusable_source(path, f"{error} in one object", "Remove one of them, or rename it.") from error
        except RecursionError as error:
            raise unusable_source(path, "is JSON that is nested too deeply") from error


class _Document:
    """The text of a document, of which no more is kept than from the value that is being read."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._decoder, self._json = (
            codecs.getincrementaldecoder("utf-8-sig")(),
            json.JSONDecoder(object_pairs_hook=unique_keys),
        )
        self._text, self._at, self._is_whole = "", 0, False
        self._line, self._column, self._num_bytes = 1, 1, 0

    def rows(self) -> Iterator[Any]:
        """The values of the array of rows."""
        if self._next() == "[":
            yield from self._array()
        elif self._next() == "{":
            yield from self._object()
        else:
            self._value()  # says where it is no JSON
            raise self._no_rows("is a JSON document without rows")
        if self._next():
            raise self._error("Extra data", self._at)

    def _object(self) -> Iterator[Any]:
        """The rows under `data`. Values beside it are read and forgotten."""
        has_rows, kinds = False, dict[str, Any]()
        self._at += 1
        separator = "{"
        while not (separator == "{" and self._take("}")):
            if self._next() != '"':
                raise self._error("Expecting property name enclosed in double quotes", self._at)
            key = self._value()
            if not self._take(":"):
                raise self._error("Expecting ':' delimiter", self._at)
            if key == "data" and not has_rows and self._next() == "[":
                has_rows = True
                yield from self._array()
            else:
                kinds[key] = self._value()
            if self._take("}"):
                break
            if not self._take(","):
                raise self._error("Expecting ',' delimiter", self._at)
            separator = ","
        if not has_rows:
            raise self._no_rows(_describe_object(kinds))
        if others := sorted(set(kinds) - HARMLESS_KEYS):
            raise unusable_source(
                self._path, f"has the key `{others[0]}` beside `data`, and it is not known what that says of the rows",
                "Write what it says into the rows, or take it out.",
            )  # fmt: skip

    def _array(self) -> Iterator[Any]:
        self._at += 1
        if self._take("]"):
            return
        while True:
            yield self._value()
            if self._take("]"):
                return
            if not self._take(","):
                raise self._error("Expecting ',' delimiter", self._at)

    def _value(self) -> Any:
        """The next value. What is not whole yet looks like an error, so more is read before that is believed."""
        self._next()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_whole or len(self._text) > MAX_ROW_CHARACTERS:
                    raise self._error(error.msg, error.pos) from error
            else:
                if end + _LONGEST_NUMBER < len(self._text) or self._is_whole or not isinstance(value, int | float):
                    self._at = end
                    return value
            self._read(max(READ_CHARACTERS, len(self._text)))

    def _take(self, character: str) -> bool:
        if self._next() != character:
            return False
        self._at += 1
        return True

    def _next(self) -> str:
        """The next character that is no space; an empty text at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or self._is_whole:
                return self._text[self._at : self._at + 1]
            self._read(READ_CHARACTERS)

    def _read(self, number: int) -> None:
        """Read on, and forget what is behind."""
        self._line, self._column = self._place(self._at)
        self._text, self._at = self._text[self._at :], 0
        block = self._file.read(number)
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            place = self._num_bytes + error.start + 1
            raise unusable_source(self._path, f"is not UTF-8 text (byte {place})", "Write it in UTF-8.") from error
        self._num_bytes += len(block)
        self._text += text
        self._is_whole = not block

    def _place(self, at: int) -> tuple[int, int]:
        num_lines = self._text.count("\n", 0, at)
        if not num_lines:
            return self._line, self._column + at
        return self._line + num_lines, at - self._text.rindex("\n", 0, at)

    def _error(self, message: str, at: int) -> TandemError:
        line, column = self._place(at)
        return unusable_source(
            self._path, f"is not JSON: line {line}, column {column}: {message}",
            "Correct that place; the file may have been cut off.",
        )  # fmt: skip

    def _no_rows(self, problem: str) -> TandemError:
        return unusable_source(self._path, problem, "Write an array of rows, or one row per line.")


def _describe_object(values: dict[str, Any]) -> str:
    lists = {key: value for key, value in values.items() if isinstance(value, list)}
    if (
        lists
        and len(lists) == len(values)
        and len({len(value) for value in lists.values()}) == 1
        and is_columns(values)
    ):
        return f"is a JSON object of columns ({', '.join(f'`{key}`' for key in lists)}) without a list `data`"
    splits = [key for key, value in lists.items() if value and isinstance(value[0], dict)]
    if splits:
        return f"is a JSON object without a list `data`; its lists are {', '.join(f'`{key}`' for key in splits)}"
    return "is a JSON object without a list `data`"


def is_columns(value: dict[str, Any]) -> bool:
    """Whether an object is a table of columns: lists of texts or numbers, all of one length, and nothing else."""
    lists = list(value.values())
    return (
        bool(lists)
        and all(isinstance(each, list) and each for each in lists)
        and len({len(each) for each in lists}) == 1
        and all(not isinstance(cell, dict | list) for each in lists for cell in each)
    )
