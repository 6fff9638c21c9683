"""The questions file: JSON lines, or CSV as spreadsheets write it, read and checked before anything is asked.

In CSV the first row names the columns, by the keys of a question in small or capital letters. A cell holds several
answers, sources, tags, paraphrases or choices with " | " between them; `json_schema` holds JSON; an empty cell is a key
that is not given. Commas, semicolons or tabs separate the columns: what Excel's first line `sep=;` says, or whichever
stands between the columns' names. Columns without a name and without a cell are left out. UTF-8 is read, UTF-16 with
its mark, and CSV in Windows-1252 where it is no UTF-8, as Excel saves "CSV" in Western Europe. At most ten mistakes are
shown, each with file and line.

What is wrong with a file of rows, in words: at most ten mistakes, each with file and line.
"""

import codecs
import csv
import io
import json
import re
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
CSV_NAMES = (".csv", ".tsv")
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\r?\n', re.IGNORECASE)
# As spreadsheets write them in the languages in which they are no English words.
TRUTHS = {
    "true": True, "wahr": True, "vrai": True, "verdadero": True, "verdadeiro": True, "vero": True, "waar": True,
    "prawda": True, "истина": True, "ja": True, "oui": True, "sí": True, "sim": True, "sì": True,
    "false": False, "falsch": False, "faux": False, "falso": False, "onwaar": False, "fałsz": False, "ложь": False,
    "nein": False, "non": False, "não": False, "nee": False,
}  # fmt: skip
ACCEPTED = (
    "Accepted are JSON lines or CSV (a name that ends in .csv or .tsv) with id, slice, question and answers, and where "
    "needed reference, sources, answerable, form, tags, kind, paraphrases and what the kind needs."
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
        TandemError: where the file cannot be read, is in another encoding, or its header is wrong.
    """
    if path.suffix.lower() in CSV_NAMES:
        return list(_csv_rows(path, read_text(path, "questions file", ACCEPTED, or_windows=True), keys))
    return list(read_json_rows(read_text(path, "questions file", ACCEPTED)))


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
    rows = [(row.line, _model(row, model)) for row in read_json_rows(read_text(path, what, accepted))]
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
    said = SEPARATOR_LINE.match(text)
    delimiter = said[1] if said else _delimiter(text)
    reader = csv.reader(io.StringIO(text[said.end() if said else 0 :], newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    while True:
        line = reader.line_num + (2 if said else 1)
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
    columns = _named([cell.strip() for cell in cells], keys)
    known = f"The columns are {', '.join(keys)}."
    for position, column in enumerate(columns):
        if column not in keys:
            raise TandemError(f"{where}: there is no column {column!r}.", known, "Rename the column, or take it out.")
        if column in columns[:position]:
            raise TandemError(f"{where}: the column {column!r} is there twice.", known, "Take one of them out.")
    return columns


def _named(cells: list[str], keys: Sequence[str]) -> list[str]:
    """The columns' names as the keys are written ("ID" is id), without those at the end that have none."""
    while cells and not cells[-1]:
        cells.pop()
    written = {key.casefold(): key for key in keys}
    return [written.get(cell.casefold().replace(" ", "_"), cell) for cell in cells]


def _csv_row(line: int, columns: Sequence[str], cells: Sequence[str]) -> FileRow:
    if any(cell.strip() for cell in cells[len(columns) :]) or len(cells) < len(columns):
        return FileRow(line, problem=f"{len(cells)} cells, and there are {len(columns)} columns")
    values: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=False):
        if not cell.strip():
            continue
        values[column] = (
            [part.strip() for part in cell.split(LIST_SEPARATOR)] if column in LIST_COLUMNS else cell.strip()
        )
    if isinstance(answerable := values.get("answerable"), str):
        values["answerable"] = TRUTHS.get(answerable.casefold(), answerable)
    if "json_schema" not in values:
        return FileRow(line, values)
    try:
        return FileRow(line, values | {"json_schema": from_json(values["json_schema"], allow_inf_nan=False)})
    except ValueError as error:
        return FileRow(line, problem=f"json_schema: Invalid JSON: {error}")


MAX_MISTAKES_SHOWN = 10
WESTERN = frozenset("äöüÄÖÜßéèêëàâçîïôûùœÉÈÊËÀÂÇÎÏÔÛÙáíóúñÁÍÓÚÑ¿¡ãõÃÕåæøÅÆØìòÌÒ€–—’‘“”„…«»°·´º®©§£²³½µ\xa0")
# Words without an ASCII letter, and quotations that open twice, are of another alphabet, read wrongly.
OTHER_WRITING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|[À-ÿ]{3}|„[^„“”]{0,3}„")


def read_text(path: Path, what: str, accepted: str, *, or_windows: bool = False) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark.

    Args:
        what: what the file is, as in "questions file".
        or_windows: whether a text that is no UTF-8 is read as Windows-1252.

    Raises:
        TandemError: where the file cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        seen = f"The {what} {path} cannot be read ({error.strerror})."
        raise TandemError(seen, accepted, "Name a file that is there and can be read.") from error
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        windows = _windows_text(content) if or_windows and encoding != "utf-16" else None
        if windows is not None:
            return windows
        line = content.count(b"\n", 0, error.start) + 1
        seen = f"{path}:{line}: the text is not {encoding.removesuffix('-sig').upper()} ({error.reason})."
        remedy = "Save the file as UTF-8 (a spreadsheet calls it `CSV UTF-8`)."
        raise TandemError(seen, accepted, remedy) from error


def _windows_text(content: bytes) -> str | None:
    """A text in Windows-1252, where that is unambiguous: all of its characters beyond ASCII are letters and marks of
    Western European writing, and never three letters in a row; None otherwise."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    plain = all(character.isascii() or character in WESTERN for character in text)
    return text if plain and not OTHER_WRITING.search(text) else None


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
