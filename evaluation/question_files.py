"""Rows of a questions file with their line numbers: JSON lines, or CSV as spreadsheets write it.

In CSV the first row names the columns, by the keys of a question. A cell holds several answers, sources, tags,
paraphrases or choices with " | " between them; `json_schema` holds JSON; an empty cell is a key that is not given.
Commas, semicolons or tabs separate the columns, whichever stands between the columns' names.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from cluster.errors import TandemError
from evaluation.mistakes import read_text, reason, rejected

M = TypeVar("M", bound=BaseModel)
LISTS = ("answers", "sources", "tags", "paraphrases", "choices")
BETWEEN = " | "
ACCEPTED = (
    "Accepted are JSON lines or CSV (a name that ends in .csv) with id, slice, question and answers, and where needed "
    "reference, sources, answerable, form, tags, kind, paraphrases and what the kind needs."
)


@dataclass(frozen=True)
class FileRow:
    """One question as it stands in the file. `line` is its first; `problem`: why it could not be read."""

    line: int
    values: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def read_rows(path: Path, keys: Sequence[str]) -> list[FileRow]:
    """All rows but the empty ones.

    Args:
        keys: what a column may be called.

    Raises:
        TandemError: where the file cannot be read, is not UTF-8, or its header is wrong.
    """
    text = read_text(path, "questions file", ACCEPTED)
    return list(_csv_rows(path, text, keys) if path.suffix.lower() == ".csv" else json_rows(text))


def json_rows(text: str) -> Iterator[FileRow]:
    """The objects of a text of JSON lines, or why a line holds none."""
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            yield _json_row(line, row)


def read_models(path: Path, model: type[M], what: str, accepted: str) -> list[M]:
    """Every line of a file of JSON lines as a `model`.

    Args:
        what: what the file is, as in "calibration file".

    Raises:
        TandemError: where the file cannot be read, or a line is none; the first ten are named.
    """
    found = [(row.line, _model(row, model)) for row in json_rows(read_text(path, what, accepted))]
    mistakes = [f"{path}:{line}: {row}" for line, row in found if isinstance(row, str)]
    if mistakes:
        raise rejected(mistakes, accepted)
    return [row for _, row in found if not isinstance(row, str)]


def _model(row: FileRow, model: type[M]) -> M | str:
    try:
        return row.problem or model.model_validate(row.values)
    except ValidationError as error:
        return reason(error, model)


def _json_row(line: int, text: str) -> FileRow:
    try:
        values = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        return FileRow(line, problem=f"Invalid JSON: {error}")
    if not isinstance(values, dict):
        return FileRow(line, problem="a line is a JSON object, from { to }")
    return FileRow(line, values)


def _csv_rows(path: Path, text: str, keys: Sequence[str]) -> Iterator[FileRow]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    columns: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise TandemError(
                f"{path}:{line}: {error}.", ACCEPTED, "Close every quote, and double one in a cell."
            ) from error
        if cells is None:
            return
        if not any(map(str.strip, cells)):
            continue
        if columns is None:
            columns = _columns(f"{path}:{line}", cells, keys)
        else:
            yield _csv_row(line, columns, cells)


def _delimiter(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _columns(where: str, cells: Sequence[str], keys: Sequence[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    known = f"The columns are {', '.join(keys)}."
    for position, column in enumerate(columns):
        if column not in keys:
            raise TandemError(f"{where}: there is no column {column!r}.", known, "Rename the column, or take it out.")
        if column in columns[:position]:
            raise TandemError(f"{where}: the column {column!r} is there twice.", known, "Take one of them out.")
    return columns


def _csv_row(line: int, columns: Sequence[str], cells: Sequence[str]) -> FileRow:
    if len(cells) != len(columns):
        return FileRow(line, problem=f"{len(cells)} cells, and there are {len(columns)} columns")
    values: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=True):
        if not cell.strip():
            continue
        values[column] = [part.strip() for part in cell.split(BETWEEN)] if column in LISTS else cell.strip()
    if "json_schema" not in values:
        return FileRow(line, values)
    try:
        return FileRow(line, values | {"json_schema": from_json(values["json_schema"], allow_inf_nan=False)})
    except ValueError as error:
        return FileRow(line, problem=f"json_schema: Invalid JSON: {error}")
