"""The test questions: JSON lines or CSV, checked before anything is asked.

{"id": "unseen-012", "slice": "unseen", "question": "What is the atomic number of Iron?", "answers": ["26"],
 "reference": "The atomic number of Iron is 26.", "sources": ["elements/iron.md"], "answerable": true, "form": null}

`kind` says what counts as right: a `value` (as here), a `number` with a tolerance, a pattern (`regex`), `json` that a
schema accepts, one of several choices (`choice`), or what a judge finds by a `rubric`.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from cluster.config import Section
from cluster.errors import TandemError
from evaluation.kinds import check
from evaluation.mistakes import reason, rejected
from evaluation.question_files import ACCEPTED, read_rows

Kind = Literal["value", "number", "regex", "json", "choice", "rubric"]
Text = Annotated[str, Field(pattern=r"\S")]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]

OVERALL = "overall"
GENERAL = "general"
MOST_TAGS = 100
MOST_PARAPHRASES = 20


class Question(Section):
    """One test question and what counts as right."""

    id: Annotated[str, Field(min_length=1)]
    """Unique in the file."""

    slice: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,63}$")]
    """The group that it is counted in, such as `seen` or `unanswerable`."""

    question: Text
    """What is sent, word for word."""

    kind: Kind = "value"
    """What an answer is and when it is right; grading.py has the rules of each kind."""

    answers: tuple[Text, ...] = ()
    """Accepted values; any one of them is right. Empty where `answerable` is false. Of kind `number`: numbers, each
    with a unit where it matters; `regex`: patterns; `json`: values as JSON text, and none accepts whatever the schema
    does; `choice`: one of `choices`; `rubric`: for the judge to know, or none."""

    reference: str | None = None
    """A right answer in full, for the reader of the report."""

    sources: tuple[str, ...] = ()
    """Documents that hold the answer, as paths relative to the sources' folder."""

    answerable: bool = True
    """False where nobody can know: then a plain refusal is the right answer."""

    form: str | None = None
    """A regular expression with one named group, `value`, that the whole answer has to match."""

    tags: tuple[str, ...] = ()
    """Free words, at most 100; not used for grading."""

    paraphrases: tuple[Text, ...] = ()
    """Other wordings of the same question, at most 20, to see whether the answer stays the same."""

    tolerance: Tolerance | None = None
    """How far a number may be from an accepted one, in its unit."""

    tolerance_percent: Tolerance | None = None
    """The same, in percent of the accepted number. Of both tolerances the wider counts."""

    json_schema: dict[str, Any] | None = None
    """The JSON schema of an answer of kind `json`, complete in itself."""

    choices: tuple[Text, ...] = ()
    """What is chosen from: 2 to 26 texts, lettered in this order."""

    rubric: Text | None = None
    """What a judge grades by: when an answer is right, in words."""

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

    @field_validator("tags", "paraphrases")
    @classmethod
    def _not_too_many(cls, texts: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        most = MOST_TAGS if info.field_name == "tags" else MOST_PARAPHRASES
        if len(texts) > most:
            raise ValueError(f"at most {most} are accepted, and there are {len(texts):,}")
        return texts

    @model_validator(mode="before")
    @classmethod
    def _values_as_text(cls, values: Any) -> Any:
        """Accepted numbers and JSON values may be given as what they are; they are kept as text."""
        if not isinstance(values, dict) or values.get("kind") not in ("number", "json"):
            return values
        answers = values.get("answers")
        if not isinstance(answers, list | tuple):
            return values
        texts = [answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False) for answer in answers]
        return values | {"answers": texts}

    @model_validator(mode="after")
    def _complete_for_its_kind(self) -> "Question":
        check(self)
        return self


def load(path: Path | None) -> list[Question]:
    """Read and check a questions file.

    Raises:
        TandemError: naming file and line of the first ten mistakes.
    """
    if path is None:
        remedy = "Set `evaluation.questions` in the project file to a file of test questions."
        raise TandemError("The project file names no test questions.", ACCEPTED, remedy)
    return _load(path, {}, {})


def load_general(path: Path, others: Sequence[Question] = ()) -> list[Question]:
    """Read the questions on what the model knew before: all are of the slice `general`, whatever the file says.

    Args:
        others: the test questions that are asked beside these; no id may be used in both.

    Raises:
        TandemError: naming file and line of the first ten mistakes.
    """
    return _load(path, {"slice": GENERAL}, {question.id: "among the test questions" for question in others})


def slices(questions: Sequence[Question]) -> list[str]:
    """The names of the slices, in order of their first question."""
    return list(dict.fromkeys(question.slice for question in questions))


def _load(path: Path, given: dict[str, Any], used: dict[str, str]) -> list[Question]:
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
        raise rejected(mistakes, ACCEPTED)
    if not questions:
        raise TandemError(f"The questions file {path} holds no questions.", ACCEPTED, "Add questions to it.")
    return questions


def _question(values: dict[str, Any]) -> Question | str:
    """The question, or all that is wrong with it, in words."""
    try:
        return Question.model_validate(values)
    except ValidationError as error:
        return reason(error, Question)


def _problem(question: Question, given: dict[str, Any], used: dict[str, str]) -> str | None:
    """What is wrong with a question in this file, though not in itself."""
    if question.id in used:
        return f"id {question.id!r} was used {used[question.id]}"
    if question.slice == GENERAL and not given:
        return f"slice {GENERAL!r} is for the questions in the file `evaluation.general`"
    return None
