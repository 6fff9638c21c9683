"""The questions file: JSON lines, or CSV as spreadsheets write it, read and checked before anything is asked.

In CSV the first row names the columns, by the keys of a question. A cell holds several answers, sources, tags,
paraphrases or choices with " | " between them; `json_schema` holds JSON; an empty cell is a key that is not given.
Commas, semicolons or tabs separate the columns, whichever stands between the columns' names. At most ten mistakes are
shown, each with file and line.

What is wrong with a file of rows, in words: at most ten mistakes, each with file and line.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from cluster.errors import TandemError
from evaluation.questions.json_values import unique_keys
from evaluation.questions.question import GENERAL, Question

Model = TypeVar("Model", bound=BaseModel)
LIST_COLUMNS = ("answers", "sources", "tags", "paraphrases", "choices")
LIST_SEPARATOR = " | "
ACCEPTED = (
    "Accepted are JSON lines or CSV (a name that ends in .csv) with id, slice, question and answers, and where needed "
    "reference, sources, answerable, form, tags, kind, paraphrases and what the kind needs."
)


@dataclass(frozen=True)
class FileRow:
    """One question of the file. `line` is its first line; `problem` says why it could not be read."""

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
    text = read_utf8(path, "questions file", ACCEPTED)
    return list(_csv_rows(path, text, keys) if path.suffix.lower() == ".csv" else read_json_rows(text))


def read_json_rows(text: str) -> Iterator[FileRow]:
    """The objects of a text of JSON lines, or why a line holds none."""
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            yield _json_row(line, row)


def read_models(path: Path, model: type[Model], what: str, accepted: str) -> list[Model]:
    """Every line of a file of JSON lines as a `model`.

    Args:
        what: what the file is, as in "calibration file".

    Raises:
        TandemError: where the file cannot be read, or a line is none; the first ten are named.
    """
    rows = [(row.line, _model(row, model)) for row in read_json_rows(read_utf8(path, what, accepted))]
    mistakes = [f"{path}:{line}: {row}" for line, row in rows if isinstance(row, str)]
    if mistakes:
        raise rejected_file(mistakes, accepted)
    return [row for _, row in rows if not isinstance(row, str)]


def _model(row: FileRow, model: type[Model]) -> Model | str:
    try:
        return row.problem or model.model_validate(row.values)
    except ValidationError as error:
        return describe_mistakes(error, model)


def _json_row(line: int, text: str) -> FileRow:
    try:
        values = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        return FileRow(line, problem=f"Invalid JSON: {error}")
    if not isinstance(values, dict):
        return FileRow(line, problem="a line is a JSON object, from { to }")
    try:  # of two values of a key the first reader takes the last, silently
        json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        return FileRow(line, problem=f"Invalid JSON: {error}")
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
        values[column] = (
            [part.strip() for part in cell.split(LIST_SEPARATOR)] if column in LIST_COLUMNS else cell.strip()
        )
    if "json_schema" not in values:
        return FileRow(line, values)
    try:
        return FileRow(line, values | {"json_schema": from_json(values["json_schema"], allow_inf_nan=False)})
    except ValueError as error:
        return FileRow(line, problem=f"json_schema: Invalid JSON: {error}")


MAX_MISTAKES_SHOWN = 10


def read_utf8(path: Path, what: str, accepted: str) -> str:
    """The text of a file. Raises a TandemError where it cannot be read or is not UTF-8.

    Args:
        what: what the file is, as in "questions file".
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        seen = f"The {what} {path} cannot be read ({error.strerror})."
        raise TandemError(seen, accepted, "Name a file that is there and can be read.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        seen = f"{path}:{line}: the text is not UTF-8 ({error.reason})."
        remedy = "Save the file as UTF-8 (a spreadsheet calls it `CSV UTF-8`)."
        raise TandemError(seen, accepted, remedy) from error


def describe_mistakes(error: ValidationError, model: type[BaseModel]) -> str:
    """All that is wrong with one row."""
    reasons = []
    for detail in error.errors(include_url=False):
        field = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = f"unknown key; the keys are {', '.join(model.model_fields)}"
        reasons.append(f"{field}: {message}" if field else message)
    return "; ".join(reasons)


def rejected_file(mistakes: Sequence[str], accepted: str) -> TandemError:
    """The error that shows the first of these mistakes and counts the others."""
    shown = "; ".join(mistakes[:MAX_MISTAKES_SHOWN])
    more = len(mistakes) - MAX_MISTAKES_SHOWN
    seen = f"{shown}; and {more} more mistakes." if more > 0 else f"{shown}."
    return TandemError(seen, accepted, "Correct these lines.")


def load_questions(path: Path | None) -> list[Question]:
    """Read and check a questions file.

    Raises:
        TandemError: naming file and line of the first ten mistakes.
    """
    if path is None:
        remedy = "Set `evaluation.questions` in the project file to a file of test questions."
        raise TandemError("The project file names no test questions.", ACCEPTED, remedy)
    return _load_questions(path, {}, {})


def load_general(path: Path, others: Sequence[Question] = ()) -> list[Question]:
    """Read the questions on what the model knew before: all are of the slice `general`, whatever the file says.

    Args:
        others: the test questions that are asked beside these; no id may be used in both.

    Raises:
        TandemError: naming file and line of the first ten mistakes.
    """
    return _load_questions(path, {"slice": GENERAL}, {question.id: "among the test questions" for question in others})


def _load_questions(path: Path, given: dict[str, Any], used: dict[str, str]) -> list[Question]:
    questions: list[Question] = []
    mistakes: list[str] = []
    for row in read_rows(path, list(Question.model_fields)):
        question = row.problem or _question(row.values | given)
        if isinstance(question, Question):
            problem = _problem(question, given, used)
            used.setdefault(question.id, f"in line {row.line}")
            questions.append(question)
        else:
            problem = question
        if problem:
            mistakes.append(f"{path}:{row.line}: {problem}")
    if mistakes:
        raise rejected_file(mistakes, ACCEPTED)
    if not questions:
        raise TandemError(f"The questions file {path} holds no questions.", ACCEPTED, "Add questions to it.")
    return questions


def _question(values: dict[str, Any]) -> Question | str:
    """The question, or all that is wrong with it, in words."""
    try:
        return Question.model_validate(values)
    except ValidationError as error:
        return describe_mistakes(error, Question)


def _problem(question: Question, given: dict[str, Any], used: dict[str, str]) -> str | None:
    """What is wrong with a question in this file, though not in itself."""
    if question.id in used:
        return f"id {question.id!r} was used {used[question.id]}"
    if question.slice == GENERAL and not given:
        return f"slice {GENERAL!r} is for the questions in the file `evaluation.general`"
    return None
