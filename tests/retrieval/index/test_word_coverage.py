"""Each word of a document is in one of its chunks, whatever it is written in. A token is a word here."""

import re
from random import Random

import pytest

from retrieval.index.chunking import Chunk, CountTokens, chunk_document
from retrieval.prompt import estimate_tokens
from retrieval.sources.markup import Markup, markup_of

FORMATS: tuple[Markup, ...] = ("markdown", "rst", "plain", "titled")


def words(text: str) -> int:
    return len(text.split())


def cut(text: str, max_tokens: int = 40, markup: Markup = "markdown", count: CountTokens = words) -> list[Chunk]:
    return chunk_document(text, "file", max_tokens, count, markup)


def titles(text: str, max_tokens: int = 40, markup: Markup = "markdown") -> list[str]:
    return [piece.title for piece in cut(text, max_tokens, markup)]


def missing(text: str, pieces: list[Chunk]) -> set[str]:
    """Words that are in no chunk; one that is longer than a chunk may be cut."""
    found = {word for piece in pieces for word in re.findall(r"\w+", f"{piece.title}\n{piece.text}")}
    return {word for word in re.findall(r"\w+", text) if word not in found and len(word) < 60}


FILLER = "\n\n".join(f"Paragraph {number} says that visitor{number} signs the ledger." for number in range(12))
SENTENCES = " ".join(f"Clause {number} binds tenant{number} to the mill." for number in range(30))
HOSTILE = {
    "paragraph above dashes": f"Lease\n\n{SENTENCES} The deposit is 4711 zorkmids.\n-----\n\nSigned.\n\n{FILLER}",
    "short line above dashes": f"{FILLER}\n\nThe deposit is 4711 zorkmids.\n---\n\nSigned.",
    "two lines above equals": f"{FILLER}\n\n{SENTENCES[:150]}\nzorkmid line\n=====\n\nSigned.",
    "signature": f"{FILLER}\n\nKind regards\n-- \nJane Quillhaven\nMill Road 7\n",
    "signature of two dashes": f"{FILLER}\n\nKind regards of Quillhaven\n--\nJane\n",
    "ascii table": f"{FILLER}\n\nitem    price\n---------------\nzorkmid   4711\nquill     12\n--------\ntotal 4723",
    "boxed table": f"{FILLER}\n\n+-----+-----+\n| zork | 4711 |\n+=====+=====+\n| quill | 12 |\n+-----+-----+",
    "headings only": "\n".join(f"## Number of office{number} 0800-KESTREL{number}" for number in range(40)),
    "nested headings only": "\n".join(f"{'#' * (1 + number % 6)} level{number}" for number in range(60)),
    "title alone": "# The gate code of the Warsaw depot is 7719-Q",
    "setext title alone": "The gate code is 7719-Q\n===",
    "long title alone": "# " + " ".join(f"title{number}" for number in range(300)),
    "heading without text": f"# FAQ\n\n{FILLER}\n\n## Emergency number 0800-KESTREL\n\n## Next\n\nText.\n\n## Last",
    "heading above deeper ones": f"# FAQ\n\n## Part kestrel\n\n### One\n\n{FILLER}\n\n### Two\n\n{FILLER}\n\n### Three",
    "long heading": f"## {' '.join(f'heading{number}' for number in range(90))}\n\n{FILLER}\n\n## Other\n\n{FILLER}",
    "heading of one long word": f"## {'kestrel' * 40} after\n\n{FILLER}",
    "long headings above each other": "".join(
        f"{'#' * level} {' '.join(f'l{level}w{number}' for number in range(30))}\n\n" for level in range(1, 7)
    ) + FILLER,
    "heading with link": f'## [Docs](http://quill.example/zork "Ledger title")\n\n{FILLER}\n\n## Other\n\n{FILLER}',
    "heading with image": f'# ![alt kestrel](logo-zork.png "Image title")\n\n{FILLER}',
    "heading with code": f"# `a*b` and **Bo**ld\n\n{FILLER}\n\n## x\n\n{FILLER}",
    "front matter": f"---\ntitle: Quokka guide\ntags: [visa, permit]\ndescription: For newcomers\n---\n{FILLER}",
    "front matter, heading": f"---\ntitle: Quokka\nauthor: Zork\n---\n\n# Guide\n\n{FILLER}\n\n## Sub\n\n{FILLER}",
    "front matter alone": "---\ntitle: Quokka guide\ntags: [visa]\n---\n",
    "long front matter": "---\n" + "\n".join(f"key{number}: value{number}" for number in range(60)) + "\n---\nx",
    "front matter not yaml": f"---\ntitle: [unclosed\nzork: {{quill\n---\n{FILLER}",
    "front matter of a template": f"---\ntitle: {{{{ page.zork }}}}\n---\n{FILLER}",
    "front matter of a list": f"---\n- zork\n- quill\n---\n{FILLER}",
    "empty front matter": f"---\n---\nThe badger tariff is 12 euro.\n\n---\n\nThe otter tariff.\n\n{FILLER}",
    "rule first": f"---\n\nThe pelican protocol.\n\n---\n\nThe heron protocol.\n\n{FILLER}",
    "rule first, like yaml": f"---\n\nNote: the pelican protocol needs two signatures.\n\n---\n\n{FILLER}",
    "front matter not closed": f"---\ntitle: zork\n\n{FILLER}",
    "front matter closed by dots": f"---\ntitle: zork quill\n...\n\n{FILLER}",
    "toml front matter": f"+++\ntitle = 'zork'\n+++\n\n{FILLER}",
    "slides": "---\n\n# Slide one: walrus revenue\n\n---\n\n# Slide two\n\n---\n\n## Slide three\n\n---\n" + FILLER,
    "link references": f"See [a].\n\n[a]: http://zork.example/quill\n[b]: <x y> 'The title'\n\n{FILLER}\n\n[c]: d",
    "comments": f"<!-- zork comment\nover lines -->\n\n{FILLER}\n\nText <!-- quill --> more.\n\n<!-- never closed",
    "inline html": f"<details><summary>Zork</summary>\n\n{FILLER}\n\n</details> <b title='quill'>x</b>",
    "footnotes": f"Text[^1] and[^zork].\n\n{FILLER}\n\n[^1]: The quill note.\n[^zork]: Other\n    indented note.",
    "fence with info": f"{FILLER}\n\n```python title=zork.py hl_lines=quill\n" + "call(1)\n\n" * 40 + "```\n",
    "fence with long info": f"```{' '.join(f'info{number}' for number in range(90))}\n" + "call(1)\n" * 40 + "```\n",
    "fence with long info, empty": f"~~~{' '.join(f'info{n}' for n in range(90))}\n~~~\n",
    "fence not closed": f"{FILLER}\n\n```zork\n" + "call(quill)\n" * 40,
    "fence in a list": "1. First zork\n\n   ```" + " ".join(f"info{n}" for n in range(60)) + "\n   call()\n   ```\n",
    "table with a long head": f"| {' | '.join(f'head{n}' for n in range(40))} |\n{'|---' * 40}|\n| a |\n| b |",
    "table with long rows": "| head1 | head2 |\n|---|---|\n" + "\n".join(f"| {SENTENCES} | r{n} |" for n in range(3)),
    "table without rows": f"| {' | '.join(f'head{number}' for number in range(60))} |\n{'|---' * 60}|\n",
    "table with a caption": f"Table zork:\n| a | b |\n|---|---|\n| quill | 1 |\n{FILLER}",
    "nested lists": "\n".join(f"{'  ' * (number % 9)}- item{number} of zork" for number in range(80)),
    "deep lists": "\n".join(f"{'  ' * number}- item{number}" for number in range(120)),
    "deep quotes": "\n".join(f"{'> ' * number}quote{number}" for number in range(1, 80)),
    "list of headings": "- # heading one\n- ## heading two\n\n> # quoted heading\n> text\n\n" + FILLER,
    "images and links": f'{FILLER}\n\n![alt zork](quill.png "Image title") [text](http://a.example/b "Link title")',
    "entities": f"{FILLER}\n\nR&amp;D caf&eacute; &#x41; &zork; &copy;2024",
    "hard breaks": f"one  \ntwo\\\nthree\\\n{FILLER}",
    "comment lines": "\n".join(f"# comment {number}\n2024-01-01 INFO zork{number} started" for number in range(60)),
    "line separators": f"one\u2028two\x0bthree\x0cfour\x85five\n\n{FILLER}",
    "carriage returns": f"# One\r\n\r\n{SENTENCES}\r\n---\r\n\r\nx\rzork\r\r# y\r{FILLER}",
    "white space": "\t \n \n\t# tab zork\n" + FILLER + "\n\u00a0\n \u3000quill",
    "leaders": f"Chapter zork {'.' * 300} 12\nChapter quill {'. ' * 200} 13\n\n{FILLER}",
    "rst": f"=====\nTitle\n=====\n\nPart zork\n~~~~~~~~~\n\n.. note:: quill\n\nSub\n...\n\n{SENTENCES}\n\nEnd\n^^^",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_each_word_is_in_a_chunk(text: str) -> None:
    for markup in FORMATS:
        for max_tokens, count in ((12, words), (40, words), (200, words), (60, estimate_tokens)):
            pieces = cut(text, max_tokens, markup, count)
            assert missing(text, pieces) == set(), (markup, max_tokens)
            for piece in pieces:
                assert count(f"{piece.title}\n{piece.text}") <= max_tokens, (markup, piece)
                assert "\n" not in piece.title and re.search(r"\S", piece.text)


def random_text(random: Random) -> str:
    """Lines of all kinds in any order: whatever they mean together, each word is in it once."""
    number = 0

    def some(most: int) -> str:
        nonlocal number
        number += 1
        return " ".join(f"w{number}x{n}{random.choice(['', '', '.', ','])}" for n in range(random.randint(1, most)))

    lines: list[str] = []
    for _ in range(random.randint(1, 60)):
        indent = random.choice(["", "", "", "  ", "    ", "> ", "- ", "1. ", "\t"])
        mark = random.choice(["---", "===", "--", "***", "```", "~~~~", "+--+--+", "|---|---|", "...", "<!--", "-->"])
        kind = random.randrange(12)
        lines.append([
            "", "", some(12), some(12), some(60), mark, mark, "#" * random.randint(1, 7) + " " + some(20),
            f"| {some(4)} | {some(4)} |", f"[{some(2)}]: http://{some(1)} '{some(3)}'", f"```{some(9)}",
            f"{some(1)}: {some(4)}",
        ][kind] if random.random() < 0.5 else indent + some(8))  # fmt: skip
    return random.choice(["", "", "---\n"]) + "\n".join(lines)


@pytest.mark.parametrize("markup", FORMATS)
def test_each_word_of_random_lines_is_in_a_chunk(markup: Markup) -> None:
    for seed in range(150):
        text = random_text(Random(seed))
        for max_tokens in (12, 40, 300):
            pieces = cut(text, max_tokens, markup)
            assert missing(text, pieces) == set(), (seed, max_tokens)
            assert all(words(f"{piece.title}\n{piece.text}") <= max_tokens for piece in pieces), (seed, max_tokens)
            assert [piece.start for piece in pieces] == sorted(piece.start for piece in pieces), (seed, max_tokens)


def test_only_yaml_is_front_matter_and_it_names_the_document() -> None:
    text = f"---\ntitle: Quokka\n  guide\ntags: [visa]\n---\n{FILLER}"
    assert set(titles(text)) == {"Quokka guide"}
    assert cut(text)[0].text.startswith("---\ntitle: Quokka\n  guide\ntags: [visa]\n---\n\nParagraph 0")
    assert set(titles(text, markup="plain")) == {"file"}
    assert titles(f"---\ntitle: [x\n---\n\n{FILLER}")[-1] == "file > title: [x", "a line above dashes is a heading"
    assert set(titles(f"---\ntitle: x\n---\n# T\n\n{FILLER}")) == {"T"}


def test_a_document_that_is_a_title_alone_is_one_chunk() -> None:
    [piece] = cut("# The gate code is 7719-Q\n")
    assert (piece.title, piece.text) == ("The gate code is 7719-Q", "# The gate code is 7719-Q")


def test_headings_without_text_are_packed_where_they_are() -> None:
    text = f"# FAQ\n\n{FILLER}\n\n## One\n\n## Two\n\n### Three\n\n## Four\n\n{FILLER}\n\n## Five"
    pieces = cut(text)
    packed = [piece.text for piece in pieces if "##" in piece.text]
    assert packed[0].endswith("Paragraph 11 says that visitor11 signs the ledger.\n\n## One\n\n## Two\n\n### Three")
    assert packed[1:] == ["## Five"]
    assert {piece.title for piece in pieces} == {"FAQ", "FAQ > Four"}
    assert pieces[-1].title == "FAQ"


def test_a_heading_that_its_title_has_whole_is_not_repeated() -> None:
    assert cut(f"# FAQ\n\n## Part\n\n### One\n\n{FILLER}\n\n### Two\n\n{FILLER}")[0].text.startswith("Paragraph 0")


@pytest.mark.parametrize("suffix", [".txt", ".log", ".text", ".pdf", ".py", ".json"])
def test_what_is_no_markdown_has_no_sections(suffix: str) -> None:
    text = "\n".join(f"# comment {number}\n2024-01-01 INFO job {number} has ended" for number in range(400))
    pieces = chunk_document(text, "file", 100, words, markup_of(suffix))
    assert {piece.title for piece in pieces} == {"file"}
    assert len(pieces) < 50


def test_a_rows_title_is_its_first_line_and_nothing_else_is_a_heading() -> None:
    text = f"# Order 4711\n\n# a comment\n{FILLER}"
    assert set(titles(text, markup="titled")) == {"Order 4711"}
    assert set(titles(text, markup="plain")) == {"file"}


def test_titles_of_rst_are_underlined() -> None:
    text = (
        f"=====\nGuide\n=====\n\n{FILLER}\n\nInstall\n-------\n\n{FILLER}\n\nLinux\n~~~~~\n\n{FILLER}\n\n"
        f"Use\n---\n\n{FILLER}\n\n# no heading\n\n==== ====\nx    y\n==== ====\n"
    )
    assert list(dict.fromkeys(titles(text, markup="rst"))) == [
        "Guide", "Guide > Install", "Guide > Install > Linux", "Guide > Use",
    ]  # fmt: skip


def test_the_time_grows_with_the_text() -> None:
    """A regular expression that looks at a part of these again and again would take minutes."""
    for text in (
        "x. " * 20_000, "word" * 30_000, "." * 100_000, f"x{'`' * 100_000}", "# x" + "[" * 200_000, "# a\n" * 5_000,
        "---\n" + "[" * 60_000 + "\n---\n", "a\n---\n" * 5_000, "=" * 200_000 + "\n" + "x" * 10, "- " * 20_000,
    ):  # fmt: skip
        assert cut(text, 200) and cut(text, 200, "plain")
