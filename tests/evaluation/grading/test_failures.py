"""Every kind of failure on answers whose kind is known, and whether training is worth its money after them."""

from typing import Any

import pytest

from evaluation.config import EvaluationConfig
from evaluation.grading.failures import count_failures, failure_kind, with_failures
from evaluation.grading.grading import grade
from evaluation.questions.question import GENERAL, Question
from evaluation.replies import CitedSource, FailureKind, Reply
from evaluation.results import Row
from evaluation.verdicts.staging import decide_training

IRON = Question(
    id="q", slice="facts", question="What is the atomic number of Iron?", answers=("26",), sources=("iron.md",)
)
FORMED = IRON.model_copy(update={"form": "<(?P<value>.+)>"})
UNKNOWN = Question(id="u", slice="unknown", question="Who will win?", answerable=False)
UNSOURCED = IRON.model_copy(update={"sources": ()})


def passage(text: str | None, source: str = "docs/iron.md") -> CitedSource:
    return CitedSource(index=1, source=source, title="t", cited=False, text=text)


def reply(question: Question, text: str, *citations: CitedSource, **fields: Any) -> Reply:
    graded = grade(question, text, citations, retrieves=bool(citations))
    return Reply(text=text, citations=list(citations), grade=graded, **fields)


GOLD, OTHER = passage("The atomic number of Iron is 26."), passage("Copper has 29.", "copper.md")
DERIVED, UNREAD = passage("Iron follows Manganese (25)."), passage(None)


@pytest.mark.parametrize(
    ("question", "text", "citations", "index_holds", "kind"),
    [
        (IRON, "26", [GOLD], None, None),
        (FORMED, "It is 26", [GOLD], True, "wrong_form"),
        (FORMED, "The number 26 it is", [OTHER], False, "wrong_form"),
        (FORMED, "<27>", [GOLD], True, "misread"),
        (UNKNOWN, "Bob will.", [GOLD], None, "not_in_documents"),
        (UNKNOWN, "Bob will.", [], None, "not_in_documents"),
        (IRON, "29", [OTHER], None, "not_retrieved"),
        (IRON, "29", [OTHER], True, "not_retrieved"),
        (IRON, "29", [OTHER], False, "not_in_documents"),
        (IRON, "29", [passage("Page 26 is about copper.", "copper.md")], None, "not_retrieved"),
        (IRON, "29", [], None, "not_retrieved"),
        (IRON, "29", [], False, "not_in_documents"),
        (IRON, "25", [GOLD, OTHER], True, "misread"),
        (IRON, "I do not know.", [GOLD], True, "misread"),
        (IRON, "25", [UNREAD], None, "misread"),
        (IRON, "25", [DERIVED], True, "not_retrieved"),
        (IRON, "25", [DERIVED], False, "wrong_reasoning"),
        (IRON, "25", [DERIVED], None, "wrong_reasoning"),
        (IRON, "25", [passage("Iron has 126 and 2.26 and 26.5")], None, "wrong_reasoning"),
        (UNSOURCED, "25", [], None, "wrong_reasoning"),
        (UNSOURCED, "25", [OTHER], False, "not_in_documents"),
        (UNSOURCED, "25", [OTHER], True, "not_retrieved"),
        (UNSOURCED, "25", [GOLD], True, "misread"),
    ],
)  # fmt: skip
def test_each_kind(
    question: Question, text: str, citations: list[CitedSource], index_holds: bool | None, kind: FailureKind | None
) -> None:
    assert failure_kind(question, reply(question, text, *citations), index_holds) == kind


def test_an_answer_that_was_cut_off_with_the_value_in_it_has_the_wrong_form() -> None:
    text = "The atomic number is either 25 or 26, as everyone who has ever"
    assert failure_kind(IRON, reply(IRON, text, GOLD, cut_off=True)) == "wrong_form"
    assert failure_kind(IRON, reply(IRON, text, GOLD)) == "misread"


def test_what_was_not_graded_has_no_kind() -> None:
    assert failure_kind(IRON, Reply(failed="503")) is None
    assert failure_kind(IRON, Reply(text="29", ungradable="the judge did not answer")) is None


def rows_of(question: Question, replies: dict[str, Reply], times: int) -> list[Row]:
    return [
        Row(question=question.model_copy(update={"id": f"{question.id}{number}-{id(replies)}"}), replies=replies)
        for number in range(times)
    ]


def test_rows_get_the_kinds_of_all_their_arms() -> None:
    row = Row(question=IRON, replies={"base": reply(IRON, "29"), "retrieval": reply(IRON, "25", GOLD)})
    found = with_failures([row], {"q": True})
    assert [found[0].replies[arm].grade.failure for arm in ("base", "retrieval")] == ["not_retrieved", "misread"]  # type: ignore[union-attr]
    assert count_failures(found, "retrieval") == {"misread": 1}
    assert with_failures(found, {"q": True}) == found


def staged(*parts: tuple[Question, Reply, int], worth: float = 0.05, is_trained: bool = False) -> Any:
    rows = [row for question, answer, times in parts
            for row in rows_of(question, {"base": reply(question, "no"), "retrieval": answer}, times)]  # fmt: skip
    return decide_training(with_failures(rows), EvaluationConfig(worth=worth), is_trained=is_trained)


RIGHT, MISREAD, MISSING = reply(IRON, "26", GOLD), reply(IRON, "25", GOLD), reply(IRON, "29", OTHER)


def test_form_and_behaviour_are_worth_a_training() -> None:
    found = staged((UNSOURCED, RIGHT, 80), (UNSOURCED, MISREAD, 20))
    assert (found.trained, found.repayable, found.num_questions, found.failures) == (True, 20, 100, {"misread": 20})
    assert "20 of 100 answers of retrieval are wrong in a way that training can correct" in found.reason


def test_what_was_not_retrieved_is_not() -> None:
    each_its_own = [IRON.model_copy(update={"sources": (f"elements/{number}.md",)}) for number in range(200)]
    found = staged(*((each, RIGHT if number < 150 else MISSING, 1) for number, each in enumerate(each_its_own)))
    assert (found.trained, found.repayable, found.failures) == (False, 0, {"not_retrieved": 50})
    assert (
        "That is at most 2 % of the questions (the upper end of its 95 % interval); a training is worth it above 5 %"
        in found.reason
    )


def test_two_hundred_questions_on_one_document_do_not_show_that_nothing_can_be_mended() -> None:
    assert staged((IRON, RIGHT, 150), (IRON, MISSING, 50)).trained


def test_the_interval_decides_and_not_the_point() -> None:
    assert staged((UNSOURCED, RIGHT, 49), (UNSOURCED, MISREAD, 1)).trained, "0.02, and up to 0.10"
    assert not staged((UNSOURCED, RIGHT, 980), (UNSOURCED, MISREAD, 20)).trained, "0.02, and up to 0.03"
    assert staged((UNSOURCED, RIGHT, 10)).trained, "ten questions do not show that there is nothing to correct"


def test_false_answers_can_be_mended() -> None:
    assert staged((IRON, RIGHT, 100), (UNKNOWN, reply(UNKNOWN, "Bob", GOLD), 20)).repayable == 20


def test_an_adapter_that_is_there_is_measured() -> None:
    found = staged((IRON, RIGHT, 200), is_trained=True)
    assert found.trained and found.reason.startswith("The adapter is there already")


def test_general_questions_do_not_count() -> None:
    general = UNSOURCED.model_copy(update={"slice": GENERAL})
    assert staged((IRON, RIGHT, 100), (general, MISREAD, 50)).num_questions == 100
