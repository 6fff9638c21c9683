"""Documents cut along their own structure. A token is a word here."""

from retrieval.chunking import MAX_TITLE_CHARACTERS, Chunk, chunk


def words(text: str) -> int:
    return len(text.split())


def cut(text: str, max_tokens: int = 40) -> list[Chunk]:
    return chunk(text, "file", max_tokens, words)


def test_a_short_document_with_one_heading_is_one_chunk() -> None:
    text = "# Iron\n\nThe symbol of Iron is Fe.\nIts number is 26.\n\nIt rusts.\n"
    assert cut(text) == [Chunk("Iron", "The symbol of Iron is Fe.\nIts number is 26.\n\nIt rusts.")]


def test_a_document_without_headings_has_its_files_name_as_title() -> None:
    assert cut("Only text.\n") == [Chunk("file", "Only text.")]


def test_a_document_that_fits_keeps_its_subheadings() -> None:
    assert cut("# Iron\n\n## Symbol\nFe\n\n## Number\n26\n") == [Chunk("Iron", "## Symbol\nFe\n\n## Number\n26")]


def test_a_longer_document_is_cut_along_its_headings() -> None:
    text = "# A\n\n" + "a " * 20 + "\n\n## B\n\n" + "b " * 20 + "\n\n### C\nc\n\n## D *and* [link](http://x)\n\nd"
    assert [(piece.title, piece.text[:1]) for piece in cut(text, 30)] == [
        ("A", "a"),
        ("A > B", "b"),
        ("A > D and link", "d"),
    ]


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
    for block in (code, table):
        pieces = cut(f"# T\n\n{block}\n", 30)
        assert len(pieces) > 1
        assert [line for piece in pieces for line in piece.text.split("\n") if line] == block.split("\n")


def test_a_heading_inside_code_is_not_a_heading() -> None:
    assert [piece.title for piece in cut("# T\n\n```sh\n# comment\n```\n")] == ["T"]


def test_a_word_without_end_is_cut_though_it_is_one_token() -> None:
    pieces = cut("# T\n\n" + "x" * 200_000, 50)
    assert "".join(piece.text for piece in pieces) == "x" * 200_000
    assert max(len(piece.text) for piece in pieces) <= 50 * 16


def test_front_matter_and_empty_documents_give_nothing() -> None:
    assert cut("---\ntitle: x\n---\n# T\n\nText.") == [Chunk("T", "Text.")]
    assert cut("") == cut("# Only a heading\n") == cut("\n \n") == []


def test_a_heading_without_end_is_cut() -> None:
    [piece] = cut("# " + "word " * 500 + "\n\nText.", 40)
    assert len(piece.title) <= MAX_TITLE_CHARACTERS
    assert piece.text == "Text."


def test_two_runs_give_the_same_chunks() -> None:
    text = "\n\n".join(f"## H{number}\n\n" + "word. " * number for number in range(60))
    assert cut(text) == cut(text)
