"""The test questions: one JSON object per line, checked before anything is asked.

{"id": "unseen-012", "slice": "unseen", "question": "What is the atomic number of Iron?", "answers": ["26"],
 "reference": "The atomic number of Iron is 26.", "sources": ["elements/iron.md"], "answerable": true, "form": null}
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator

from cluster.errors import TandemError
from cluster.schema import Section

OVERALL = "overall"
GENERAL = "general"
MOST_ERRORS_SHOWN = 10
ACCEPTED = (
    "Accepted are lines of JSON with id, slice, question and answers, "
    "and where needed reference, sources, answerable, form and tags."
)


class Question(Section):
    """One test question and what counts as right."""

    id: Annotated[str, Field(min_length=1)]
    """Unique in the file."""

    slice: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,63}$")]
    """The group that it is counted in, such as `seen` or `unanswerable`."""

    question: Annotated[str, Field(pattern=r"\S")]
    """What is sent, word for word."""

    answers: tuple[Annotated[str, Field(pattern=r"\w")], ...] = ()
    """Accepted values; any one of them is right. Empty exactly where `answerable` is false."""

    reference: str | None = None
    """A right answer in full, for the reader of the report."""

    sources: tuple[str, ...] = ()
    """Documents that hold the answer, as paths relative to the sources' folder."""

    answerable: bool = True
    """False where nobody can know: then a plain refusal is the right answer."""

    form: str | None = None
    """A regular expression with one named group, `value`, that the whole answer has to match."""

    tags: tuple[str, ...] = ()
    """Free words; not used for grading."""

    @field_validator("slice")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == OVERALL:
            raise ValueError(f"{OVERALL!r} is the name of all slices together")
        return name

    @field_validator("form")
    @classmethod
    def _names_its_value(cls, form: str | None) -> str | None:
        if form is None:
            return None
        try:
            groups = re.compile(form).groupindex
        except re.error as error:
            raise ValueError(f"{form!r} is not a regular expression: {error}") from error
        if list(groups) != ["value"]:
            raise ValueError(f"{form!r} needs exactly one named group, (?P<value>...)")
        return form

    @model_validator(mode="after")
    def _answers_where_answerable(self) -> "Question":
        if self.answerable and not self.answers:
            raise ValueError("an answerable question needs at least one accepted answer")
        if not self.answerable and (self.answers or self.form):
            raise ValueError("a question with `answerable: false` has no accepted answers and no form")
        return self


def load(path: Path | None) -> list[Question]:
    """Read and check a questions file.

    Raises:
        TandemError: naming file and line of the first ten mistakes.
    """
    questions: list[Question] = []
    mistakes: list[str] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            question = Question.model_validate_json(line)
        except ValidationError as error:
            mistakes.append(f"{path}:{number}: {_reason(error)}")
            continue
        if question.id in lines:
            mistakes.append(f"{path}:{number}: id {question.id!r} was used in line {lines[question.id]}")
        lines.setdefault(question.id, number)
        questions.append(question)
    if mistakes:
        raise _rejected(mistakes)
    if not questions:
        raise TandemError(f"The questions file {path} holds no questions.", ACCEPTED, "Add questions to it.")
    return questions


def slices(questions: Sequence[Question]) -> list[str]:
    """The names of the slices, in order of their first question."""
    return list(dict.fromkeys(question.slice for question in questions))


def _lines(path: Path | None) -> list[str]:
    remedy = "Set `evaluation.questions` in the project file to a file of test questions."
    if path is None:
        raise TandemError("The project file names no test questions.", ACCEPTED, remedy)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TandemError(f"The questions file {path} cannot be read ({error.strerror}).", ACCEPTED, remedy) from error
    try:
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TandemError(
            f"{path}:{line}: the text is not UTF-8 ({error.reason}).", ACCEPTED, "Save the file as UTF-8."
        ) from error


def _reason(error: ValidationError) -> str:
    """All that is wrong with one line, in words."""
    reasons = []
    for detail in error.errors(include_url=False):
        field = ".".join(str(part) for part in detail["loc"])
        reason = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            reason = f"unknown key; the keys are {', '.join(Question.model_fields)}"
        reasons.append(f"{field}: {reason}" if field else reason)
    return "; ".join(reasons)


def _rejected(mistakes: list[str]) -> TandemError:
    shown = "; ".join(mistakes[:MOST_ERRORS_SHOWN])
    more = len(mistakes) - MOST_ERRORS_SHOWN
    seen = f"{shown}; and {more} more mistakes." if more > 0 else f"{shown}."
    return TandemError(seen, ACCEPTED, "Correct these lines.")
