"""Numbers, patterns, JSON, choices and rubrics on the cases that a looser rule gets wrong; F1; what has no grade."""

from typing import Any

import pytest

from evaluation.grading.grading import Ungradable, grade, grade_reply
from evaluation.questions.question import Question
from evaluation.replies import Reply


def ask(kind: str, *answers: str, text: str = "How far is it?", **fields: Any) -> Question:
    return Question.model_validate(
        {"id": "q", "slice": "s", "question": text, "kind": kind, "answers": answers, **fields}
    )


MOON = ask("number", "384,400 km", tolerance_percent=1)
PLAIN = ask("number", "26")
NEAR = ask("number", "0.2", tolerance=0.1)
STATUS = ask("number", "9", text="How many letters has the phrase of HTTP status 404?")
SUM = ask("number", "4", text="What is 2 plus 2?")
MINUS = ask("number", "-40")
EITHER = ask("number", "26 miles", "42 km")
FORMED = ask("number", "26", form=r"n = (?P<value>.*)", tolerance=1)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (PLAIN, "26"),
        (PLAIN, "26.0"),
        (PLAIN, "twenty-six"),
        (PLAIN, "**26**"),
        (PLAIN, "It is about 26 [1]."),
        (PLAIN, "It is 26 elements long."),
        (PLAIN, "In 1999 it was 25. Now it is 26!"),
        (PLAIN, "$26"),
        (PLAIN, "２６"),
        (PLAIN, "H2O has 26 of them."),
        (MOON, "384400"),
        (MOON, "The distance is 384 400 km."),
        (MOON, "About 385,000 km"),
        (MOON, "3.844 × 10⁵ km"),
        (MOON, "3.844e5 km"),
        (MOON, "384.4 thousand km"),
        (MOON, "384,400km (238,855 miles)."),
        (MOON, "380,556 km"),
        (NEAR, "0.3"),
        (NEAR, "0.1"),
        (STATUS, "The phrase of HTTP status 404 has 9 letters."),
        (SUM, "2 plus 2 is 4."),
        (MINUS, "It is −40 °C."),
        (EITHER, "42 km"),
        (EITHER, "26 miles"),
        (FORMED, "n = 27"),
    ],
)
def test_right_numbers(question: Question, answer: str) -> None:
    assert grade(question, answer).correct


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (PLAIN, ""),
        (PLAIN, "126"),
        (PLAIN, "1.26"),
        (PLAIN, "-26"),
        (PLAIN, "2.6"),
        (PLAIN, "26 million"),
        (PLAIN, "26,27"),
        (PLAIN, "26x27"),
        (PLAIN, "25 or 26"),
        (PLAIN, "20-26"),
        (PLAIN, "It is not 26."),
        (PLAIN, "It isn't 26"),
        (PLAIN, "More than 26"),
        (PLAIN, "at least 26"),
        (PLAIN, "I do not know, but it is 26."),
        (PLAIN, "It is 26. It was 25."),
        (PLAIN, "Version 1.26.3"),
        (PLAIN, "ISO-26"),
        (PLAIN, "26e2"),
        (PLAIN, "26e99999"),
        (PLAIN, "26²"),
        (PLAIN, "2" + "6" * 100_000),
        (MOON, "384,400 miles"),
        (MOON, "380,555 km"),
        (MOON, "384,400 km or 238,855 km"),
        (NEAR, "0.31"),
        (NEAR, "0.09"),
        (MINUS, "40"),
        (EITHER, "26 km"),
        (EITHER, "42 miles"),
        (FORMED, "n = 28"),
        (FORMED, "26"),
    ],
)
def test_wrong_numbers(question: Question, answer: str) -> None:
    assert not grade(question, answer).correct


def test_a_number_that_misses_the_form_still_has_the_content() -> None:
    result = grade(FORMED, "It is 26.")
    assert (result.content, result.form, result.correct) == (True, False, False)


def test_without_a_tolerance_a_number_has_to_be_equal() -> None:
    assert not grade(PLAIN, "26.000000000000000000000000001").correct


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("2024-05", True),
        (" “2024-05”. [1]", True),
        ("NONE", True),
        ("It is 2024-05", True),
        ("It is 2024-05, not 2024-04.", True),
        ("It is not 2024-05", False),
        ("2024-05 or 2024-06", False),
        ("Perhaps 2024-05", False),
        ("2024-055", False),
        ("Draft-2024-05", False),
        ("", False),
    ],
)
def test_a_pattern_matches_from_end_to_end_or_as_a_value_is_given(answer: str, right: bool) -> None:
    result = grade(ask("regex", r"\d{4}-\d\d", "None|missing"), answer)
    assert result.correct is right and result.f1 is None


