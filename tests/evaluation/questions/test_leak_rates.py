"""How many edited questions the leak check finds and how many different ones it takes for leaks, on the quickstart."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cluster.fingerprints.minhash import digest_answer, digest_words, plain_words, question_minhash
from evaluation.questions.files import load_questions
from evaluation.questions.leaks import find_leaks_among
from evaluation.questions.question import Question
from examples.quickstart.wordings import TEST_WORDINGS, TRAIN_WORDINGS
from training.config import TrainingConfig
from training.data.rows import read_rows
from training.publish.publish import trained_row

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
FACT = re.compile(r"The ([^.]+?) of (.+?) is (.+?)\.(?= The|\n|$)")
LONG_WORDINGS = (
    "Our team is preparing an overview for the next meeting and would like to be sure of one thing: what exactly is "
    "the {key} of {name}, as the pages say it?",
    "According to the reference pages that were checked last spring, which {key} does {name} have today?",
    "A colleague in another office asked me this morning, and I could not answer from memory: can somebody look up the "
    "{key} of {name} and tell me in one sentence?",
)
REFERENCE = "The {key} of {name} is {value}, and this is what the reference page about it says at the moment."
Fact = tuple[str, str, str]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    read = read_rows(TrainingConfig(data=QUICKSTART / "data" / "train.jsonl")).rows
    return [
        {**trained_row(row), "question": row.messages[-2]["content"], "answer": row.messages[-1]["content"]}
        for row in read[:300]
    ]


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    texts = [path.read_text() for path in sorted(QUICKSTART.glob("docs/*/*.md"))]
    found = list(dict.fromkeys(match.groups() for text in texts for match in FACT.finditer(text)))
    Random(0).shuffle(found)
    return found


def ask(number: int, text: str, answer: str = "x", reference: str | None = None) -> Question:
    return Question(id=str(number), slice="s", question=text, answers=(answer,), reference=reference)


def ask_long(number: int, wording: str, fact: Fact) -> Question:
    key, name, value = fact
    reference = REFERENCE.format(key=key, name=name, value=value)
    return ask(number, wording.format(key=key, name=name), value, reference)


def trained_on(question: Question) -> dict[str, Any]:
    return {
        "id": question.id, "question_sha256": [], "question_words_sha256": [digest_words(question.question)],
        "question_minhash": [question_minhash(question.question).hashvalues.tolist()],
        "answer_words_sha256": [digest_answer(question.reference or "")],
    }  # fmt: skip


def edited(text: str, random: Random) -> Iterator[str]:
    lower = text[0].lower() + text[1:]
    words = text.split()
    words.insert(random.randrange(1, len(words)), "just")
    yield from (text.upper(), text.rstrip(".?"), f"{text.rstrip('.?')} ?!", f"“{text}”", " ".join(words))
    yield from (f"Please {lower}", f"{text.rstrip('.?')}, please?", f"Could you please {lower}", f"Hello, {lower}")
    yield text.replace(" of ", " for ", 1).replace(" does ", " do ", 1)
    yield text.replace(" the ", " ", 1)


def test_no_question_of_the_quickstart_is_a_leak() -> None:
    rows = read_rows(TrainingConfig(data=QUICKSTART / "data" / "train.jsonl")).rows
    assert find_leaks_among(load_questions(QUICKSTART / "data" / "questions.jsonl"), map(trained_row, rows)) == []


def test_every_question_with_changed_filler_is_found_with_its_row(rows: list[dict[str, Any]]) -> None:
    random = Random(0)
    texts = [(row["question"], text) for row in rows for text in edited(row["question"], random)]
    questions = [ask(number, text) for number, (_, text) in enumerate(texts)]
    found = find_leaks_among(questions, rows)
    originals = {row["id"]: row["question"] for row in rows}
    assert len(found) == len(questions) > 3000
    assert all(plain_words(originals[leak.row]) == plain_words(texts[int(leak.question.id)][0]) for leak in found)


def test_no_short_template_is_taken_for_itself_about_something_else(facts: list[Fact]) -> None:
    # "Could you give me" is "Give" with more politeness.
    wordings = [each for each in (*TRAIN_WORDINGS, *TEST_WORDINGS) if not each.startswith("Could you")]
    texts = [wording.format(key=key, name=name) for wording in wordings for key, name, _ in facts[:1000]]
    assert len({digest_words(text) for text in texts}) == len(set(texts)) == 9000


@pytest.mark.parametrize("wording", LONG_WORDINGS)
def test_long_questions_with_exchanged_words_are_found_and_others_are_not(wording: str, facts: list[Fact]) -> None:
    trained, others = facts[:400], facts[400:800]
    rows = [trained_on(ask_long(number, wording, fact)) for number, fact in enumerate(trained)]
    random, questions = Random(0), []
    for number, fact in enumerate(trained):
        question = ask_long(number, wording, fact)
        words = question.question.split()
        fixed = [place for place, word in enumerate(words) if word in wording.split()]
        words[random.choice(fixed)] = "substitute"
        questions.append(question.model_copy(update={"question": " ".join(words)}))
    found = find_leaks_among(questions, rows)
    assert [(leak.row, leak.question.id) for leak in found] == [(str(n), str(n)) for n in range(len(trained))]
    assert all(leak.similarity >= 0.6 for leak in found)
    assert find_leaks_among([ask_long(number, wording, fact) for number, fact in enumerate(others)], rows) == []
    reworded = [each for each in LONG_WORDINGS if each != wording]
    assert (
        find_leaks_among([ask_long(n, each, fact) for each in reworded for n, fact in enumerate(trained)], rows) == []
    )
