"""Question files as spreadsheets save them."""

from pathlib import Path

import pytest

from cluster.errors import TandemError
from evaluation.questions.files import load_questions
from evaluation.questions.question import Question

HEADER = ["id", "slice", "question", "answers", "answerable"]
ROWS = [
    ["a", "s", 'Wie heißt die Größe, "Länge"?', "Maß | Länge", "WAHR"],
    ["b", "s", "Qui est là ?", "", "FALSCH"],
]


def text_of(separator: str, header: list[str], *, more: int = 0, first: str = "", end: str = "\r\n") -> str:
    def line(cells: list[str]) -> str:
        quoted = ['"' + cell.replace('"', '""') + '"' if set(cell) & set('",;\t') else cell for cell in cells]
        return separator.join(quoted + [""] * more)

    return first + end.join([line(header), *map(line, ROWS)]) + end


def load(tmp_path: Path, content: bytes, name: str = "questions.csv") -> list[Question]:
    path = tmp_path / name
    path.write_bytes(content)
    return load_questions(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(
    ("separator", "first", "name"),
    [
        (";", "sep=;\r\n", "q.csv"),
        (",", "", "q.CSV"),
        (";", "", "q.csv"),
        ("\t", "", "q.tsv"),
        (",", "sep=,\n", "q.csv"),
    ],
)
@pytest.mark.parametrize("more", [0, 3])
def test_every_dialect_gives_the_same_questions(
    tmp_path: Path, encoding: str, separator: str, first: str, name: str, more: int
) -> None:
    plain = load(tmp_path, text_of(",", HEADER).encode())
    assert [row.answerable for row in plain] == [True, False] and plain[0].answers == ("Maß", "Länge")
    content = text_of(separator, ["ID", "Slice", "Question ", "Answers", "ANSWERABLE"], more=more, first=first)
    assert load(tmp_path, content.encode(encoding), name) == plain


@pytest.mark.parametrize("words", [("VRAI", "FAUX"), ("TRUE", "FALSE"), ("verdadero", "falso"), ("1", "0")])
def test_truths_of_other_languages_are_read(tmp_path: Path, words: tuple[str, str]) -> None:
    text = text_of(";", HEADER).replace("WAHR", words[0]).replace("FALSCH", words[1])
    assert [row.answerable for row in load(tmp_path, text.encode())] == [True, False]


@pytest.mark.parametrize("text", ["Где?", "どこ", "ÿþ\x01\x02", "\x8d"])
def test_another_encoding_is_refused_and_not_guessed(tmp_path: Path, text: str) -> None:
    for encoding in ("cp1251", "shift_jis", "latin-1"):
        content = f"id;slice;question;answers\na;s;{text * 3};1\n".encode(encoding, errors="ignore")
        if not content.isascii():
            with pytest.raises(TandemError, match=r"questions\.csv:2: the text is not UTF-8"):
                load(tmp_path, content)


def test_what_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"questions\.csv:3: .*cells"):
        load(tmp_path, b"sep=;\r\nid;slice;question;answers;;\r\na;s;Q?;1;;more\r\n")
    with pytest.raises(TandemError, match=r"questions\.csv:1: there is no column 'Frage'"):
        load(tmp_path, b"id;Frage\n")
    with pytest.raises(TandemError, match=r"questions\.csv:2: answerable"):
        load(tmp_path, b"id,slice,question,answers,answerable\na,s,Q?,1,perhaps\n")
