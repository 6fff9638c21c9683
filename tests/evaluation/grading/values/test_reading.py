"""Values in answers as people and models write them: answers.txt as a person grades it, and ten ways of talk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.grading.grading import grade
from evaluation.questions.question import Question

Case = tuple[Question, str, str]


def cases() -> Iterator[Case]:
    """The rows of answers.txt and the files beside it: a question, the mark of a person, an answer."""
    question = None
    files = [Path(__file__).with_name(name) for name in ("answers.txt", "asked.txt", "subjects.txt")]
    for line in [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]:
        if line.startswith("? "):
            text, answers, *kind = (part.strip() for part in line[2:].split("||"))
            row = {
                "id": "q",
                "slice": "s",
                "question": text,
                "answers": answers.split(" | "),
                "kind": [*kind, "value"][0],
            }
            question = Question.model_validate(row)
        elif line and not line.startswith("#"):
            assert question is not None
            yield question, line[0], line[2:].replace("⏎", "\n")


def mark(question: Question, answer: str) -> str:
    found = grade(question, answer)
    assert not (found.unclear and found.correct)
    return "~" if found.unclear else "+" if found.correct else "-"


@pytest.mark.parametrize(
    ("question", "wanted", "answer"), list(cases()), ids=lambda part: part if isinstance(part, str) else ""
)
def test_an_answer_is_graded_as_a_person_grades_it(question: Question, wanted: str, answer: str) -> None:
    assert mark(question, answer) == wanted


TALK = [
    "{}",
    "The answer is {}.",
    "Sure! It is {}. Let me know if you need anything else!",
    "Based on the passages provided, it is **{}** [1].",
    "Great question! According to the document, that would be {}. I hope this helps! 😊",
    "{} is the answer to your question.",
    "I looked through all three passages. The second one is the relevant one. It says {}.",
    "\\boxed{{{}}}",
    "Answer: {}\n\nExplanation: the passage in section 2 says so.",
    "Thank you for asking. The answer that you are looking for is {}, as described on page 3.",
    "Here is what I found:\n\n- {}\n\nSource: handbook.md",
    "```\n{}\n```",
    "<p>It is <b>{}</b>.</p>",
]
VALUES = [
    ("Which city is the seat of the court?", "Leiden", "Utrecht", "value"),
    ("Which database does billing use?", "MariaDB", "Redis", "value"),
    ("Who wrote the guide?", "Elena Rossi", "Marco Bianchi", "value"),
    ("Which team owns it?", "the Identity Team", "the Mobile Team", "value"),
    ("Which colour is the button?", "yellow", "red", "value"),
    ("How do you apply?", "by post or e-mail", "in person", "value"),
    ("What is the part number?", "KX-20", "KX-21", "value"),
    ("Which file must be edited?", "/etc/hosts", "/etc/passwd", "value"),
    ("When was the policy introduced?", "5 March 2024", "6 March 2024", "value"),
    ("In which year was it founded?", "1998", "1997", "value"),
    ("When does it open?", "11:30", "12:30", "value"),
    ("What is the atomic number of Iron?", "26", "27", "value"),
    ("How long is the trail?", "12 km", "13 km", "number"),
    ("How many seats are there?", "140", "150", "number"),
    ("What share of orders is late?", "12.5 %", "13.5 %", "number"),
    ("What does it cost?", "$1,850", "$1,950", "number"),
]


@pytest.mark.parametrize("talk", TALK)
def test_no_way_of_talking_is_graded_better_than_another(talk: str) -> None:
    """Arms that say the same right and wrong values, tersely and at length, have the same shares."""
    for question, right, wrong, kind in VALUES:
        asked = Question.model_validate(
            {"id": "q", "slice": "s", "question": question, "answers": [right], "kind": kind}
        )
        assert mark(asked, talk.format(right)) == "+", right
        assert mark(asked, talk.format(wrong)) == "-", wrong


CAPITAL = Question(id="q", slice="s", question="What is the capital of France?", answers=("Paris",))


def test_an_answer_that_was_cut_off_within_the_value_is_unclear() -> None:
    many = Question(id="q", slice="s", question="How many?", kind="number", answers=("15",))
    assert grade(many, "There are 15", cut_off=True).unclear
    assert grade(many, "There are 15 of them, and", cut_off=True).correct
    assert grade(CAPITAL, "The capital is Par", cut_off=True).correct is False


def test_a_judge_s_word_settles_what_is_unclear_and_nothing_else() -> None:
    date = Question(id="q", slice="s", question="When is it due?", answers=("5 March 2024",))
    assert grade(date, "05/03/2024").unclear
    for word in (True, False):
        settled = grade(date, "05/03/2024", judged=word)
        assert (settled.correct, settled.unclear) == (word, False)
    assert not grade(CAPITAL, "Lyon", judged=True).correct
    assert grade(CAPITAL, "Paris", judged=False).correct
