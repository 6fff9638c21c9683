"""A block of Markdown -> the units that a chunk is made of, each a span of the document.

What fits is one unit. What does not is cut along its own structure: a list along its items, a table along its rows,
code along what stands between blank lines, then statements, then lines; prose along sentences. Words, and halves of
words, are a last resort. Rows and code carry what makes a piece of them valid alone: the table's head, the fences.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

Span = tuple[int, int]
Split = Callable[[str, int, int], list[Span]]
Size = Callable[[str], int]
# Tokens by which a sum of sizes may be too small: what joins two texts is in neither of them.
_JOINT = 2

# Words before whose full stop a sentence goes on, mostly; a single letter is taken for an initial.
_ABBREVIATION = re.compile(
    r"\w|mrs?|ms|dr|prof|[sj]r|st|vs|etc|al|figs?|eqs?|nos?|vol|pp|approx|dept|inc|ltd|co|corp|eds?|e\.g|i\.e|cf|ca|"
    r"resp|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|u\.[sk]|[ap]\.m|"
    r"bzw|bspw|usw|z\.b|d\.h|u\.a|ggf|evtl|vgl|nr|abb|tab|hr|fr",
    re.IGNORECASE,
)
# Possessive, and only from the first mark on: a million dots are looked at once.
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？｡]+[」』）”’]*")
_CLOSERS = ("}", ")", "]", "end", "</")


@dataclass(frozen=True)
class Unit:
    """A span of the document, with what stands before and after each piece that it is in."""

    start: int
    end: int
    block: int
    """Where the block begins that it is part of: neighbours of one block are joined as the document has them."""
    before: str = ""
    after: str = ""


def clean_text(text: str) -> str:
    """Without spaces at the ends of lines, and without empty lines around."""
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


class Blocks:
    """Cuts the blocks of one document.

    Args:
        text: the document.
        offsets: where each of its lines begins, and its length.
        size: the length of a text in tokens.
        room: most tokens of a piece.
    """

    def __init__(self, text: str, offsets: Sequence[int], size: Size, room: int) -> None:
        self.text, self.offsets, self.size, self.room = text, offsets, size, room

    def units(self, nodes: Sequence["SyntaxTreeNode"], first: int, last: int) -> Iterator[Unit]:
        """The units of the lines from `first` to `last`, in which `nodes` are the blocks."""
        line = first
        for node in nodes:
            assert node.map is not None
            # What is in no block, such as the address that a link refers to, is text all the same.
            yield from self.lines(line, node.map[0])
            yield from self._block(node)
            line = max(line, node.map[1])
        yield from self.lines(line, last)

    def lines(self, first: int, last: int) -> Iterator[Unit]:
        """The units of lines that are in no block."""
        yield from self._cut(self._span(first, last), _PROSE)

    def _block(self, node: "SyntaxTreeNode") -> Iterator[Unit]:
        assert node.map is not None
        first, last = node.map
        span = self._span(first, last)
        if span is None or self._fits(span):
            yield from self._cut(span, ())
        elif node.type == "fence":
            yield from self._fence(node, first, last)
        elif node.type == "table":
            yield from self._table(first, last)
        elif node.type in ("bullet_list", "ordered_list"):
            yield from self._list(node, span)
        elif node.type in ("list_item", "blockquote"):
            yield from self.units([child for child in node.children if child.map], first, last)
        else:
            yield from self._cut(span, _CODE if node.type == "code_block" else _PROSE)

    def _fence(self, node: "SyntaxTreeNode", first: int, last: int) -> Iterator[Unit]:
        opening, closing = self._line(first), self._line(last - 1)
        mark = closing.strip(" \t>")
        is_closed = last - first > 1 and mark.startswith(node.markup) and not mark.strip(node.markup[0])
        if not is_closed:  # the document ends before the fence does
            closing = opening[: opening.find(node.markup)] + node.markup
        before, after = f"{opening}\n", f"\n{closing}"
        if 2 * self.size(before + after) > self.room:  # what takes more than half of each piece is not worth repeating
            before, after = f"{node.markup}\n", f"\n{node.markup}"
            at = self.offsets[first] + opening.find(node.markup)
            for start, end in ((self.offsets[first], at), (at + len(node.markup), self.offsets[first + 1])):
                yield from self._cut(_trimmed(self.text, start, end), (_words, _halves))
        yield from self._cut(self._span(first + 1, last - is_closed), _CODE, before, after)

    def _table(self, first: int, last: int) -> Iterator[Unit]:
        head = clean_text(self.text[slice(*(self._span(first, first + 2) or (0, 0)))]) + "\n"
        rows = [row for line in range(first + 2, last) if (row := self._span(line, line + 1))]
        is_repeated = 2 * self.size(head) <= self.room
        fit = [is_repeated and self._fits(row, head) for row in rows]
        if not any(fit[:1]):  # the head is a row like the others
            yield from (unit for line in (first, first + 1) for unit in self._row(self._span(line, line + 1)))
        for row, fits in zip(rows, fit, strict=True):
            yield from [Unit(*row, self.offsets[first], head)] if fits else self._row(row)

    def _row(self, span: Span | None) -> Iterator[Unit]:
        yield from self._cut(span, (_words, _halves))

    def _list(self, node: "SyntaxTreeNode", span: Span) -> Iterator[Unit]:
        for item in node.children:
            assert item.map is not None
            found = self._span(*item.map)
            if found and self._fits(found):
                yield Unit(*found, span[0])
            else:
                yield from self._block(item)

    def _cut(self, span: Span | None, splits: Sequence[Split], before: str = "", after: str = "") -> Iterator[Unit]:
        """A span, along the first of `splits` that has somewhere to cut; what does not fit then, along those after."""
        if span is None:
            return
        for each in self._pieces(span, splits, before, after):
            yield Unit(*each, span[0], before, after)

    def _pieces(self, span: Span, splits: Sequence[Split], before: str, after: str) -> Iterator[Span]:
        if not splits or self._fits(span, before + after):
            yield span
            return
        split, *finer = splits
        parts = split(self.text, *span)
        # Halves are halved until they fit, or are one character.
        rest = splits if split is _halves and len(parts) > 1 else finer
        for part in parts:
            yield from self._pieces(part, rest, before, after)

    def _fits(self, span: Span, around: str = "") -> bool:
        size = self.size(clean_text(self.text[slice(*span)]))
        return size + (self.size(around) + _JOINT if around else 0) <= self.room

    def _span(self, first: int, last: int) -> Span | None:
        """The characters of lines, without empty lines around and the space at the end; None where nothing is left."""
        return _trimmed(self.text, self.offsets[first], self.offsets[last]) if last > first else None

    def _line(self, number: int) -> str:
        return self.text[self.offsets[number] : self.offsets[number + 1]].rstrip()


def _trimmed(text: str, start: int, end: int) -> Span | None:
    piece = text[start:end]
    if not piece.strip():
        return None
    end = start + len(piece.rstrip())
    blank = re.match(r"(?:[^\S\n]*\n)*", piece)
    return start + (blank.end() if blank else 0), end


def _between(text: str, cuts: Sequence[int]) -> list[Span]:
    return [span for start, end in pairwise(cuts) if (span := _trimmed(text, start, end))]


def _groups(text: str, start: int, end: int) -> list[Span]:
    """Code between blank lines, where the next line stands at the margin."""
    cuts = [match.end() for match in re.compile(r"\n[^\S\n]*\n(?=\S)").finditer(text, start, end)]
    return _between(text, [start, *cuts, end])


def _statements(text: str, start: int, end: int) -> list[Span]:
    """Code from one line at the margin to the next; a bracket that closes belongs to what it closes."""
    match = (match.end() for match in re.compile(r"\n(?=\S)").finditer(text, start, end))
    return _between(text, [start, *(cut for cut in match if not text.startswith(_CLOSERS, cut)), end])


def _lines(text: str, start: int, end: int) -> list[Span]:
    return _between(text, [start, *(match.end() for match in re.compile(r"\n").finditer(text, start, end)), end])


def _sentences(text: str, start: int, end: int) -> list[Span]:
    ends = _SENTENCE_END.finditer(text, start, end)
    cuts = [match.end() for match in ends if _ends(text, match)]
    return [_left_trimmed(text, *span) for span in _between(text, [start, *cuts, end])]


def _ends(text: str, mark: re.Match[str]) -> bool:
    """Whether a sentence ends with this mark, or it only ends a word."""
    if mark[0][0] != ".":
        return True
    before = re.search(r"[^\W\d_](?:[\w.]*\w)?$", text[max(0, mark.start() - 20) : mark.start()])
    if before and _ABBREVIATION.fullmatch(before[0]):
        return False
    after = re.compile(r"\s+(\S)").match(text, mark.end())
    return after is None or not after[1].islower()


def _words(text: str, start: int, end: int) -> list[Span]:
    return [match.span() for match in re.compile(r"\S+").finditer(text, start, end)]


def _halves(text: str, start: int, end: int) -> list[Span]:
    middle = (start + end) // 2
    return [(start, middle), (middle, end)] if start < middle else [(start, end)]


def _left_trimmed(text: str, start: int, end: int) -> Span:
    return start + len(text[start:end]) - len(text[start:end].lstrip()), end


_PROSE: tuple[Split, ...] = (_sentences, _lines, _words, _halves)
_CODE: tuple[Split, ...] = (_groups, _statements, _lines, _words, _halves)
