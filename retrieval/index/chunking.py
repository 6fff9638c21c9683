"""A document in Markdown -> chunks of at most so many tokens, each with the title of its section.

A section that fits, with everything below it, is one chunk; one that does not is cut along its subsections, then along
blocks (paragraphs, lists, tables, code), then along what a block is made of (`retrieval/index/blocks.py`). So a short
document with one heading is a single chunk whose title is that heading.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

from retrieval.index.blocks import Blocks, Unit, clean_text

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

VERSION = 2
MAX_TITLE_CHARACTERS = 200
# A tokenizer may take any run of symbols for one unknown token, and Milvus keeps 65,535 bytes in a field.
MAX_BYTES_PER_TOKEN = 16
MAX_CHUNK_BYTES = 60_000
MAX_REMEMBERED = 10_000

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Chunk:
    """`title` is the path of headings, joined by ` > `; `text` comes without the heading line."""

    title: str
    text: str
    start: int
    """Where it begins in the document, in characters."""
    end: int
    """Where it ends. A table's head and a fence that are repeated in it may stand before `start`."""


@dataclass
class _Section:
    """Lines are numbers of lines: `heading` to `first` its heading, `first` to `last` its own, without subsections."""

    level: int
    title: str
    heading: int
    first: int
    last: int
    nodes: list["SyntaxTreeNode"] = field(default_factory=list)
    children: list["_Section"] = field(default_factory=list)


def chunk_document(text: str, title: str, max_tokens: int, count_tokens: CountTokens) -> list[Chunk]:
    """The chunks of a Markdown document, in its order.

    Args:
        text: the document, with `\\n` line ends; plain text is Markdown without headings.
        title: stands for the heading where there is none, such as the file's name.
        max_tokens: bound on title and text of a chunk together, in the tokens that `count_tokens` counts.
    """
    document = _Document(text, max_tokens, count_tokens)
    root = document.sections()
    root.title = title
    alone = len(root.children) == 1 and not document.joined(root.first, root.last)
    return list(document.chunks(root.children[0] if alone else root, []))


class _Document:
    """One document that is being cut. Front matter is left out."""

    def __init__(self, text: str, max_tokens: int, count_tokens: CountTokens) -> None:
        front = re.match(r"---\n.*?\n---[ \t]*(?:\n|\Z)", text, flags=re.DOTALL)
        self.skipped = front.end() if front else 0
        self.text, self.max_tokens = text[self.skipped :], max_tokens
        # A unit is counted when it is looked whether it fits, and again when it is put beside its neighbours.
        self.count: CountTokens = lru_cache(MAX_REMEMBERED)(count_tokens)
        self.lines = self.text.split("\n")
        # One past the end for the last line, which has no line end.
        self.offsets = [
            min(offset, len(self.text)) for offset in accumulate((len(line) + 1 for line in self.lines), initial=0)
        ]

    def sections(self) -> _Section:
        """The tree of headings, with the blocks below each."""
        from markdown_it import MarkdownIt
        from markdown_it.tree import SyntaxTreeNode

        tokens = MarkdownIt("commonmark").enable("table").disable("inline").parse(self.text)
        root = _Section(0, "", 0, 0, len(self.lines))
        path = [root]
        for node in SyntaxTreeNode(tokens).children:
            assert node.map is not None
            if node.type != "heading":
                path[-1].nodes.append(node)
                continue
            heading, first = node.map
            path[-1].last = heading
            section = _Section(int(node.tag[1]), _plain(node.children[0].content), heading, first, len(self.lines))
            while path[-1].level >= section.level:
                path.pop()
            path[-1].children.append(section)
            path.append(section)
        return root

    def chunks(self, section: _Section, trail: Sequence[str]) -> Iterator[Chunk]:
        path = [*trail, section.title]
        title = _short_title(path, self.max_tokens // 2, self.count)
        room = max(self.max_tokens - self.count(f"{title}\n"), 1)
        whole = self._whole(section)
        if whole and _size(whole, room, self.count) <= room:
            yield self._chunk(title, whole, self.offsets[section.first], self.offsets[_end(section)])
            return
        blocks = Blocks(self.text, self.offsets, lambda text: _size(text, room, self.count), room)
        units = blocks.units(section.nodes, section.first, section.last)
        sized = [(unit, self.count(clean_text(self.text[unit.start : unit.end]))) for unit in units]
        for run in self._runs([unit for unit, _ in sized], [size for _, size in sized], room):
            yield self._chunk(title, self._rendered(run), run[0].start, run[-1].end)
        for child in section.children:
            yield from self.chunks(child, path)

    def joined(self, first: int, last: int) -> str:
        return clean_text("\n".join(self.lines[first:last]))

    def _whole(self, section: _Section, with_heading: bool = False) -> str:
        """A section's text with everything below it."""
        own = self.joined(section.heading if with_heading else section.first, section.last)
        return "\n\n".join(part for part in [own, *(self._whole(child, True) for child in section.children)] if part)

    def _runs(self, units: Sequence[Unit], sizes: Sequence[int], room: int) -> Iterator[Sequence[Unit]]:
        """Neighbours put together as long as the sum of their sizes fits.

        Counting the growing text anew with each unit would be slow. The sum may be off by what lies between units, so
        each run is counted once.
        """
        around = {(unit.before, unit.after) for unit in units}
        costs = {each: self.count("".join(each)) for each in around}
        start = 0
        while start < len(units):
            end, total = start, 0
            while end < len(units):
                begins = end == start or _block(units[end - 1]) != _block(units[end])
                total += sizes[end] + (costs[units[end].before, units[end].after] if begins else 0)
                if end > start and total > room:
                    break
                end += 1
            while end - start > 1 and _size(self._rendered(units[start:end]), room, self.count) > room:
                end -= 1
            yield units[start:end]
            start = end

    def _rendered(self, units: Sequence[Unit]) -> str:
        """Units as they stand in a chunk: those of one block as the document has them, blocks with a line between."""
        parts = []
        for _, group in groupby(units, _block):
            first, *others = group
            last = others[-1] if others else first
            parts.append(first.before + clean_text(self.text[first.start : last.end]) + first.after)
        return "\n\n".join(parts)

    def _chunk(self, title: str, text: str, start: int, end: int) -> Chunk:
        """With the span that is left without white space around it."""
        piece = self.text[start:end]
        start, end = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        return Chunk(title, text, self.skipped + start, self.skipped + end)


def _block(unit: Unit) -> tuple[int, str]:
    return unit.block, unit.before


def _end(section: _Section) -> int:
    """The line after a section and everything below it."""
    return _end(section.children[-1]) if section.children else section.last


def _plain(heading: str) -> str:
    """A heading without its links' addresses and emphasis marks, on one line."""
    unlinked = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return " ".join(re.sub(r"[*`]+", "", unlinked).split())


def _short_title(path: Sequence[str], max_tokens: int, count: CountTokens) -> str:
    title = " > ".join(part for part in path if part)
    if len(title) > MAX_TITLE_CHARACTERS:
        title = title[:MAX_TITLE_CHARACTERS].rsplit(" ", 1)[0]
    while title and count(title) > max_tokens:
        title = title.rsplit(" ", 1)[0] if " " in title else title[: len(title) // 2]
    return title


def _size(text: str, room: int, count: CountTokens) -> int:
    """The length of a text in tokens; more than `room` where its bytes alone are too many to count."""
    size = len(text.encode("utf-8", errors="replace"))
    return room + 1 if size > min(room * MAX_BYTES_PER_TOKEN, MAX_CHUNK_BYTES) else count(text)
