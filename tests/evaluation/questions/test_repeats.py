"""A question that is in the file under several ids is found and named."""

from typing import Any

import pytest

from evaluation.questions.question import GENERAL, Question
from evaluation.questions.repeats import describe_repeats, distinct_numbers, find_repeats


def questions(*rows: dict[str, Any]) -> list[Question]:
    return [
        Question.model_validate({"id": f"q{number}", "slice": "s", "question": "Which port?", "answers": ["80"], **row})
        for number, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    "other",
    [{}, {"slice": "t"}, {"question": "which  PORT"}, {"question": "“Which port?”"}, {"answers": ["80", "eighty"]},
     {"answers": [" 80. "]}, {"sources": ["a.md"]}, {"reference": "The port is 80."}, {"kind": "number"},
     {"tags": ["x"]}],
    ids=str,
)  # fmt: skip
def test_the_same_question_counts_once(other: dict[str, Any]) -> None:
    found = questions({}, other)
    assert find_repeats(found).same == (("q0", "q1"),) and find_repeats(found).conflicting == ()
    assert distinct_numbers(found) == [0]


@pytest.mark.parametrize(
    "other",
    [
        {"question": "Which port is it?"},
        {"form": "<(?P<value>.+)>"},
        {"slice": GENERAL},
        {"question": "Which port, 1.5?"},
    ],
    ids=str,
)
def test_other_questions_stay(other: dict[str, Any]) -> None:
    found = questions({}, other)
    assert find_repeats(found).same == () and distinct_numbers(found) == [0, 1]


@pytest.mark.parametrize("other", [{"answers": ["443"]}, {"answerable": False, "answers": []}], ids=str)
def test_answers_that_contradict_each_other_are_named_and_both_count(other: dict[str, Any]) -> None:
    found = questions({}, {}, other)
    assert find_repeats(found).same == (("q0", "q1"),) and find_repeats(found).conflicting == (("q0", "q2"),)
    assert distinct_numbers(found) == [0, 2]
    once, contradiction = describe_repeats(find_repeats(found))
    assert once == "1 question repeats an earlier one under another id, and each counts once: q0 = q1."
    assert contradiction.endswith("Correct or remove one: q0 and q2.")


def test_choices_belong_to_a_question_and_their_order_does_not() -> None:
    choice = {"kind": "choice", "choices": ["80", "443"], "answers": ["80"]}
    found = questions(choice, choice | {"choices": ["443", "80"]}, choice | {"choices": ["80", "8080"]})
    assert find_repeats(found).same == (("q0", "q1"),)


def test_what_holds_no_word_is_like_no_other() -> None:
    assert distinct_numbers(questions({"question": "?"}, {"question": "?"})) == [0, 1]


def test_many_repeats_are_counted_and_ten_named() -> None:
    found = questions(*({"question": f"Which port of {number % 30}?"} for number in range(90)))
    (sentence,) = describe_repeats(find_repeats(found))
    assert sentence.startswith("60 questions repeat an earlier one") and sentence.endswith("; and 20 more.")
