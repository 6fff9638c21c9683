"""A document in Markdown -> chunks of at most so many tokens, each with the title of its section.

A section that fits, with everything below it, is one chunk; one that does not is cut along its subsections, then along
blocks (paragraphs, lists, tables, code), then sentences or lines, and words only as a last resort. So a short document
with one heading is a single chunk whose title is that heading.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

VERSION = 1
MAX_TITLE_CHARACTERS = 200
# A tokenizer may take any run of symbols for one unknown token, and Milvus keeps 65,535 bytes in a field.
MAX_BYTES_PER_TOKEN = 16
MAX_CHUNK_BYTES = 60_000

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Chunk:
    """`title` is the path of headings, joined by ` > `; `text` comes without the heading line."""

    title: str
    text: str


@dataclass
class _Section:
    level: int
    title: str
    lines: list[str]
    """Its own lines, without the heading."""
    heading: list[str] = field(default_factory=list)
    children: list["_Section"] = field(default_factory=list)


def chunk(text: str, title: str, max_tokens: int, count_tokens: CountTokens) -> list[Chunk]:
    """The chunks of a Markdown document, in its order.

    Args:
        text: the document; plain text is Markdown without headings.
        title: stands for the heading where there is none, such as the file's name.
        max_tokens: bound on title and text of a chunk together, in the tokens that `count_tokens` counts.
    """
    root = _sections(text)
    root.title = title
    alone = len(root.children) == 1 and not _joined(root.lines)
    return list(_cut_section(root.children[0] if alone else root, [], max_tokens, count_tokens))


def _cut_section(section: _Section, trail: Sequence[str], max_tokens: int, count: CountTokens) -> Iterator[Chunk]:
    path = [*trail, section.title]
    title = _short_title(path)
    room = max(max_tokens - count(title), max_tokens // 2, 1)
    whole = _whole(section)
    if whole and _fits(whole, room, count):
        yield Chunk(title, whole)
        return
    for text in _packed(_blocks(section.lines), room, count):
        yield Chunk(title, text)
    for child in section.children:
        yield from _cut_section(child, path, max_tokens, count)


def _sections(text: str) -> _Section:
    """The tree of headings. Front matter is left out."""
    from markdown_it import MarkdownIt

    lines = re.sub(r"\A---\n.*?\n---[ \t]*(?:\n|\Z)", "", text, count=1, flags=re.DOTALL).split("\n")
    root = _Section(0, "", [])
    path, line = [root], 0
    tokens = MarkdownIt("commonmark").parse("\n".join(lines))
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open" or opening.level or opening.map is None:
            continue
        path[-1].lines += lines[line : opening.map[0]]
        line = opening.map[1]
        section = _Section(int(opening.tag[1]), _plain(inline.content), [], lines[opening.map[0] : line])
        while path[-1].level >= section.level:
            path.pop()
        path[-1].children.append(section)
        path.append(section)
    path[-1].lines += lines[line:]
    return root


def _plain(heading: str) -> str:
    """A heading without its links' addresses and emphasis marks, on one line."""
    unlinked = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return " ".join(re.sub(r"[*`]+", "", unlinked).split())


def _short_title(path: Sequence[str]) -> str:
    title = " > ".join(part for part in path if part)
    return title if len(title) <= MAX_TITLE_CHARACTERS else title[:MAX_TITLE_CHARACTERS].rsplit(" ", 1)[0]


def _whole(section: _Section, heading: Sequence[str] = ()) -> str:
    """A section's text with everything below it."""
    own = _joined([*heading, *section.lines])
    below = [_whole(child, child.heading) for child in section.children]
    return "\n\n".join(part for part in [own, *below] if part)


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _blocks(lines: Sequence[str]) -> list[str]:
    """Top-level blocks of Markdown: paragraphs, lists, tables, fenced code."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    spans = [token.map for token in parser.parse("\n".join(lines)) if not token.level and token.map]
    return [block for start, end in spans if (block := _joined(lines[start:end]))]


def _packed(blocks: Sequence[str], room: int, count: CountTokens) -> Iterator[str]:
    """Neighbouring blocks put together as long as they fit."""
    pieces = [piece for block in blocks for piece in _cut_block(block, room, count)]
    kept: list[str] = []
    for piece in pieces:
        if kept and not _fits("\n\n".join([*kept, piece]), room, count):
            yield "\n\n".join(kept)
            kept = []
        kept.append(piece)
    if kept:
        yield "\n\n".join(kept)


def _cut_block(block: str, room: int, count: CountTokens) -> Iterator[str]:
    """The block itself where it fits; else runs of its sentences (prose) or lines (code, tables, lists)."""
    if _fits(block, room, count):
        yield block
        return
    by_lines = re.match(r"```|~~~|\||[-*+] |\d+[.)] | {4}|\t", block) is not None
    separator = "\n" if by_lines else " "
    units = block.split("\n") if by_lines else re.split(r"(?<=[.!?。！？])\s+", block)
    if len(units) == 1:
        separator, units = " ", block.split()
    if len(units) == 1:
        separator, units = "", _halves(block)
    yield from _greedy(units, separator, room, count)


def _greedy(units: Sequence[str], separator: str, room: int, count: CountTokens) -> Iterator[str]:
    kept = ""
    for unit in units:
        longer = kept + separator + unit if kept else unit
        if _fits(longer, room, count):
            kept = longer
            continue
        if kept:
            yield kept
        kept = unit
        if not _fits(unit, room, count):
            *done, kept = _cut_block(unit, room, count)
            yield from done
    if kept:
        yield kept


def _halves(word: str) -> list[str]:
    middle = len(word) // 2
    return [word[:middle], word[middle:]] if middle else [word]


def _fits(text: str, room: int, count: CountTokens) -> bool:
    size = len(text.encode("utf-8", errors="replace"))
    return size <= min(room * MAX_BYTES_PER_TOKEN, MAX_CHUNK_BYTES) and count(text) <= room
