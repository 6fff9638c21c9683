"""The line that a reply is asked to end with, as models write it."""

import pytest

from evaluation.grading.answer_line import ANSWER_SENTENCE, is_lined, read_answer_line, with_answer_line
from evaluation.grading.grading import grade_reply
from evaluation.questions.question import Question
from evaluation.replies import Reply

CITY = Question(id="q", slice="s", question="What is the capital?", answers=("Paris",))


@pytest.mark.parametrize(
    "text",
    [
        "Answer: Paris", "It is near Lyon.\nAnswer: Paris", "**Answer:** Paris", "**Answer: Paris**",
        "**Answer**: Paris",
        "### Answer: Paris", "> Answer: Paris", "- Answer: Paris", "ANSWER : Paris", "Final answer: Paris",
        "Answer:\nParis", "**Answer:**\n\n**Paris**\n", "Antwort: Paris", "Réponse : Paris", "Ответ: Paris",
        "答案：Paris",
        "回答：Paris", "الجواب: Paris", "Answer: `Paris`", "Answer: Lyon\nNo, that is wrong.\nAnswer: Paris",
        "Answer: Paris\n\nI hope this helps!", "  Answer: Paris  \r\n", "_Answer:_ Paris",
    ],
)  # fmt: skip
def test_the_value_is_read_from_the_line(text: str) -> None:
    assert read_answer_line(text) == "Paris"


@pytest.mark.parametrize(
    "text", ["Paris", "", "The answer: it is Paris", "I cannot answer: nobody knows.", "Answers vary."]
)
def test_without_the_line_the_reply_is_read_as_a_whole(text: str) -> None:
    assert read_answer_line(text) == text


def test_a_line_without_a_word_is_an_empty_answer() -> None:
    assert read_answer_line("It is Paris.\nAnswer:") == ""


def test_the_line_alone_is_graded_where_it_was_asked_for() -> None:
    reply = Reply(text="First answer: Lyon.\nAnswer: Paris\nThe Seine flows through it.")
    assert not (grade_reply(CITY, reply, False).grade or pytest.fail()).correct
    assert (grade_reply(CITY, reply, False, has_line=True).grade or pytest.fail()).correct
    wrong = Reply(text="Many think of Paris, and the capital is Paris.\nAnswer: Lyon")
    assert not (grade_reply(CITY, wrong, False, has_line=True).grade or pytest.fail()).correct
    refused = Reply(text="The passages are about rivers.\nAnswer: I do not know.")
    unanswerable = CITY.model_copy(update={"answers": (), "answerable": False})
    assert (grade_reply(unanswerable, refused, False, has_line=True).grade or pytest.fail()).correct


def test_only_values_without_a_form_are_asked_for_on_a_line() -> None:
    formed = CITY.model_copy(update={"form": "<(?P<value>.+)>"})
    rubric = Question(id="r", slice="s", question="Why?", kind="rubric", rubric="Names salt.")
    assert is_lined(CITY) and not is_lined(formed) and not is_lined(rubric)
    assert with_answer_line("Why?") == f"Why?\n\n{ANSWER_SENTENCE}"
