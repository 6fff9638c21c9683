"""Documents cut along their own structure. A token is a word here."""

import re
from pathlib import Path
from random import Random

import pytest

from retrieval.index.chunking import MAX_TITLE_CHARACTERS, Chunk, CountTokens, chunk_document
from retrieval.prompt import estimate_tokens


def words(text: str) -> int:
    return len(text.split())


def texts(text: str, max_tokens: int = 40) -> list[tuple[str, str]]:
    """Title and text of each chunk."""
    return [(piece.title, piece.text) for piece in cut(text, max_tokens)]


def cut(text: str, max_tokens: int = 40) -> list[Chunk]:
    return chunk_document(text, "file", max_tokens, words)


def test_a_short_document_with_one_heading_is_one_chunk() -> None:
    text = "# Iron\n\nThe symbol of Iron is Fe.\nIts number is 26.\n\nIt rusts.\n"
    assert texts(text) == [("Iron", "The symbol of Iron is Fe.\nIts number is 26.\n\nIt rusts.")]


def test_a_document_without_headings_has_its_files_name_as_title() -> None:
    assert texts("Only text.\n") == [("file", "Only text.")]


def test_a_document_that_fits_keeps_its_subheadings() -> None:
    assert texts("# Iron\n\n## Symbol\nFe\n\n## Number\n26\n") == [("Iron", "## Symbol\nFe\n\n## Number\n26")]


def test_a_longer_document_is_cut_along_its_headings() -> None:
    text = "# A\n\n" + "a " * 20 + "\n\n## B\n\n" + "b " * 20 + "\n\n### C\nc\n\n## *D*\n\nd"
    assert [(piece.title, piece.text[:1]) for piece in cut(text, 30)] == [("A", "a"), ("A > B", "b"), ("A > D", "d")]


def test_a_preamble_and_several_top_headings_are_kept() -> None:
    pieces = cut("Before.\n\n# A\n\n" + "a " * 20 + "\n\n# B\n\n" + "b " * 20, 25)
    assert [piece.title for piece in pieces] == ["file", "file > A", "file > B"]


def test_paragraphs_are_packed_and_long_ones_are_cut_at_sentences() -> None:
    sentences = [f"This is sentence number {number} of the text." for number in range(20)]
    pieces = cut("# T\n\nShort one.\n\nShort two.\n\n" + " ".join(sentences), 30)
    assert pieces[0].text.startswith("Short one.\n\nShort two.")
    assert all(words(piece.title) + words(piece.text) <= 30 for piece in pieces)
    assert all(piece.text.endswith(".") for piece in pieces)
    assert " ".join(piece.text for piece in pieces).split()[4:] == " ".join(sentences).split()


def test_code_and_tables_are_cut_between_lines() -> None:
    code = "```python\n" + "\n".join(f"call({number}, 'a b c')" for number in range(30)) + "\n```"
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {number} | x |" for number in range(30))
    for block, head, end in ((code, 1, 1), (table, 2, 0)):
        lines = block.split("\n")
        pieces = [piece.text.split("\n") for piece in cut(f"# T\n\n{block}\n", 30)]
        assert len(pieces) > 1
        assert all(piece[:head] == lines[:head] for piece in pieces), "each piece is Markdown of its own"
        assert all(piece[len(piece) - end :] == lines[len(lines) - end :] for piece in pieces)
        inner = [line for piece in pieces for line in piece[head : len(piece) - end]]
        assert inner == lines[head : len(lines) - end]


def test_a_heading_inside_code_is_not_a_heading() -> None:
    assert [piece.title for piece in cut("# T\n\n```sh\n# comment\n```\n")] == ["T"]


def test_a_word_without_end_is_cut_though_it_is_one_token() -> None:
    pieces = cut("# T\n\n" + "x" * 200_000, 50)
    assert "".join(piece.text for piece in pieces) == "x" * 200_000
    assert max(len(piece.text) for piece in pieces) <= 50 * 16


def test_empty_documents_give_nothing() -> None:
    assert cut("") == cut("\n \n") == cut("#\n") == []


