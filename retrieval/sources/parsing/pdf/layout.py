"""Words of a page in reading order: columns one after the other, tables as rows, paragraphs apart.

A page is read from above. Lines that follow each other and leave the same gap free are columns of text, which are read
one after the other, or rows of a table: its cells hold few words, or drawn lines part its rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import median

from retrieval.sources.parsing.pdf.letters import Placed, read_line
from retrieval.sources.parsing.pdf.words import Word

GUTTER_HEIGHTS, WIDE_GUTTER_HEIGHTS = 0.55, 0.9
"""Narrowest gap between columns, in heights of a line, and one that no justified line leaves between two words."""
MIN_LINES, MIN_LINES_BY_NARROW_GUTTER = 3, 8
TOUCHING_HEIGHTS = 0.1
MAX_ROW_LINES = 6
"""Lines of a row between two drawn lines: more are a box around text."""
TABLE_WORDS, TEXT_WORDS = 3.0, 6.0
"""A column whose lines hold fewer words in the mean is one of a table; with more it is text; between them the lines of
a text mostly fill the column."""
FULL_SHARE = 0.6
PARAGRAPH_GAP = 0.55
"""Free space above a paragraph, in heights of a line, beyond what is usual between the lines."""
Rule = tuple[float, float, float]
"""A horizontal line that is drawn: left, right, y."""
_Gap = tuple[float, float]


@dataclass
class Line:
    """Words beside each other."""

    words: list[Word]
    top: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def gaps(self, narrowest: float) -> list[_Gap]:
        """What it leaves free, from minus to plus infinity."""
        gaps, end = [], float("-inf")
        for word in self.words:
            if word.left - end >= narrowest:
                gaps.append((end, word.left))
            end = max(end, word.right)
        return [*gaps, (end, float("inf"))]

    def text(self) -> str:
        if not any(word.is_right_to_left for word in self.words):
            return " ".join(word.text for word in self.words)
        parts: list[list[Placed]] = []
        for place, word in enumerate(self.words):
            letters = word.letters or _spread(word)
            if place and _is_one_word(self.words[place - 1], word):
                parts[-1] = parts[-1] + letters
            else:
                parts.append(letters)
        return read_line(parts)


def _is_one_word(word: Word, following: Word) -> bool:
    """Whether two words of a line from the right touch: PDFium takes the way back from an accent for a space."""
    touches = following.left - word.right < TOUCHING_HEIGHTS * word.height
    are_alike = word.is_right_to_left and following.is_right_to_left
    return touches and are_alike and not (word.is_parted and following.is_parted)


def _spread(word: Word) -> list[Placed]:
    """The letters of a word of which only the box is known, evenly."""
    step = (word.right - word.left) / max(len(word.text), 1)
    return [(letter, word.left + at * step, word.left + (at + 1) * step) for at, letter in enumerate(word.text)]


def read_in_order(words: Sequence[Word], rules: Sequence[Rule] = ()) -> str:
    """Text with `\\n` between lines and an empty line between paragraphs; tables are Markdown.

    Args:
        words: of one direction.
        rules: what parts the rows of tables.
    """
    return "\n\n".join(block for block in _blocks(words, rules) if block)


def _blocks(words: Sequence[Word], rules: Sequence[Rule]) -> Iterator[str]:
    plain: list[Line] = []
    for lines, gutters in _regions(_lines(words)):
        if not gutters:
            plain += lines
            continue
        yield _paragraphs(plain)
        plain = []
        rows = _ruled_rows(lines, gutters, rules) or _rows(lines, gutters)
        if _is_table(rows) or len(rows) < len(lines):
            yield _table(rows)
            continue
        for column in _columns(lines, gutters):
            yield from _blocks(column, rules)
    yield _paragraphs(plain)


def _lines(words: Sequence[Word]) -> list[Line]:
    """Words that share more than half of the lower one's height are a line."""
    lines: list[Line] = []
    for word in sorted(words, key=lambda word: (word.top, word.left)):
        for line in reversed(lines[-4:]):
            shared = min(line.bottom, word.bottom) - max(line.top, word.top)
            if shared > 0.5 * min(line.height, word.height):
                line.words.append(word)
                break
        else:
            lines.append(Line([word], word.top, word.bottom))
    for line in lines:
        line.words.sort(key=lambda word: word.left)
    return sorted(lines, key=lambda line: line.top)


def _regions(lines: list[Line]) -> Iterator[tuple[list[Line], list[_Gap]]]:
    """Lines that follow each other and leave the same gaps free; without gaps where they are ordinary text."""
    height = median(line.height for line in lines) if lines else 0.0
    place = 0
    while place < len(lines):
        end, gutters = _region_from(lines, place, height)
        if not gutters:
            end = place + 1
        yield lines[place:end], gutters
        place = end


