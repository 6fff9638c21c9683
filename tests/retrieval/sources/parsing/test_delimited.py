"""Tables as text: the delimiter is found, and each cell is where the csv module has it."""

import csv
import io
import random
import re

import pytest

from retrieval.sources.parsing.delimited import DELIMITERS, ONE_COLUMN, find_delimiter
from retrieval.sources.parsing.parse import parse

WORDS = (
    "Kunde", "Hamburg", "3,50", "1.234,56", "2024-05-01", "a;b", "x | y", "said \"no\"", "two\nlines", "", " ", "€ 5",
    "Müller, Hans", "12:30", "long text with many words", "tab\there", "don't", "-", "100%",
)  # fmt: skip


def table(seed: int) -> list[list[str]]:
    """Names above, then rows of one to six columns, some shorter than others."""
    draw = random.Random(seed)
    width = draw.randint(1, 6)
    rows = [[f"name{column}" for column in range(width)]]
    for _ in range(draw.randint(1, 30)):
        rows.append([draw.choice(WORDS) for _ in range(width)])
    if draw.random() < 0.3:
        rows[-1] = rows[-1][: draw.randint(1, width)]
    return rows


def written(rows: list[list[str]], delimiter: str, quoting: int) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue()


def cells(markdown: str) -> list[list[str]]:
    """The cells of a Markdown table, without the line below its head."""
    lines = [line.replace("\\|", "\0") for line in markdown.split("\n")]
    rows = [[cell.strip().replace("\0", "|") for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_the_cells_are_those_of_the_csv_module(delimiter: str, quoting: int) -> None:
    for seed in range(60):
        rows = table(seed)
        text = written(rows, delimiter, quoting)
        known = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row))
        ]
        width = max(map(len, known))
        expected = [[" ".join(cell.split()) for cell in [*row, *[""] * (width - len(row))]] for row in known]
        for ends in ("\r\n", "\n"):
            read = cells(parse(text.replace("\r\n", ends).encode(), ".csv"))
            if width > 1:
                assert read == expected, (seed, text)
            else:  # of one column nobody knows what divides it; no word of it is lost
                words = [re.findall(r"\w+", " ".join(row)) for row in read]
                assert words == [re.findall(r"\w+", row[0]) for row in expected], (seed, text)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("name;wert\nMiete;1,5\nStrom;2,5\n", ";"),
        ("1,5;2,5\n3,5;4,5\n", ";"),
        ("id,tags\n1,a;b\n2,c;d\n", ","),
        ("word\nfirst\nsecond\n", ONE_COLUMN),
        ("remark\nHello, world\nHi\nYes\n", ONE_COLUMN),
        ("a|b\n1|x, y\n2|x, y, z\n", "|"),
        ('"a;b";"c"\n"1,2";"3"\n', ";"),
        ("id;text\n1;Hello, world; it, is\n2;Hi\n", ";"),
        ("", ONE_COLUMN),
    ],
)
def test_the_delimiter_is_found(text: str, delimiter: str) -> None:
    assert find_delimiter(text) == delimiter


def test_what_programs_write_around_a_table() -> None:
    assert cells(parse(b"sep=;\r\na;b\r\n1;2\r\n", ".csv")) == [["a", "b"], ["1", "2"]]
    assert cells(parse(b"a\tb\n1\t2\n", ".tsv")) == [["a", "b"], ["1", "2"]]
    assert cells(parse(b"\na,b,\n\n1,2,\n,,\n", ".csv")) == [["a", "b"], ["1", "2"]]
    # A quote that nothing closes takes no other rows with it.
    assert cells(parse(b'a,b\n"1,2\n3,4\n', ".csv")) == [["a", "b"], ['"1', "2"], ["3", "4"]]
    assert parse(b"", ".csv") == parse(b"\n,,\n", ".csv") == ""


def test_long_tables_and_late_letters() -> None:
    text = "id,name\n" + "".join(f"{number},customer\n" for number in range(10_000)) + f"x,{'ü' * 200_000}\n"
    assert "ü" * 200_000 in parse(text.encode(), ".csv")
