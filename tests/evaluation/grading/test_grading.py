"""Grading by its rules, on the cases that a looser rule gets wrong."""

from itertools import pairwise
from pathlib import Path

import pytest

from evaluation.grading.grading import grade, normalise
from evaluation.questions.files import load_questions
from evaluation.questions.question import Question
from evaluation.replies import CitedSource


def ask(text: str, *answers: str, form: str | None = None, sources: tuple[str, ...] = ()) -> Question:
    known = bool(answers)
    return Question(id="q", slice="s", question=text, answers=answers, answerable=known, form=form, sources=sources)


IRON = ask("What is the atomic number of Iron?", "26")
SUDAN = ask("Which country has the code SD?", "Sudan")
BISSAU = ask("What is the capital of Guinea-Bissau?", "Bissau")
STATUS = ask("What is the reason phrase of HTTP status 404?", "Not Found")
ST_JOHNS = ask("What is the capital of Antigua and Barbuda?", "St. John's", "Saint John's")
EITHER = ask("Is Or the code of Oregon or of Ohio?", "Oregon")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (IRON, "26"),
        (IRON, "26."),
        (IRON, " 26 \n"),
        (IRON, "**26**"),
        (IRON, "The atomic number of Iron is 26."),
        (IRON, "The atomic number of Iron is 26 [1]."),
        (IRON, "The atomic number of Iron is 26. [2]"),
        (IRON, "The atomic number of Iron is 26[1, 3]."),
        (IRON, 'THE ATOMIC NUMBER OF IRON IS "26".'),
        (IRON, "２６"),
        (IRON, "It's 26"),
        (IRON, "Answer: 26"),
        (IRON, "Answer:\n26"),
        (IRON, "Iron: 26"),
        (IRON, "Not an easy one. The atomic number of Iron is 26."),
        (IRON, "Iron is a metal.\nIts atomic number is 26."),
        (SUDAN, "Sudan"),
        (SUDAN, "The country with the code SD is Sudan."),
        (SUDAN, "SD is the code of the Sudan."),
        (BISSAU, "The capital of Guinea-Bissau is Bissau."),
        (BISSAU, "Guinea‑Bissau's capital: Bissau"),
        (STATUS, "The reason phrase of HTTP status 404 is Not Found [1]."),
        (STATUS, "not found"),
        (ST_JOHNS, "The capital of Antigua and Barbuda is St. John’s."),
        (ST_JOHNS, "Saint John's"),
        (EITHER, "Or is the code of Oregon"),
        (ask("How many people live there?", "1,526,000"), "About that: 1526000"),
        (ask("How many people live there?", "1526000"), "The number is 1,526,000."),
        (ask("Which currency does Germany use?", "Euro"), "Germany uses the euro."),
        (ask("Which is its HTTP status?", "404"), "HTTP status 404"),
    ],
)
def test_right_answers(question: Question, answer: str) -> None:
    assert grade(question, answer).correct


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (IRON, ""),
        (IRON, "   [1]"),
        (IRON, "126"),
        (IRON, "1.26"),
        (IRON, "-26"),
        (IRON, "−26"),
        (IRON, "1,526"),
        (IRON, "26%"),
        (IRON, "The atomic number of Iron is 126."),
        (IRON, "The atomic number of Iron is 27 [26]."),
        (IRON, "The atomic number of Iron is not 26."),
        (IRON, "The atomic number of Iron is definitely not the 26."),
        (IRON, "The atomic number of Iron isn't 26."),
        (IRON, "It is 25 or 26."),
        (IRON, "It is either the 25 or the 26"),
        (IRON, "25, 26"),
        (IRON, "25 and 26"),
        (IRON, "26 is the atomic number of Cobalt"),
        (IRON, "I do not know, but it is 26."),
        (IRON, "I don't know. It is 26."),
        (IRON, "I do not know."),
        (SUDAN, "South Sudan"),
        (SUDAN, "The country with the code SD is South Sudan."),
        (BISSAU, "The capital is Guinea-Bissau."),
        (STATUS, "The reason phrase of HTTP status 404 is Found."),
        (ST_JOHNS, "John's"),
        (ask("What is the symbol of Cobalt?", "Co"), "The symbol of Cobalt is C-o."),
    ],
)
def test_wrong_answers(question: Question, answer: str) -> None:
    assert not grade(question, answer).correct


NOBODY_KNOWS = ask("What is the atomic number of Zorbium in version 7?")


