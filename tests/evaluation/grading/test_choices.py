"""Multiple choice by log-likelihood: what is sent, and what is read from the tokens."""

import math

import pytest

from evaluation.grading.choices import (
    CHOICE_PARAMETERS,
    balance_letters,
    lettered_wording,
    likeliest_choice,
    read_choice_probabilities,
)
from evaluation.questions.question import Question

METAL = Question(
    id="q", slice="s", question="Which is heavier?", kind="choice", choices=("Iron", "Gold", "Tin"), answers=("Gold",)
)


def test_the_choices_are_lettered_lines() -> None:
    lines = ["A) Iron", "B) Gold", "C) Tin", "Answer with the letter only."]
    assert lettered_wording(METAL) == "\n".join(["Which is heavier?", *lines])
    assert lettered_wording(METAL, "Which weighs more?") == "\n".join(["Which weighs more?", *lines])
    assert CHOICE_PARAMETERS == {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}


def test_the_probabilities_of_a_letter_s_tokens_are_summed() -> None:
    tokens = [("B", 0.3), (" B", 0.2), ("(B)", 0.1), ("A", 0.25), ("The", 0.1), ("D", 0.04), ("b", 0.01)]
    found = read_choice_probabilities([(token, math.log(share)) for token, share in tokens], METAL)
    assert found == {"Iron": pytest.approx(math.log(0.25)), "Gold": pytest.approx(math.log(0.6))}
    assert list(found or {}) == ["Iron", "Gold"] and likeliest_choice(found or {}) == "Gold"


@pytest.mark.parametrize("token", ["B", " B", "B ", "\nB", "(B", "B)", "[B]", "▁B", "ĠB"])
def test_a_letter_with_spaces_and_brackets(token: str) -> None:
    assert read_choice_probabilities([(token, -0.5)], METAL) == {"Gold": -0.5}


@pytest.mark.parametrize("token", ["", " ", "b", "BB", "B1", "D", "The", "(", "Gold", "И", "Ｂ", "\u0412"])
def test_what_is_no_letter_gives_nothing_to_grade(token: str) -> None:
    assert read_choice_probabilities([(token, -0.1)], METAL) is None


def test_nothing_to_read() -> None:
    assert read_choice_probabilities([], METAL) is None
    assert read_choice_probabilities([("A", -math.inf), ("B", math.nan)], METAL) is None


def test_probabilities_too_small_for_a_float_are_still_compared() -> None:
    found = read_choice_probabilities([("A", -9999.0), (" A", -9999.0), ("B", -9999.5)], METAL)
    assert (
        found == {"Iron": pytest.approx(-9999 + math.log(2)), "Gold": -9999.5}
        and likeliest_choice(found or {}) == "Iron"
    )


def test_a_tie_has_no_likeliest() -> None:
    assert likeliest_choice({"Iron": math.log(0.1) + math.log(3), "Gold": math.log(0.3)}) is None
    assert likeliest_choice({"Iron": -0.5, "Gold": -0.4, "Tin": -0.5}) == "Gold"
    assert likeliest_choice({}) is None


def first_is_right(number: int, *choices: str, slice_name: str = "s") -> Question:
    return Question(
        id=f"q{number}", slice=slice_name, question="?", kind="choice", choices=choices, answers=(choices[0],)
    )


@pytest.mark.parametrize("num_choices", [2, 3, 4, 26])
def test_each_letter_is_right_equally_often(num_choices: int) -> None:
    texts = [f"choice {number}" for number in range(num_choices)]
    questions = [first_is_right(number, *texts, slice_name="ab"[number % 2]) for number in range(100)]
    balanced = balance_letters(questions)
    for name in "ab":
        places = [row.choices.index(row.answers[0]) for row in balanced if row.slice == name]
        counts = [places.count(place) for place in range(num_choices)]
        assert max(counts) - min(counts) <= 1
        assert num_choices == 2 or places[:num_choices] != sorted(places[:num_choices])
    assert [sorted(row.choices) for row in balanced] == [sorted(row.choices) for row in questions]
    assert balance_letters(questions) == balanced and balance_letters(questions[:60]) == balanced[:60]
    assert len({row.choices.index(texts[-1]) for row in balanced}) == num_choices


@pytest.mark.parametrize("last", ["All of the above", "None of these", "Both", "A and B", "neither of them", "A or C"])
def test_choices_that_speak_of_each_other_keep_their_order(last: str) -> None:
    questions = [first_is_right(number, "Iron", "Gold", last) for number in range(5)]
    assert balance_letters(questions) == questions
    assert balance_letters([METAL.model_copy(update={"kind": "value", "choices": ()})])[0].choices == ()