PERSON = {"type": "object", "required": ["age"], "properties": {"age": {"type": "number"}, "of": {"type": "array"}}}
AGED = ask("json", '{"age": 3, "of": [1]}', json_schema=PERSON)


@pytest.mark.parametrize(
    ("answer", "content", "form"),
    [
        ('{"age": 3, "of": [1]}', True, True),
        (' {"of": [1],\n"age": 3.0} [1] [2, 3]', True, True),
        ('{"age": 3, "of": []}', False, True),
        ('{"age": 3}', False, True),
        ('{"age": true, "of": [1]}', False, False),
        ('{"age": "3", "of": [1]}', False, False),
        ('```json\n{"age": 3, "of": [1]}\n```', True, False),
        ('Here it is: {"age": 3, "of": [1]}', False, False),
        ('{"age": 3, "of": [1]} and more', False, False),
        ('{"age": NaN}', False, False),
        ("[" * 100_000, False, False),
        ("", False, False),
        ("I do not know.", False, False),
    ],
)
def test_json_by_its_schema_and_its_value(answer: str, content: bool, form: bool) -> None:
    result = grade(AGED, answer)
    assert (result.content, result.form, result.correct) == (content, form, content and form)


def test_json_without_accepted_values_has_to_hold_to_the_schema() -> None:
    question = ask("json", json_schema=PERSON)
    assert grade(question, '{"age": 99}').correct
    assert not grade(question, '{"name": "Bob"}').correct


def test_equal_json_values_are_of_one_type() -> None:
    assert grade(ask("json", "1", json_schema={}), "1.0").correct
    assert not grade(ask("json", "1", json_schema={}), "true").correct


METAL = ask("choice", "Gold", choices=["Iron", "Gold"])
CAUSE = ask("rubric", rubric="Names a cause.")


def test_the_likeliest_choice_is_the_answer() -> None:
    assert grade(METAL, "A", choices={"Gold": -0.2, "Iron": -1.9}).correct
    assert not grade(METAL, "B", choices={"Gold": -1.9, "Iron": -0.2}).correct
    assert grade(METAL, "?", choices={"Gold": -9.0}).correct


@pytest.mark.parametrize("choices", [None, {}, {"Gold": -0.7, "Iron": -0.7}])
def test_a_choice_without_a_likeliest_is_neither_right_nor_wrong(choices: dict[str, float] | None) -> None:
    with pytest.raises(Ungradable):
        grade(METAL, "B", choices=choices)
    reply = grade_reply(METAL, Reply(text="B", choices=choices), retrieves=False)
    assert reply.grade is None and reply.ungradable and not reply.failed


def test_a_rubric_is_graded_by_the_judge_alone() -> None:
    assert grade(CAUSE, "I do not know.", judged=True).correct
    assert not grade(CAUSE, "Rust.", judged=False).correct
    assert not grade(CAUSE, " \n", judged=True).correct, "an empty answer is wrong, whatever the judge says"


@pytest.mark.parametrize("judged", [None, "The judge is not trusted: kappa."])
def test_a_rubric_without_a_judge_is_neither_right_nor_wrong(judged: str | None) -> None:
    reply = grade_reply(CAUSE, Reply(text="Rust."), retrieves=False, judged=judged)
    assert reply.grade is None and reply.ungradable == (judged or "The question has a rubric, and there is no judge.")


def test_a_graded_reply_and_a_failed_one() -> None:
    reply = grade_reply(PLAIN, Reply(text="26", latency_s=0.5), retrieves=False)
    assert reply.grade is not None and reply.grade.correct and reply.missing is None and reply.latency_s == 0.5
    failed = Reply(failed="the endpoint answered 503")
    assert grade_reply(METAL, failed, retrieves=False) == failed


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        ("Port Louis", 1.0),
        ("the port louis", 1.0),
        ("The capital is Port Louis.", 2 * 2 / (4 + 2)),
        ("Port", 2 / 3),
        ("Port Port", 0.5),
        ("St Louis", 0.5),
        ("", 0.0),
    ],
)
def test_f1_in_words_with_the_nearest_answer(answer: str, f1: float) -> None:
    assert grade(ask("value", "Port Louis", "Curepipe and more"), answer).f1 == pytest.approx(f1)


def test_f1_keeps_an_article_that_is_the_answer_and_needs_an_answer() -> None:
    assert grade(ask("value", "A"), "A").f1 == 1.0
    assert grade(ask("value", answerable=False), "I do not know.").f1 is None


def test_an_unanswerable_number_is_right_where_it_is_refused() -> None:
    nobody = ask("number", answerable=False)
    assert grade(nobody, "I do not know.").correct
    assert not grade(nobody, "26").correct


def test_a_value_that_is_only_marks_is_not_right() -> None:
    assert not grade(ask("value", "26", form="<(?P<value>.*)>"), "<**>").correct
