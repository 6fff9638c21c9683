"""What no person would call an answer is never right, for any kind of question, and never stops the grading."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evaluation.grading.choices import read_choice_probabilities
from evaluation.grading.grading import Ungradable, grade, grade_reply
from evaluation.questions.question import Question
from evaluation.replies import CitedSource, Reply

SCHEMA = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}


def ask(kind: str, *answers: str, **fields: Any) -> Question:
    row = {"id": "q", "slice": "s", "question": "What is it?", "kind": kind, "answers": answers, "sources": ["a.md"]}
    return Question.model_validate(row | fields)


BY_TEXT = [
    ask("value", "26", "Port Louis"),
    ask("value", "26", form="<(?P<value>.*)>"),
    ask("value", answerable=False),
    ask("number", "26", "1e6 km", tolerance=1, tolerance_percent=5),
    ask("number", answerable=False),
    ask("regex", r"\d{4}-\d\d", "[a-z]+ louis"),
    ask("json", json_schema=SCHEMA),
    ask("json", '{"age": 3}', json_schema=SCHEMA),
]
CHOICE = ask("choice", "Gold", choices=["Iron", "Gold"])
RUBRIC = ask("rubric", "Salt", rubric="Names salt.")

# Letters of two scripts that run from right to left, emoji with their joiners, control characters and loose marks;
# no Latin letter and no digit of any script, of which an answer might be made.
MARKS = st.characters(categories=("P", "S", "Z", "C", "Mn", "Me"))
RIGHT_TO_LEFT = st.characters(min_codepoint=0x590, max_codepoint=0x6FF, exclude_categories=("Nd",))
EMOJI = st.sampled_from("👩‍👩‍👧‍👦🏽❤️☠🇩🇪")
PLAIN_GARBAGE = st.text(MARKS | RIGHT_TO_LEFT | EMOJI, max_size=60).filter(
    lambda text: not any(character.isdecimal() or (character.isascii() and character.isalpha())
                         for character in unicodedata.normalize("NFKC", text))
)  # fmt: skip
LONG = st.builds(
    lambda text, times: text * times,
    st.sampled_from(
        [
            "a",
            " ",
            "\n",
            "[1]",
            "[1",
            "{",
            "[",
            '{"a":',
            "`",
            "```\n",
            "(",
            ".)",
            "-",
            "1,",
            "9",
            "1e",
            "not ",
            ". ",
            "²",
        ]
    ),
    st.integers(1_000, 20_000),
)
GARBAGE = PLAIN_GARBAGE | LONG
PASSAGES = st.lists(
    st.builds(
        CitedSource,
        index=st.integers(1, 9),
        source=st.text(max_size=8),
        title=st.just(""),
        cited=st.booleans(),
        text=st.none() | GARBAGE,
    ),
    max_size=3,
)


@pytest.mark.parametrize("question", BY_TEXT, ids=lambda question: f"{question.kind}-{question.answerable}")
@given(answer=GARBAGE, citations=PASSAGES, retrieves=st.booleans())
@example(answer="2\u200b6", citations=[], retrieves=False)
@example(answer="\ud800", citations=[], retrieves=True)
@settings(deadline=None, max_examples=60)
def test_garbage_is_graded_and_never_right(
    question: Question, answer: str, citations: list[CitedSource], retrieves: bool
) -> None:
    result = grade(question, answer, citations, retrieves)
    assert not result.correct
    assert result == grade(question, answer, citations, retrieves)
    reply = grade_reply(question, Reply(text=answer, citations=citations), retrieves)
    assert reply.grade == result and reply.missing is None


@given(text=st.text(max_size=80))
@settings(deadline=None)
def test_no_answer_stops_the_grading(text: str) -> None:
    for question in BY_TEXT:
        grade(question, text, [CitedSource(index=1, source="a.md", title="", cited=True, text=text)], retrieves=True)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(deadline=None)
def test_json_that_is_not_the_accepted_value_is_wrong(value: Any) -> None:
    assert grade(BY_TEXT[-1], json.dumps(value)).correct is (value == {"age": 3})


TOKENS = st.lists(st.tuples(st.text(MARKS | RIGHT_TO_LEFT | EMOJI, max_size=3), st.floats()), max_size=20)


@given(tokens=TOKENS, answer=GARBAGE)
@settings(deadline=None)
def test_a_choice_from_garbage_is_neither_right_nor_wrong(tokens: list[tuple[str, float]], answer: str) -> None:
    choices = read_choice_probabilities(tokens, CHOICE)
    assert choices is None
    with pytest.raises(Ungradable):
        grade(CHOICE, answer, choices=choices)
    reply = grade_reply(CHOICE, Reply(text=answer, choices=choices), retrieves=False)
    assert reply.grade is None and reply.ungradable


@given(tokens=st.lists(st.tuples(st.sampled_from(["A", "B", " B", "C"]), st.floats()), max_size=9))
@settings(deadline=None)
def test_whatever_an_endpoint_sends_as_probabilities_is_read(tokens: list[tuple[str, float]]) -> None:
    reply = grade_reply(CHOICE, Reply(text="A", choices=read_choice_probabilities(tokens, CHOICE)), retrieves=False)
    assert (reply.grade is None) is (reply.ungradable is not None)
    assert Reply.model_validate_json(reply.model_dump_json()) == reply


@given(answer=GARBAGE, judged=st.none() | st.just("The judge did not answer."))
@settings(deadline=None)
def test_a_rubric_without_a_verdict_is_never_right(answer: str, judged: str | None) -> None:
    reply = grade_reply(RUBRIC, Reply(text=answer), retrieves=False, judged=judged)
    assert reply.ungradable if judged else (reply.ungradable or (reply.grade and not reply.grade.correct))