def test_a_heading_without_end_is_cut_and_is_text_too() -> None:
    heading = " ".join(f"word{number}" for number in range(500))
    pieces = cut(f"# {heading}\n\nText.", 40)
    assert all(len(piece.title) <= MAX_TITLE_CHARACTERS for piece in pieces)
    assert " ".join(piece.text for piece in pieces).split() == ["#", *heading.split(), "Text."]


def test_two_runs_give_the_same_chunks() -> None:
    text = "\n\n".join(f"## H{number}\n\n" + "word. " * number for number in range(60))
    assert cut(text) == cut(text)


def test_code_is_cut_where_something_ends() -> None:
    parts = [f"def f{number}():\n    a = {number}\n\n    return a + b + c" for number in range(8)]
    pieces = cut("# T\n\n```python\n" + "\n\n\n".join(parts) + "\n```\n", 30)
    assert len(pieces) > 2
    for piece in pieces:
        assert piece.text.startswith("```python\ndef f") and piece.text.endswith("return a + b + c\n```")
    braces = "\n".join(f"void f{number}() {{\n  a b c d e f;\n}}" for number in range(8))
    assert all(
        piece.text.startswith("~~~c\nvoid") and piece.text.endswith("}\n~~~")
        for piece in cut(f"# T\n\n~~~c\n{braces}\n~~~\n", 30)
    )


def test_a_fence_that_is_never_closed_is_closed_in_every_piece() -> None:
    pieces = cut("# T\n\n```\n" + "\n".join(f"line {number} a b c" for number in range(20)), 20)
    assert len(pieces) > 2
    assert all(piece.text.startswith("```\n") and piece.text.endswith("\n```") for piece in pieces)


def test_items_of_a_list_stay_whole() -> None:
    items = [f"- item {number} has\n  a second line\n  - and one below" for number in range(12)]
    pieces = cut("# T\n\n" + "\n".join(items), 30)
    assert len(pieces) > 3
    assert "\n".join(piece.text for piece in pieces) == "\n".join(items)
    assert all(piece.text.startswith("- item") for piece in pieces)


def test_code_in_a_list_keeps_its_fences() -> None:
    code = "\n".join(f"   call({number}, 'a b c')" for number in range(20))
    pieces = cut(f"# T\n\n1. First do this:\n\n   ```sh\n{code}\n   ```\n\n2. Then that.\n", 20)
    assert len(pieces) > 3
    assert all(piece.text.count("```") % 2 == 0 for piece in pieces)
    assert "1. First do this:" in pieces[0].text and "2. Then that." in pieces[-1].text


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Smith et al. met Mr. J. R. Jones at 5 p.m. sharp. They left.", 2),
        ("It costs 3.5 dollars, e.g. in the U.S. market! Really? Yes.", 3),
        ('He said "Stop." Then he went (at last.) Done.', 3),
        ("Siehe Abb. 3, d.h. das Bild. Es ist z.B. rot.", 2),
        ("你好。今天天气很好！我们去「公园。」好吗？好。", 5),
        ("And so on... and on. End.", 2),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, sentences: int) -> None:
    from retrieval.index.blocks import _sentences

    found = [text[start:end] for start, end in _sentences(text, 0, len(text))]
    assert len(found) == sentences, found
    assert "".join("".join(found).split()) == "".join(text.split())


def test_what_a_link_refers_to_is_kept() -> None:
    text = "# T\n\n" + "See [a] here. " * 20 + "\n\n[a]: http://example.com/a\n\nMore.\n"
    assert any("[a]: http://example.com/a" in piece.text for piece in cut(text, 30))


def test_spans_say_where_a_chunk_stands() -> None:
    text = "---\nx: 1\n---\n\nBefore.\n\n# A\n\n" + "One two three. Four five. " * 10 + "\n\n## B\n\nEnd.\n"
    pieces = cut(text, 20)
    assert len(pieces) > 3
    for piece in pieces:
        assert text[piece.start : piece.end] == piece.text


