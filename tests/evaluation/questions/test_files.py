"""The questions file: what is accepted, and errors that name file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from evaluation.questions.files import load_questions
from evaluation.questions.question import slices

ROW: dict[str, Any] = {
    "id": "unseen-012",
    "slice": "unseen",
    "question": "What is the atomic number of Iron?",
    "answers": ["26"],
    "reference": "The atomic number of Iron is 26.",
    "sources": ["elements/iron.md"],
    "answerable": True,
    "form": None,
}


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_reads_questions_in_order(tmp_path: Path) -> None:
    unknown = {"id": "u", "slice": "unanswerable", "question": "Who?", "answers": [], "answerable": False}
    form = {**ROW, "id": "f", "slice": "form", "form": r"(\w+)=(?P<value>\d+);"}
    questions = load_questions(write(tmp_path, ROW, "", unknown, form))
    assert [question.id for question in questions] == ["unseen-012", "u", "f"]
    assert slices(questions) == ["unseen", "unanswerable", "form"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{not json", "Invalid JSON"),
        ({**ROW, "answers": []}, "needs at least one accepted answer"),
        ({**ROW, "answers": ["  "]}, "answers.0"),
        ({**ROW, "answerable": False}, "has no accepted answers"),
        ({**ROW, "form": "(?P<value>["}, "not a regular expression"),
        ({**ROW, "form": r"\d+"}, "exactly one named group"),
        ({**ROW, "form": r"(?P<value>a)(?P<other>b)"}, "exactly one named group"),
        ({**ROW, "slice": "overall"}, "all slices together"),
        ({**ROW, "question": "  "}, "question"),
        ({**ROW, "anwsers": ["26"]}, "anwsers: unknown key; the keys are id, slice, question"),
        ({key: value for key, value in ROW.items() if key != "id"}, "id: Field required"),
        ({**ROW, "id": "first"}, "id 'first' was used in line 1"),
        ("[]", "object"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, row: dict[str, Any] | str, said: str) -> None:
    path = write(tmp_path, {**ROW, "id": "first"}, row)
    with pytest.raises(TandemError, match=r"questions\.jsonl:2:") as caught:
        load_questions(path)
    assert said in str(caught.value)


def test_many_mistakes_are_listed_together_and_cut(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"questions\.jsonl:10: .* and 5 more mistakes"):
        load_questions(write(tmp_path, *["{"] * 15))


def test_files_that_hold_no_questions(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="cannot be read"):
        load_questions(tmp_path / "missing.jsonl")
    with pytest.raises(TandemError, match="names no test questions"):
        load_questions(None)
    with pytest.raises(TandemError, match="holds no questions"):
        load_questions(write(tmp_path, ""))


def test_a_wrong_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(json.dumps(ROW).encode() + b"\n" + '{"id": "Zürich"}'.encode("latin-1") + b"\n")
    with pytest.raises(TandemError, match=r"questions\.jsonl:2: the text is not UTF-8"):
        load_questions(path)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n")
    assert len(load_questions(path)) == 1
