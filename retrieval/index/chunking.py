"""A document -> chunks of at most so many tokens, each with the title of its section. Each word is in a chunk.

A section that fits, with everything below it, is one chunk; one that does not is cut along its subsections, then along
blocks (paragraphs, lists, tables, code), then along what a block is made of (`retrieval/index/blocks.py`). So a short
document with one heading is a single chunk whose title is that heading. A heading whose words are in no title (it has
no text below it, is longer than a title, or has the address of a link) is part of the text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby

from retrieval.index.blocks import Blocks, Unit, clean_text
from retrieval.index.outline import MAX_TITLE_CHARACTERS, Section, read_outline
from retrieval.sources.markup import Markup

VERSION = 2
"""Raised where most documents give other chunks: another collection is then built beside the old one."""
FIRST_REVISION, REVISION = 2, 3
"""Raise `REVISION` where some documents give other chunks, also where another text is read from files that stay as they
are: the next `tandem index` reads all documents again and writes those whose chunks are others."""
# A tokenizer may take any run of symbols for one unknown token, and Milvus keeps 65,535 bytes in a field.
MAX_BYTES_PER_TOKEN = 16
MAX_CHUNK_BYTES = 60_000
MAX_REMEMBERED = 10_000

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Chunk:
    """`title` is the path of headings, joined by ` > `; `text` comes without the heading line that the title has."""

    title: str
    text: str
    start: int
    """Where it begins in the document, in characters."""
    end: int
    """Where it ends. A table's head and a fence that are repeated in it may stand before `start`."""


def chunk_document(
    text: str, title: str, max_tokens: int, count_tokens: CountTokens, markup: Markup = "markdown"
) -> list[Chunk]:
    """The chunks of a document, in its order.

    Args:
        text: the document, with `\\n` line ends.
        title: stands for the heading where there is none, such as the file's name.
        max_tokens: bound on title and text of a chunk together, in the tokens that `count_tokens` counts.
    """
    document = _Document(text.replace("\r\n", "\n").replace("\r", "\n"), max_tokens, count_tokens)
    return document.chunks(read_outline(document.text, title, markup), [])


class _Document:
    """One document that is being cut."""

    def __init__(self, text: str, max_tokens: int, count_tokens: CountTokens) -> None:
        self.text, self.max_tokens = text, max_tokens
        # A unit is counted when it is looked whether it fits, and again when it is put beside its neighbours.
        self.count: CountTokens = lru_cache(MAX_REMEMBERED)(count_tokens)
        self.lines = self.text.split("\n")
        # One past the end for the last line, which has no line end.
        self.offsets = [
            min(offset, len(self.text)) for offset in accumulate((len(line) + 1 for line in self.lines), initial=0)
        ]

    def chunks(self, section: Section, trail: Sequence[str]) -> list[Chunk]:
        path = [*trail, section.title]
        title = _short_title(path, self.max_tokens // 2, self.count)
        room = max(self.max_tokens - self.count(f"{title}\n"), 1)
        is_named = self._is_named(section, [title])
        whole = self._whole(section, with_heading=not is_named)
        if whole and _size(whole, room, self.count) <= room:
            first = 0 if section.front else section.first if is_named else section.heading
            return [self._chunk(title, whole, self.offsets[first], self.offsets[section.end])]
        blocks = Blocks(self.text, self.offsets, lambda text: _size(text, room, self.count), room)
        # Units of each gap between the subsections that have text; those without are part of the gap.
        gaps = [[*blocks.lines(0, section.front), *blocks.units(section.nodes, section.first, section.last)]]
        below: list[list[Chunk]] = []
        for child in section.children:
            if self._has_text(child):
                below.append(self.chunks(child, path))
                gaps.append([])
            else:
                gaps[-1] += self._headings(child, blocks)
        titles = [*([title] if any(gaps) else []), *(chunk.title for chunks in below for chunk in chunks)]
        if not self._is_named(section, titles):
            gaps[0] = [*self._heading(section, blocks), *gaps[0]]
        return [chunk for gap, chunks in zip(gaps, [*below, []], strict=True)
                for chunk in [*self._packed(title, gap, room), *chunks]]  # fmt: skip

    def _has_text(self, section: Section) -> bool:
        """Whether there is more to a section than its headings."""
        own = self.lines[section.first : section.last]
        return bool(section.front) or any(map(str.strip, own)) or any(map(self._has_text, section.children))

    def _is_named(self, section: Section, titles: Iterable[str]) -> bool:
        """Whether all words of a section's heading are in one of the titles."""
        words = _words(self.joined(section.heading, section.first))
        return any(words <= _words(title) for title in titles)

    def _heading(self, section: Section, blocks: Blocks) -> Iterator[Unit]:
        """The heading itself as text."""
        if section.title:
            yield from blocks.lines(section.heading, section.first)

    def _headings(self, section: Section, blocks: Blocks) -> Iterator[Unit]:
        """The headings of a section and of those below it, as text."""
        yield from self._heading(section, blocks)
        for child in section.children:
            yield from self._headings(child, blocks)

    def joined(self, first: int, last: int) -> str:
        return clean_text("\n".join(self.lines[first:last]))

    def _whole(self, section: Section, with_heading: bool) -> str:
        """A section's text with everything below it."""
        own = self.joined(section.heading if with_heading else section.first, section.last)
        parts = [self.joined(0, section.front), own, *(self._whole(child, True) for child in section.children)]
        return "\n\n".join(filter(None, parts))

    def _packed(self, title: str, units: Sequence[Unit], room: int) -> Iterator[Chunk]:
        sizes = [self.count(clean_text(self.text[unit.start : unit.end])) for unit in units]
        for run in self._runs(units, sizes, room):
            yield self._chunk(title, self._rendered(run), run[0].start, run[-1].end)

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
        return Chunk(title, text, start, end)


def _block(unit: Unit) -> tuple[int, str]:
    return unit.block, unit.before


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


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
