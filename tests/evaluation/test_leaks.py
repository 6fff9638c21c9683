"""No test question stands in the training file."""

import hashlib
import json
from pathlib import Path

import pytest

from cluster.digests import digest_question
from cluster.errors import TandemError
from evaluation.leaks import leaked, refuse_leaks
from evaluation.questions import Question


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
    assert [(leak.question.id, leak.row) for leak in leaked(questions, trained)] == [("a", "t1")]
    with pytest.raises(TandemError, match="1 of 2 test questions were trained on: a is training row t1"):
        refuse_leaks(questions, trained)


def test_rows_of_several_turns_and_without_ids(tmp_path: Path) -> None:
    path = tmp_path / "trained.jsonl"
    path.write_text(json.dumps({"question_sha256": [digest_question("First?"), digest_question("Second?")]}) + "\n")
    assert leaked([question("a", "second?")], path)[0].row == "in line 1"


def test_clean_questions_pass(tmp_path: Path) -> None:
    refuse_leaks([question("a", "What is the number of Iron?")], write(tmp_path, "Name the number of Iron."))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "trained.jsonl"
    with pytest.raises(TandemError, match="cannot be read"):
        leaked([], path)
    path.write_text('{"question_sha256": "00"}\n{"row_sha256": "00"}\n')
    with pytest.raises(TandemError, match=r"trained\.jsonl:2 holds no question_sha256"):
        leaked([], path)