@pytest.mark.parametrize(
    "answer",
    [
        "I do not know.",
        "I don’t know",
        "I do not know the atomic number of Zorbium in version 7.",
        "Sorry, I do not know.",
        "Sorry. I do not know. The passages do not say.",
        "The passages do not mention Zorbium.",
        "I cannot answer this from the passages [1].",
        "The atomic number of Zorbium is something I do not know.",
        "The atomic number of Zorbium is not known.",
        "There is no information about Zorbium.",
    ],
)
def test_plain_refusals_are_right_where_nobody_can_know(answer: str) -> None:
    result = grade(NOBODY_KNOWS, answer)
    assert result.correct and result.refused


@pytest.mark.parametrize(
    "answer",
    [
        "26",
        "",
        "The atomic number of Zorbium is 119.",
        "I do not know, but it may be heavy.",
        "I do not know 26.",
        "I do not know. It is Iron.",
        "It is Iron. I do not know.",
        "Its name is Not Found.",
        "The answer to this question is left to the reader.",
    ],
)
def test_an_answer_or_a_refusal_with_a_value_is_wrong_where_nobody_can_know(answer: str) -> None:
    assert not grade(NOBODY_KNOWS, answer).correct


def test_a_refusal_may_repeat_names_with_a_stop_in_them() -> None:
    question = ask("What is the gross tonnage of St. Kitts?")
    assert grade(question, "I do not know the gross tonnage of St. Kitts.").correct


@pytest.mark.parametrize(
    ("answer", "content", "form"),
    [
        ("Fe = 26;", True, True),
        (" Fe = 26; [1]", True, True),
        ("Fe = 27;", False, True),
        ("Fe = 126;", False, True),
        ("The atomic number of Iron is 26.", True, False),
        ("Fe = 26; Co = 27;", False, False),
        ("I do not know.", False, False),
    ],
)
def test_form_and_content_are_scored_apart(answer: str, content: bool, form: bool) -> None:
    result = grade(ask("What is the atomic number of Iron, as a record?", "26", form=r"\w+ = (?P<value>\d+);"), answer)
    assert (result.content, result.form, result.correct) == (content, form, content and form)


def test_without_a_form_there_is_no_grade_for_it() -> None:
    assert grade(IRON, "26").form is None


def passage(index: int, source: str, cited: bool, *also_in: str) -> CitedSource:
    return CitedSource(index=index, source=source, title="", cited=cited, also_in=list(also_in))


@pytest.mark.parametrize(
    ("citations", "cited_right", "retrieved_right"),
    [
        ([passage(1, "elements/iron.md", True)], True, True),
        ([passage(1, "/data/docs/elements/iron.md", True)], True, True),
        ([passage(1, "elements/gold.md", True), passage(2, "elements/iron.md", False)], False, True),
        ([passage(1, "elements/cast-iron.md", True)], False, False),
        ([passage(1, "iron.md", True)], False, False),
        ([passage(1, "copy.md", True, "elements/iron.md")], True, True),
        ([], False, False),
    ],
)
def test_citations_count_by_document(citations: list[CitedSource], cited_right: bool, retrieved_right: bool) -> None:
    question = ask("What is the atomic number of Iron?", "26", sources=("elements/iron.md",))
    result = grade(question, "It is 26 [1].", citations, retrieves=True)
    assert (result.cited_right, result.retrieved_right) == (cited_right, retrieved_right)


def test_citations_are_not_judged_without_retrieval_or_without_a_known_source() -> None:
    sourced = ask("What is the atomic number of Iron?", "26", sources=("elements/iron.md",))
    assert grade(sourced, "26").cited_right is None
    assert grade(IRON, "26", [passage(1, "elements/iron.md", True)], retrieves=True).cited_right is None


def test_the_quickstart_s_own_answers_are_right_and_each_other_s_are_wrong() -> None:
    questions = load_questions(Path(__file__).parents[3] / "examples/quickstart/data/questions.jsonl")
    sentences = [question for question in questions if question.answerable and not question.form]
    assert all(grade(question, question.reference or "").correct for question in questions)
    for question, other in pairwise(sentences):
        stem = (question.reference or "").removesuffix(f"{question.answers[0]}.")
        shared = set(map(normalise, question.answers)) & set(map(normalise, other.answers))
        assert shared or not grade(question, f"{stem}{other.answers[0]}.").correct


def test_normalise() -> None:
    assert normalise("  “Côte  d’Ivoire”. ") == "côte d'ivoire"
    assert normalise("St.  John's (Antigua)") == "st john's antigua"
    assert normalise("1,234,567.50") == "1234567.50"
    assert normalise("4,5") == "4,5"
