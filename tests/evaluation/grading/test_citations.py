"""What citations are worth: precision and recall by document, grounding by passage."""

from typing import Any

import pytest

from evaluation.grading.grading import grade
from evaluation.questions.question import Question
from evaluation.replies import CitedSource

SOURCES = ("elements/iron.md", "tables/metals.md")


def ask(*answers: str, **fields: Any) -> Question:
    row = {"id": "q", "slice": "s", "question": "What is the number of Iron?", "answers": answers, "sources": SOURCES}
    return Question.model_validate(row | fields)


def passage(source: str, cited: bool = True, text: str | None = None, *also_in: str) -> CitedSource:
    return CitedSource(index=1, source=source, title="", cited=cited, also_in=list(also_in), text=text)


IRON = ask("26")


@pytest.mark.parametrize(
    ("citations", "precision", "recall"),
    [
        ([], None, 0.0),
        ([passage("elements/iron.md", cited=False)], None, 0.0),
        ([passage("elements/iron.md")], 1.0, 0.5),
        ([passage("elements/iron.md"), passage("elements/iron.md")], 1.0, 0.5),
        ([passage("/data/elements/iron.md"), passage("elements/gold.md")], 0.5, 0.5),
        ([passage("elements/gold.md"), passage("elements/gold.md"), passage("tables/metals.md")], 0.5, 0.5),
        ([passage("elements/iron.md"), passage("tables/metals.md")], 1.0, 1.0),
        ([passage("copy.md", True, None, "elements/iron.md")], 1.0, 0.5),
        ([passage("cast-iron.md")], 0.0, 0.0),
    ],
)
def test_precision_and_recall_are_over_documents(
    citations: list[CitedSource], precision: float | None, recall: float
) -> None:
    result = grade(IRON, "It is 26 [1].", citations, retrieves=True)
    assert (result.citation_precision, result.citation_recall) == (precision, recall)


def test_without_retrieval_or_sources_there_is_neither() -> None:
    for question, retrieves in ((IRON, False), (ask("26", sources=()), True)):
        result = grade(question, "26", [passage("elements/iron.md")], retrieves)
        assert (result.citation_precision, result.citation_recall, result.cited_right) == (None, None, None)


HOLDS, OTHER = "Iron (Fe) has the number 26, as\nall know.", "Its mass is 126 or 2.6, and C-26 is a road."


@pytest.mark.parametrize(
    ("citations", "retrieves", "grounded"),
    [
        ([passage("a.md", True, HOLDS)], True, True),
        ([passage("a.md", True, OTHER)], True, False),
        ([passage("a.md", True, OTHER), passage("b.md", True, HOLDS)], True, True),
        ([passage("a.md", True, OTHER), passage("b.md", False, HOLDS)], True, False),
        ([passage("a.md", False, HOLDS)], True, False),
        ([passage("a.md", False, HOLDS)], False, None),
        ([passage("a.md", True, HOLDS)], False, True),
        ([passage("a.md", True, None)], True, None),
        ([passage("a.md", True, OTHER), passage("b.md", True, None)], True, None),
        ([], True, None),
    ],
)
def test_an_answer_is_grounded_where_a_cited_passage_holds_the_value(
    citations: list[CitedSource], retrieves: bool, grounded: bool | None
) -> None:
    assert grade(IRON, "It is 26 [1].", citations, retrieves).grounded is grounded
    assert grade(ask("26", kind="number"), "It is 26 [1].", citations, retrieves).grounded is grounded
    assert grade(ask("2[56]", kind="regex"), "26", citations, retrieves).grounded is grounded


def test_a_number_is_held_within_its_tolerance_and_a_value_by_whole_words() -> None:
    near = ask("25", kind="number", tolerance=1)
    assert grade(near, "26", [passage("a.md", True, HOLDS)], True).grounded is True
    assert grade(ask("Guinea"), "Guinea", [passage("a.md", True, "In Guinea-Bissau.")], True).grounded is False
    assert grade(ask("Port Louis"), "?", [passage("a.md", True, "It is **Port  Louis**.")], True).grounded is True


def test_there_is_nothing_to_hold_where_nobody_can_know() -> None:
    nobody = ask(answerable=False)
    assert grade(nobody, "I do not know.", [passage("a.md", True, HOLDS)], True).grounded is None


def test_a_single_letter_cannot_cite() -> None:
    choice = ask("Iron", kind="choice", choices=["Iron", "Gold"])
    result = grade(choice, "A", [passage("elements/iron.md", False, HOLDS)], True, choices={"Iron": -0.1})
    assert (result.retrieved_right, result.cited_right, result.grounded, result.citation_recall) == (True, *[None] * 3)
