"""Answers to unanswerable questions in the words of assistants: refused.txt as a person grades it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.grading.grading import grade
from evaluation.questions.question import Question


def cases() -> Iterator[tuple[str, str, str]]:
    """The rows of refused.txt: a question, the mark of a person, an answer."""
    question = ""
    for line in Path(__file__).with_name("refused.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("? "):
            question = line[2:]
        elif line and not line.startswith("#"):
            yield question, line[0], line[2:].replace("⏎", "\n")


@pytest.mark.parametrize(("question", "wanted", "answer"), list(cases()))
def test_an_answer_is_told_from_a_refusal(question: str, wanted: str, answer: str) -> None:
    found = grade(Question(id="q", slice="s", question=question, answers=(), answerable=False), answer)
    assert ("~" if found.unclear else "+" if found.correct else "-") == wanted


CAPITAL = Question(id="q", slice="s", question="What is the capital of France?", answers=("Paris",))


def test_what_was_thought_is_no_answer() -> None:
    assert grade(CAPITAL, "<think>Lyon? No.</think>Paris").correct
    assert not grade(CAPITAL, "<think>It is Paris.</think>Lyon").correct
    assert not grade(CAPITAL, "<think>The capital is Paris", cut_off=True).correct
