"""The words of a page with their places, as PDFium finds them.

Places are those of the page as it is read: x to the right, y downwards, in points. Text that is turned by 90, 180 or
270 degrees, by the page's /Rotate or by a text matrix, is turned back; each direction is a group of its own.
"""

import ctypes
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pypdfium2.raw as pdfium

from retrieval.sources.parsing.pdf.letters import Placed, is_private, is_right_to_left, plain

SKEW_DEGREES = 10
"""Text is read in lines where it is turned by this much at most from one of the four directions."""
SPACE_HEIGHTS = 0.15
"""A wider gap between two letters is a space, in heights of a letter."""
_LINE_END_HYPHENS = (0x02, 0xFFFE)
_SOFT_HYPHEN = 0xAD
SLANTED, UNREADABLE = -1, -2
Letter = tuple[str, float, float, float, float]
"""A letter with the left, top, right and bottom of its box."""
Run = tuple[int, list[Letter], bool]
"""Letters between two spaces, with their direction (0 to 3, SLANTED or UNREADABLE) before them and `Word.is_parted`
behind them."""


@dataclass(slots=True)
class Word:
    """Letters between two spaces, and the box around them."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    letters: list[Placed] = field(default_factory=list, repr=False)
    """The letters in the order of the file, of words that are not ASCII."""

    is_right_to_left: bool = False
    is_parted: bool = True
    """Whether a space of the file stands before it, and not only a gap."""

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass
class PageWords:
    """What a page's text layer holds."""

    groups: dict[int, list[Word]]
    """The words by how often their direction turns the page by 90 degrees, the direction with the most words first."""

    slanted: str
    """Text that is turned otherwise, in the order of the file."""

    num_unreadable: int
    """Characters whose font does not say which letters they are."""

    @property
    def num_words(self) -> int:
        return sum(map(len, self.groups.values())) + len(self.slanted.split())

    @property
    def num_letters(self) -> int:
        """Letters that can be read."""
        return sum(len(word.text) for group in self.groups.values() for word in group) + len(self.slanted)


def read_words(page: Any) -> PageWords:
    """The words of a page (a `pypdfium2.PdfPage`) by direction."""
    textpage = page.get_textpage()
    try:
        return sort_runs(_runs(textpage.raw))
    finally:
        textpage.close()


def sort_runs(runs: Iterable[Run]) -> PageWords:
    """Words by direction, of letters between spaces."""
    groups: dict[int, list[Word]] = {}
    slanted: list[str] = []
    num_unreadable = 0
    for direction, letters, is_parted in runs:
        text = "".join([letter[0] for letter in letters])
        if direction == UNREADABLE or (not text.isascii() and sum(map(is_private, text)) > 1):
            num_unreadable += len(letters)
        elif direction == SLANTED:
            slanted.append(plain(text))
        else:
            groups.setdefault(direction, []).append(_word(text, letters, is_parted))
    by_size = dict(sorted(groups.items(), key=lambda group: -len(group[1])))
    return PageWords(by_size, " ".join(slanted), num_unreadable)


def _runs(textpage: Any) -> Iterator[Run]:
    """Letters up to the next space, or to another line or direction."""
    # Local names: they are called for each letter of a book.
    unicode_of, box_of, box = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetLooseCharBox, pdfium.FS_RECTF()
    is_unmapped, pointer = pdfium.FPDFText_HasUnicodeMapError, ctypes.byref(box)
    letters: list[Letter] = []
    current, is_parted = 0, True
    for index in range(pdfium.FPDFText_CountChars(textpage)):
        code = unicode_of(textpage, index)
        letter = "-" if code in _LINE_END_HYPHENS else chr(min(code, 0x10FFFF))
        if letter.isspace():
            if letters:
                yield current, letters, is_parted
                letters = []
                is_parted = False
            box_of(textpage, index, pointer)
            is_parted = is_parted or box.right != box.left  # a space that PDFium puts in has no width
            continue
        is_unreadable = code == 0 or code == 0xFFFD or 0xD800 <= code < 0xE000 or is_unmapped(textpage, index) == 1
        if not (letter.isprintable() or code == _SOFT_HYPHEN or is_unreadable):
            continue
        box_of(textpage, index, pointer)
        if letters and is_unreadable == (current == UNREADABLE):
            placed = (letter, *upright(box.left, box.bottom, box.right, box.top, current))
            if current < 0 or _is_beside(letters[-1], placed):
                letters.append(placed)
                continue
        if letters:
            yield current, letters, is_parted
            is_parted = False
        # PDFium counts clockwise.
        current = UNREADABLE if is_unreadable else direction_of(-pdfium.FPDFText_GetCharAngle(textpage, index))
        letters = [(letter, *upright(box.left, box.bottom, box.right, box.top, current))]
    if letters:
        yield current, letters, is_parted


def _is_beside(before: Letter, letter: Letter) -> bool:
    """Whether a letter can be of the same word.

    PDFium leaves no space where a word is hyphenated at a line's end, before turned text, and where Arabic or Hebrew
    meets Latin.
    """
    height = letter[4] - letter[2]
    if letter[4] - before[2] < 0.5 * height or before[4] - letter[2] < 0.5 * height:
        return False
    if letter[0] < "\u0590" and before[0] < "\u0590":
        return before[0] != "-" or letter[1] - before[3] > -height
    return max(letter[1] - before[3], before[1] - letter[3]) <= SPACE_HEIGHTS * height


def direction_of(angle: float) -> int:
    """0 to 3 for text that is turned counterclockwise by 0, 90, 180 and 270 degrees, from an angle in radians."""
    degrees = math.degrees(angle)
    nearest = round(degrees / 90)
    return nearest % 4 if abs(degrees - nearest * 90) <= SKEW_DEGREES else SLANTED


def upright(left: float, bottom: float, right: float, top: float, direction: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a box of the file, whose y goes upwards, turned so that text runs to the right."""
    if direction == 1:
        return bottom, left, top, right
    if direction == 2:
        return -right, bottom, -left, top
    if direction == 3:
        return -top, -right, -bottom, -left
    return left, -top, right, -bottom


def _word(text: str, letters: list[Letter], is_parted: bool) -> Word:
    _, left, top, right, bottom = letters[0]
    for _, first, upper, last, lower in letters[1:]:
        left, top, right, bottom = min(left, first), min(top, upper), max(right, last), max(bottom, lower)
    word = Word(text, left, top, right, bottom, is_parted=is_parted)
    if not text.isascii():
        word.text, word.is_right_to_left = plain(text), any(map(is_right_to_left, text))
        word.letters = [(letter, first, last) for letter, first, _, last, _ in letters]
    return word
