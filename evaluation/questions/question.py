"""A test question, what counts as right, and what each kind of question needs.

{"id": "unseen-012", "slice": "unseen", "question": "What is the atomic number of Iron?", "answers": ["26"],
 "reference": "The atomic number of Iron is 26.", "sources": ["elements/iron.md"], "answerable": true, "form": null}

`kind` says what counts as right: a `value` (as here), a `number` with a tolerance, a pattern (`regex`), `json` that a
schema accepts, one of several choices (`choice`), or what a judge finds by a `rubric`. A question is checked when it is
read: what is wrong with it is a ValueError in words.

The test questions: JSON lines or CSV, checked before anything is asked.

{"id": "unseen-012", "slice": "unseen", "question": "What is the atomic number of Iron?", "answers": ["26"],
 "reference": "The atomic number of Iron is 26.", "sources": ["elements/iron.md"], "answerable": true, "form": null}

`kind` says what counts as right: a `value` (as here), a `number` with a tolerance, a pattern (`regex`), `json` that a
schema accepts, one of several choices (`choice`), or what a judge finds by a `rubric`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cluster.config import Section
from cluster.fingerprints.digests import normalise_question
from evaluation.questions.json_values import check_schema, parse_json, schema_accepts
from evaluation.questions.numbers import parse_number
from evaluation.questions.patterns import check_pattern, compile_pattern, full_match
from evaluation.questions.words import words_of

MAX_CHOICES = 26
FIELDS_OF_KINDS = {
    "tolerance": "number", "tolerance_percent": "number", "json_schema": "json", "choices": "choice",
    "rubric": "rubric",
}  # fmt: skip
MAY_BE_UNANSWERABLE = ("value", "number", "regex")
MAY_HAVE_A_FORM = ("value", "number")
MAY_HAVE_NO_ANSWERS = ("json", "rubric")


def check_question(question: "Question") -> None:
    """Raises a ValueError where a question has what its kind cannot use, or lacks what it needs."""
    _check_answerable(question)
    _check_fields(question)
    _check_paraphrases(question)
    if question.answerable:
        CHECKS_OF_KINDS[question.kind](question)


def _check_answerable(question: "Question") -> None:
    if question.answerable and not question.answers and question.kind not in MAY_HAVE_NO_ANSWERS:
        raise ValueError("an answerable question needs at least one accepted answer")
    if not question.answerable and (question.answers or question.form):
        raise ValueError("a question with `answerable: false` has no accepted answers and no form")
    if not question.answerable and question.kind not in MAY_BE_UNANSWERABLE:
        raise ValueError(f"a question of kind {question.kind!r} cannot have `answerable: false`")


def _check_fields(question: "Question") -> None:
    for field, kind in FIELDS_OF_KINDS.items():
        if getattr(question, field) not in (None, ()) and question.kind != kind:
            raise ValueError(f"{field} belongs to questions of kind {kind!r}; this one is of kind {question.kind!r}")
    if question.form and question.kind not in MAY_HAVE_A_FORM:
        raise ValueError(f"form belongs to questions of kind 'value' or 'number', not {question.kind!r}")


def _check_paraphrases(question: "Question") -> None:
    wordings = [normalise_question(wording) for wording in (question.question, *question.paraphrases)]
    if len(set(wordings)) < len(wordings):
        raise ValueError("paraphrases: each has to differ from the question and from the others")


def _check_value(question: "Question") -> None:
    _each_answer(question, words_of, "holds no word to compare")


def _check_number(question: "Question") -> None:
    _each_answer(question, parse_number, "is not a number, such as 26, -1.5e3 or 384,400 km")


def _check_regex(question: "Question") -> None:
    for answer in question.answers:
        try:
            check_pattern(answer)
        except ValueError as error:
            raise ValueError(f"answers: {error}") from error
        if full_match(answer, "") is not None:
            raise ValueError(f"answers: {answer!r} matches an empty answer")


def _check_json(question: "Question") -> None:
    schema = question.json_schema
    if schema is None:
        raise ValueError("a question of kind 'json' needs json_schema")
    check_schema(schema)
    _each_answer(
        question,
        lambda answer: schema_accepts(schema, parse_json(answer)),
        "is not JSON that json_schema accepts",
    )


def _check_choice(question: "Question") -> None:
    choices = question.choices
    if not 2 <= len(choices) <= MAX_CHOICES:
        raise ValueError(f"a question of kind 'choice' has 2 to {MAX_CHOICES} choices; this one has {len(choices)}")
    if len({choice.strip() for choice in choices}) < len(choices):
        raise ValueError("choices: two of them are the same")
    if len(question.answers) != 1 or question.answers[0] not in choices:
        raise ValueError("answers names exactly one of the choices, word for word")


def _check_rubric(question: "Question") -> None:
    if question.rubric is None:
        raise ValueError("a question of kind 'rubric' needs rubric, the text that a judge grades by")


def _each_answer(question: "Question", is_usable: Callable[[str], Any], problem: str) -> None:
    for answer in question.answers:
        if not is_usable(answer):
            raise ValueError(f"answers: {answer!r} {problem}")


CHECKS_OF_KINDS: dict[str, Callable[["Question"], None]] = {
    "value": _check_value,
    "number": _check_number,
    "regex": _check_regex,
    "json": _check_json,
    "choice": _check_choice,
    "rubric": _check_rubric,
}

Kind = Literal["value", "number", "regex", "json", "choice", "rubric"]
Text = Annotated[str, Field(pattern=r"\S")]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]

OVERALL = "overall"
GENERAL = "general"
MAX_TAGS = 100
MAX_PARAPHRASES = 20


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
    """What is chosen from: 2 to 26 texts. A comparison letters them in an order of its own, so that each letter is
    right equally often; where one speaks of the others ("all of the above") they keep this order."""

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
        check_pattern(form)
        if list(compile_pattern(form).groupindex) != ["value"]:
            raise ValueError(f"{form!r} needs exactly one named group, (?P<value>...)")
        return form

    @field_validator("tags", "paraphrases")
    @classmethod
    def _not_too_many(cls, texts: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        most = MAX_TAGS if info.field_name == "tags" else MAX_PARAPHRASES
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
        check_question(self)
        return self


def slices(questions: Sequence[Question]) -> list[str]:
    """The names of the slices, in order of their first question."""
    return list(dict.fromkeys(question.slice for question in questions))
