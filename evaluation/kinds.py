"""What a question of each kind needs, checked when it is read: what is wrong with it is a ValueError in words."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cluster.fingerprints.digests import normalise_question
from evaluation.grades import json_answers
from evaluation.grades.numeric import parse_number
from evaluation.grades.words import words_of

if TYPE_CHECKING:
    from evaluation.questions import Question

MOST_CHOICES = 26
BELONGS_TO = {
    "tolerance": "number", "tolerance_percent": "number", "json_schema": "json", "choices": "choice",
    "rubric": "rubric",
}  # fmt: skip
MAY_BE_UNANSWERABLE = ("value", "number", "regex")
MAY_HAVE_A_FORM = ("value", "number")
MAY_HAVE_NO_ANSWERS = ("json", "rubric")


def check(question: "Question") -> None:
    """Raises a ValueError where a question has what its kind cannot use, or lacks what it needs."""
    _check_answerable(question)
    _check_fields(question)
    _check_paraphrases(question)
    if question.answerable:
        CHECKS[question.kind](question)


def _check_answerable(question: "Question") -> None:
    if question.answerable and not question.answers and question.kind not in MAY_HAVE_NO_ANSWERS:
        raise ValueError("an answerable question needs at least one accepted answer")
    if not question.answerable and (question.answers or question.form):
        raise ValueError("a question with `answerable: false` has no accepted answers and no form")
    if not question.answerable and question.kind not in MAY_BE_UNANSWERABLE:
        raise ValueError(f"a question of kind {question.kind!r} cannot have `answerable: false`")


def _check_fields(question: "Question") -> None:
    for field, kind in BELONGS_TO.items():
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
            # As it is used: within a group, where flags for the whole pattern may not stand.
            matches_nothing = re.fullmatch(f"(?:{answer})", "") is not None
        except re.error as error:
            raise ValueError(f"answers: {answer!r} is not a regular expression: {error}") from error
        if matches_nothing:
            raise ValueError(f"answers: {answer!r} matches an empty answer")


def _check_json(question: "Question") -> None:
    schema = question.json_schema
    if schema is None:
        raise ValueError("a question of kind 'json' needs json_schema")
    json_answers.check_schema(schema)
    _each_answer(
        question,
        lambda answer: json_answers.accepts(schema, json_answers.parse(answer)),
        "is not JSON that json_schema accepts",
    )


def _check_choice(question: "Question") -> None:
    choices = question.choices
    if not 2 <= len(choices) <= MOST_CHOICES:
        raise ValueError(f"a question of kind 'choice' has 2 to {MOST_CHOICES} choices; this one has {len(choices)}")
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


CHECKS: dict[str, Callable[["Question"], None]] = {
    "value": _check_value,
    "number": _check_number,
    "regex": _check_regex,
    "json": _check_json,
    "choice": _check_choice,
    "rubric": _check_rubric,
}