def _region_from(lines: list[Line], start: int, height: float) -> tuple[int, list[_Gap]]:
    """Where the region that begins with a line ends, and its gutters; none where it is not one."""
    narrowest = GUTTER_HEIGHTS * height
    gutters = lines[start].gaps(narrowest)[1:-1]
    best: tuple[int, list[_Gap]] = (start, [])
    num_parted = 0
    for place in range(start, len(lines)):
        line = lines[place]
        space = line.top - lines[place - 1].bottom if place > start else 0.0
        gutters = _shared(gutters, line.gaps(narrowest), narrowest)
        if not gutters or space > 4 * height:
            break
        is_parted = _num_cells(line, gutters) > 1
        num_parted += is_parted
        if _is_region(gutters, num_parted, height) and (is_parted or (space < height and best[0] == place)):
            best = (place + 1, gutters)
    return best


def _is_region(gutters: list[_Gap], num_parted: int, height: float) -> bool:
    if max(end - start for start, end in gutters) < WIDE_GUTTER_HEIGHTS * height:
        return num_parted >= MIN_LINES_BY_NARROW_GUTTER
    return num_parted >= MIN_LINES - (len(gutters) > 1)


def _shared(gaps: list[_Gap], others: list[_Gap], narrowest: float) -> list[_Gap]:
    shared = [(max(a, c), min(b, d)) for a, b in gaps for c, d in others]
    return [(start, end) for start, end in shared if end - start >= narrowest]


def _cells(line: Line, gutters: list[_Gap]) -> list[list[Word]]:
    """The words of a line by the gutters between them."""
    cells: list[list[Word]] = [[] for _ in range(len(gutters) + 1)]
    for word in line.words:
        cells[sum(word.left >= (start + end) / 2 for start, end in gutters)].append(word)
    return cells


def _num_cells(line: Line, gutters: list[_Gap]) -> int:
    return sum(map(bool, _cells(line, gutters)))


_Row = list[list[Word]]


def _rows(lines: list[Line], gutters: list[_Gap]) -> list[_Row]:
    return [_cells(line, gutters) for line in lines]


def _ruled_rows(lines: list[Line], gutters: list[_Gap], rules: Sequence[Rule]) -> list[_Row]:
    """Rows between drawn lines that cross the gutters, of one or several lines each; none where nothing says so."""
    inner = [
        y
        for left, right, y in rules
        if left <= gutters[0][0] and right >= gutters[-1][1] and lines[0].bottom <= y + 1 and y <= lines[-1].top + 1
    ]
    bands: dict[int, list[_Row]] = {}
    for line in lines:
        bands.setdefault(sum(y < (line.top + line.bottom) / 2 for y in inner), []).append(_cells(line, gutters))
    # A line below the head of a table parts no rows: below it each line fills its cells.
    is_each_a_row = len(bands) > 2 or all(not all(row) for band in bands.values() for row in band[1:])
    if len(bands) < 2 or not is_each_a_row or any(len(band) > MAX_ROW_LINES for band in bands.values()):
        return []
    return [[list(chain.from_iterable(cells)) for cells in zip(*band, strict=True)] for band in bands.values()]


def _is_table(rows: list[_Row]) -> bool:
    return any(_holds_cells([cell for cell in column if cell]) for column in zip(*rows, strict=True))


def _holds_cells(column: list[list[Word]]) -> bool:
    """Whether a column is one of a table: lines of text have several words and mostly reach the column's edge."""
    num_words = sum(map(len, column)) / len(column)
    extents = [(cell[0].left, max(word.right for word in cell)) for cell in column]
    width = max(right for _, right in extents) - min(left for left, _ in extents)
    num_full = sum(right - left >= FULL_SHARE * width for left, right in extents)
    return num_words < TABLE_WORDS or (num_words < TEXT_WORDS and 2 * num_full < len(column))


def _table(rows: list[_Row]) -> str:
    words = [word for row in rows for cell in row for word in cell]
    step = -1 if 2 * sum(word.is_right_to_left for word in words) > len(words) else 1
    texts = [[_cell_text(cell) for cell in row[::step]] for row in rows]
    rows_of_text = [f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |" for row in texts]
    return "\n".join([rows_of_text[0], f"|{' --- |' * len(texts[0])}", *rows_of_text[1:]])


def _cell_text(words: Sequence[Word]) -> str:
    return " ".join(line.text() for line in _lines(words))


def _columns(lines: list[Line], gutters: list[_Gap]) -> list[list[Word]]:
    """The words of each column, from left to right, or from right to left where most words run so."""
    columns: list[list[Word]] = [[] for _ in range(len(gutters) + 1)]
    for line in lines:
        for column, words in zip(columns, _cells(line, gutters), strict=True):
            column += words
    num_turned = sum(word.is_right_to_left for column in columns for word in column)
    return columns[::-1] if 2 * num_turned > sum(map(len, columns)) else columns


def _paragraphs(lines: list[Line]) -> str:
    if not lines:
        return ""
    spaces = [below.top - above.bottom for above, below in pairwise(lines)]
    usual = median(spaces) if spaces else 0.0
    parts = [lines[0].text()]
    for line, space in zip(lines[1:], spaces, strict=True):
        parts += ["\n\n" if space - usual > PARAGRAPH_GAP * line.height else "\n", line.text()]
    return "".join(parts)