class RandomDocument:
    """Markdown of every kind, from a seed; each word is in it once, so that one that is lost or moved is noticed."""

    def __init__(self, seed: int) -> None:
        self.random, self.number = Random(seed), 0
        self.rows: list[str] = []
        blocks = [self._heading, self._paragraph, self._list, self._table, self._fence, self._quote, self._cjk]
        self.text = "\n\n".join(self.random.choice(blocks)() for _ in range(self.random.randint(1, 25))) + "\n"

    def _words(self, most: int) -> str:
        words = []
        for _ in range(self.random.randint(1, most)):
            self.number += 1
            words.append(f"w{self.number}" + self.random.choice(["", "", "", ",", ".", "!", "x" * 60, " e.g.", "Ü"]))
        return " ".join(words)

    def _heading(self) -> str:
        return "#" * self.random.randint(1, 4) + " " + self._words(6)

    def _paragraph(self) -> str:
        return "\n".join(self._words(60) for _ in range(self.random.randint(1, 4)))

    def _cjk(self) -> str:
        self.number += 1
        return f"w{self.number}" + "鉄は元素。" * self.random.randint(1, 40)

    def _list(self) -> str:
        marker = self.random.choice(["-", "*", "1."])
        indent = " " * (len(marker) + 1)
        inner = [f"{marker} {self._words(25)}" for _ in range(self.random.randint(1, 10))]
        return "\n".join(
            item + (f"\n\n{indent}{self._fence(indent)}" if self.random.random() < 0.2 else "") for item in inner
        )

    def _table(self) -> str:
        rows = [f"| {self._words(6)} | {self._words(6)} |" for _ in range(self.random.randint(1, 30))]
        self.rows += rows
        return "| a | b |\n|---|---|\n" + "\n".join(rows)

    def _fence(self, indent: str = "") -> str:
        lines = [
            self.random.choice(["", "  "]) + self._words(12) if self.random.random() < 0.8 else ""
            for _ in range(self.random.randint(1, 40))
        ]
        mark = self.random.choice(["```", "~~~~", "```python"])
        return f"\n{indent}".join([mark, *lines, mark.rstrip("python")])

    def _quote(self) -> str:
        return "\n".join(f"> {self._words(30)}" for _ in range(self.random.randint(1, 6)))


@pytest.mark.parametrize("max_tokens", [24, 50, 200])
@pytest.mark.parametrize("count", [words, estimate_tokens])
def test_whatever_the_document_nothing_is_lost_and_nothing_is_torn(max_tokens: int, count: CountTokens) -> None:
    for seed in range(60):
        document = RandomDocument(seed)
        pieces = chunk_document(document.text, "file", max_tokens, count)
        found = [word for piece in pieces for word in re.findall(r"w\d+", piece.text)]
        headings = set(re.findall(r"w\d+", " ".join(re.findall(r"^#+ .*$", document.text, re.MULTILINE))))
        expected = [word for word in re.findall(r"w\d+", document.text) if word not in headings]
        assert [word for word in found if word not in headings] == expected, seed
        for piece in pieces:
            assert count(f"{piece.title}\n{piece.text}") <= max_tokens, seed
            marks = re.findall(r"^(?:[-*] |1\. | |>)*(```|~~~~)", piece.text, re.MULTILINE)
            assert len(marks) % 2 == 0, (seed, piece.text)
            assert document.text[piece.start : piece.end].split()[-1].strip("`~") in piece.text
        assert [piece.start for piece in pieces] == sorted(piece.start for piece in pieces)
        lines = {line for piece in pieces for line in piece.text.split("\n")}
        whole = {row for row in document.rows if count(row) <= max_tokens // 2 - 8}
        assert whole <= lines, seed


def test_the_quickstarts_documents_are_cut_as_its_model_was_trained_on_them() -> None:
    """Each is one chunk: the small model has read no other passages."""
    folder = Path("examples/quickstart/docs")
    for path in sorted(folder.rglob("*.md")):
        [piece] = chunk_document(path.read_text(), path.stem, 200, estimate_tokens)
        heading, _, body = path.read_text().partition("\n\n")
        assert (piece.title, piece.text) == (heading.removeprefix("# "), body.strip("\n"))


def test_the_time_grows_with_the_document() -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return words(text)

    text = "# T\n\n" + "".join(f"{'word ' * 7}{number}. " for number in range(25_000))
    chunk_document(text, "file", 200, count)
    assert counted < 6 * len(text)
