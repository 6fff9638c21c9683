"""Draft questions: spread over the documents, the surest first, and read again as they were written."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from evaluation.drafts.documents import Documents, DraftDocument
from evaluation.drafts.draft_files import (
    Draft,
    Span,
    approved_questions,
    edit_draft,
    is_draft,
    read_drafts,
    refuse_draft,
    write_drafts,
)  # fmt: skip
from evaluation.drafts.drafting import draft_questions
from evaluation.questions.question import Question

LIBRARY = """\
# Main library

Opening hours: 9 a.m.\r
- **Phone:** 555-0100

| Room     | Seats | ISBN |
|----------|:-----:|------|
| Garden   | 40    | `12` |
| Map room | 12    |      |
"""


def document(text: str, source: str = "a.md") -> DraftDocument:
    return DraftDocument(source, Path(source), text)


def test_facts_are_spread_over_the_documents_and_contradictions_left_out() -> None:
    one = document("# One\n\n" + "\n".join(f"Key {letter}: {n}" for n, letter in enumerate("abcdefgh", 1)), "one.md")
    texts = {"two.md": "# Two\n\nKey: 2\n", "3.md": "# Three\n\nKey: 3\n\nLock: 4\n\nKey: 5\n"}
    documents = Documents((one, *(document(text, source) for source, text in texts.items())), ())
    drafted = draft_questions(documents, 3)
    assert {each.sources[0] for each in drafted.drafts} == {"one.md", "two.md", "3.md"}
    assert drafted.left_out["the documents give two answers"] == 2
    assert draft_questions(documents, 3).drafts == drafted.drafts
    assert len(draft_questions(documents, 100).drafts) == 10


def test_a_question_that_names_no_document_has_one_answer_in_all_of_them() -> None:
    heron = document("# Heron\n\nThe home port of Heron is Whitby.\n", "heron.md")
    (draft,) = draft_questions(Documents((heron,), ()), 9).drafts
    assert (draft.question, draft.answers) == ("What is the home port of Heron?", ("Whitby",))
    fleet = document("# Fleet\n\nThe home port of Heron is Hull.\n", "fleet.md")
    (draft,) = draft_questions(Documents((heron, fleet), ()), 9).drafts
    assert (draft.question, draft.answers) == ('In "Fleet", what is the home port of Heron?', ("Hull",))


def test_a_sure_fact_comes_before_a_gap_in_a_sentence() -> None:
    text = "# Hall\n\nThe keeper gives every guest of the house the key that Miss Harker made.\n\nSeats: 40\n"
    first, second = draft_questions(Documents((document(text),), ()), 5).drafts
    assert first.answers == ("40",)
    assert second.question == (
        'In "Hall", which name is missing from "The keeper gives every guest of the house the key that ____ made."?'
    )
    assert second.answers == ("Miss Harker",)


def test_a_document_of_more_than_a_million_characters_is_named() -> None:
    documents = Documents((document("Seats: 40\n" * 100_001, "long.md"), document("# Hall\n\nSeats: 40\n")), ())
    drafted = draft_questions(documents, 5)
    assert (len(drafted.drafts), drafted.too_long) == (1, ("long.md",))


def test_without_documents_there_is_an_error() -> None:
    with pytest.raises(TandemError, match=r"No document could be read: 3 files with \.pdf"):
        draft_questions(Documents((), ("3 files with .pdf",)), 5)


def test_drafts_are_accepted_once_each_is_decided_on(tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    drafts = draft_questions(Documents((document(LIBRARY),), ()), 3).drafts
    write_drafts(path, drafts)
    assert read_drafts(path) == drafts
    assert is_draft(path)
    with pytest.raises(TandemError, match=r"is a draft: .* Run `tandem questions approve"):
        refuse_draft(path)
    with pytest.raises(TandemError, match=r"3 of 3 questions in .* have not been decided on: fact-0000, fact-0001"):
        approved_questions(path)
    write_drafts(path, [each.model_copy(update={"approved": number == 1}) for number, each in enumerate(drafts)])
    (taken,) = approved_questions(path)
    assert type(taken) is Question
    assert taken.question == drafts[1].question
    write_drafts(path, [each.model_copy(update={"approved": False}) for each in drafts])
    with pytest.raises(TandemError, match=r"No question in .* was approved"):
        approved_questions(path)


def test_a_line_that_is_no_draft_is_named(tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    path.write_text('{"id": "a", "slice": "s", "question": "Who?", "answers": [], "approved": null}\n')
    with pytest.raises(TandemError, match=r"draft\.jsonl:1: .*at least one accepted answer"):
        read_drafts(path)
    with pytest.raises(TandemError, match="cannot be read"):
        read_drafts(tmp_path / "gone.jsonl")
    path.write_text("\n")
    with pytest.raises(TandemError, match="holds no questions"):
        read_drafts(path)
    assert not is_draft(tmp_path / "gone.jsonl")


GENERATED = Draft(
    id="prose-0001", slice="prose", question="When was room 1 built?", answers=("1901",), reference="Built in 1901.",
    sources=("1.md",), paraphrases=("In which year was room 1 built?",), tags=("rooms",), approved=True,
    span=Span(source="1.md", start=0, end=4), with_passage="1901", without_passage="I do not know.",
)  # fmt: skip
CLEARED = {
    "question": {"question": "Who built room 1?"},
    "answers": {"answers": ("1902",)},
    "sources": {"sources": ("2.md",)},
    "slice": {"slice": "rooms"},
}


@pytest.mark.parametrize(
    ("changed", "cleared"),
    [
        ("question", {"reference", "paraphrases", "with_passage", "without_passage"}),
        ("answers", {"reference", "span", "with_passage", "without_passage"}),
        ("sources", {"reference", "span", "with_passage", "without_passage"}),
        ("slice", set()),
    ],
)
def test_an_edited_draft_loses_what_fitted_only_the_old(changed: str, cleared: set[str]) -> None:
    edited = edit_draft(GENERATED, **CLEARED[changed])
    before, after = GENERATED.model_dump(), edited.model_dump()
    assert {name for name in before if before[name] != after[name]} == cleared | {changed, "approved"}
    assert all(not after[name] for name in cleared)
    assert edit_draft(GENERATED, **{changed: before[changed]}) == GENERATED


def test_answers_make_a_question_answerable_and_none_the_reverse() -> None:
    opened = edit_draft(GENERATED, answers=())
    assert (opened.answerable, opened.slice, opened.reference, opened.span) == (False, "unanswerable", None, None)
    closed = edit_draft(opened, answers=("1903",))
    assert (closed.answerable, closed.slice) == (True, "facts")
    assert edit_draft(opened, answers=("1903",), slice="mine").slice == "mine"
    with pytest.raises(ValidationError):
        edit_draft(GENERATED, question=" ")
    formed = GENERATED.model_copy(update={"kind": "number", "tolerance": 2.0, "form": "(?P<value>.*)"})
    assert edit_draft(formed, answers=()).form is None
