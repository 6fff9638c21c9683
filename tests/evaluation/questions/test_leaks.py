"""No test question stands in the training file."""

import hashlib
import json
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_question
from cluster.fingerprints.minhash import digest_answer, digest_words, question_minhash
from evaluation.questions.leaks import find_leaks, refuse_leaks, source_overlap
from evaluation.questions.question import Question


def question(identity: str, text: str) -> Question:
    return Question(id=identity, slice="s", question=text, answers=("26",))


def write(folder: Path, *questions: str) -> Path:
    path = folder / "trained.jsonl"
    rows = [{"id": f"t{number}", "question_sha256": digest_question(text)} for number, text in enumerate(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_digest_is_of_the_plain_text() -> None:
    plain = "what is the number of iron?"
    assert digest_question("  What is the\nnumber of Iron？ ") == hashlib.sha256(plain.encode()).hexdigest()


def test_a_leak_is_found_up_to_case_and_spacing(tmp_path: Path) -> None:
    trained = write(tmp_path, "Name the number of Gold.", "what  is the NUMBER of iron?")
    questions = [question("a", "What is the number of Iron?"), question("b", "What is the number of Gold?")]
    assert [(leak.question.id, leak.row) for leak in find_leaks(questions, trained)] == [("a", "t1")]
    with pytest.raises(TandemError, match="1 of 2 test questions were trained on: a is training row t1"):
        refuse_leaks(questions, trained)


def test_rows_of_several_turns_and_without_ids(tmp_path: Path) -> None:
    path = tmp_path / "trained.jsonl"
    path.write_text(json.dumps({"question_sha256": [digest_question("First?"), digest_question("Second?")]}) + "\n")
    assert find_leaks([question("a", "second?")], path)[0].row == "in line 1"


def test_clean_questions_pass(tmp_path: Path) -> None:
    refuse_leaks([question("a", "What is the number of Iron?")], write(tmp_path, "Name the number of Iron."))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "trained.jsonl"
    with pytest.raises(TandemError, match="cannot be read"):
        find_leaks([], path)
    path.write_text('{"question_sha256": "00"}\n{"row_sha256": "00"}\n')
    with pytest.raises(TandemError, match=r"trained\.jsonl:2 holds no question_sha256"):
        find_leaks([], path)


LONG = "Who of us may still take the days of leave that were left over from the last year?"
ANSWER = "All who ask for it in March may."


def write_told(folder: Path, text: str, answer: str = "Yes.") -> Path:
    """A row as training writes it today."""
    path, numbers = folder / "trained.jsonl", question_minhash(text)
    row = {
        "id": "t0", "question_sha256": [digest_question(text)], "question_words_sha256": [digest_words(text)],
        "question_minhash": [numbers and numbers.hashvalues.tolist()], "answer_words_sha256": [digest_answer(answer)],
    }  # fmt: skip
    path.write_text(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "WHAT IS THE NUMBER OF IRON",
        "Please, what is the number of iron?",
        "Hi! Could you please... what’s the number for “Iron”?",
        "what, is the number - of Iron",
    ],
)
def test_the_same_words_but_for_filler_are_a_leak(tmp_path: Path, text: str) -> None:
    trained = write_told(tmp_path, "What is the number of Iron?")
    with pytest.raises(
        TandemError, match=r"a is nearly training row t0 \(similarity 1.00, the same words but for fill"
    ):
        refuse_leaks([question("a", text)], trained)


@pytest.mark.parametrize(
    ("text", "trained"),
    [
        ("What is the number of Gold?", "What is the number of Iron?"),
        ("Give the number of Iron.", "Name the number of Iron."),
        ("Please state the alpha-3 code of Iran.", "Please state the alpha-2 code of Iran."),
        ("How far is it from Rome to Paris?", "How far is it from Paris to Rome?"),
        ("How far is it from Paris?", "How far is it to Paris?"),
        ("Who was the president?", "Who is the president?"),
        ("Can I cancel an order?", "Can you cancel an order?"),
        ("May I not enter?", "May I enter?"),
        ("What is C++?", "What is C?"),
        ("What is 5 to the power of -2?", "What is 5 to the power of 2?"),
    ],
)
def test_a_word_that_matters_makes_another_question(tmp_path: Path, text: str, trained: str) -> None:
    refuse_leaks([question("a", text)], write_told(tmp_path, trained))


def test_a_long_question_with_a_word_exchanged_is_a_leak_where_the_answer_is_the_same(tmp_path: Path) -> None:
    trained = write_told(tmp_path, LONG, ANSWER)
    asked = Question(
        id="a", slice="s", question=LONG.replace("leave", "holiday"), answers=("March",), reference=ANSWER.upper()
    )
    (leak,) = find_leaks([asked], trained)
    assert (leak.kind, leak.row) == ("same_answer", "t0")
    assert 0.6 <= leak.similarity < 1
    other = asked.model_copy(update={"reference": "All who ask for it in April may."})
    refused = Question(id="a", slice="s", question=asked.question, reference=ANSWER, answerable=False)
    assert find_leaks([other, refused], trained) == []


def test_at_most_ten_pairs_are_named(tmp_path: Path) -> None:
    trained = write_told(tmp_path, "What is the number of Iron?")
    with pytest.raises(TandemError, match=r"12 of 12 test .*; q9 is nearly .*; and 2 more\. .*Take these questions"):
        refuse_leaks([question(f"q{n}", "what is number of iron") for n in range(12)], trained)


def test_numbers_of_another_length_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trained.jsonl"
    path.write_text(json.dumps({"question_sha256": [], "question_minhash": [[1, 2]]}) + "\n")
    with pytest.raises(TandemError, match=r"trained\.jsonl:1 holds a MinHash that is not 64 numbers"):
        find_leaks([], path)


def test_documents_that_were_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "trained.jsonl"
    sources = [["docs/iron.md"], ["gold.md", "docs/tin.md"], []]
    path.write_text("".join(json.dumps({"question_sha256": [], "sources": each}) + "\n" for each in sources))
    asked = [
        question(name, "Who?").model_copy(update={"sources": tuple(each)})
        for name, *each in (("a", "iron.md"), ("b", "lead.md", "./tin.md"), ("c", "cast-iron.md"), ("d",))
    ]
    found = source_overlap(asked, path)
    assert (found.num_questions, found.num_with_sources, found.questions) == (4, 3, ("a", "b"))
    assert found.sources == ("./tin.md", "iron.md")
