"""The words of a page as pdfminer finds them: it knows letters by the names of their glyphs where a map is missing.

It is ten times slower than PDFium, and asked only for pages with letters that PDFium cannot name.
"""

import math
import re
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from typing import Any

from retrieval.sources.parsing.pdf.words import (
    SPACE_HEIGHTS,
    UNREADABLE,
    Letter,
    PageWords,
    Run,
    direction_of,
    sort_runs,
    upright,
)

_UNMAPPED = re.compile(r"\(cid:\d+\)")


class GlyphNames:
    """A PDF as pdfminer sees it; opened when it is asked for the first page."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_words(self, number: int) -> PageWords:
        """The words of a page, from 1; none where pdfminer cannot read it."""
        try:
            return sort_runs(_runs(self._letters(number)))
        except Exception:  # noqa: BLE001, pdfminer documents none: what PDFium read is kept
            return PageWords({}, "", 0)

    @cached_property
    def _pages(self) -> list[Any]:
        from pdfminer.pdfpage import PDFPage

        return list(PDFPage.get_pages(BytesIO(self.content), check_extractable=False))

    def _letters(self, number: int) -> Iterator[Any]:
        from pdfminer.converter import PDFPageAggregator
        from pdfminer.pdfinterp import PDFPageInterpreter, PDFResourceManager

        resources = PDFResourceManager()
        aggregator = PDFPageAggregator(resources, laparams=None)
        PDFPageInterpreter(resources, aggregator).process_page(self._pages[number - 1])
        yield from _characters(aggregator.get_result())


def _characters(shown: Any) -> Iterator[Any]:
    from pdfminer.layout import LTChar, LTContainer

    for each in shown:
        if isinstance(each, LTChar):
            yield each
        elif isinstance(each, LTContainer):
            yield from _characters(each)


def _runs(characters: Iterator[Any]) -> Iterator[Run]:
    letters: list[Letter] = []
    current = 0
    for character in characters:
        text = str(character.get_text())
        is_unmapped = bool(_UNMAPPED.fullmatch(text)) or text in ("", "\0", "\ufffd")
        direction = UNREADABLE if is_unmapped else direction_of(math.atan2(character.matrix[1], character.matrix[0]))
        left, bottom, right, top = character.bbox
        placed = (text, *upright(left, bottom, right, top, max(direction, 0)))
        if letters and (direction != current or text.isspace() or _is_apart(letters[-1], placed)):
            yield current, letters, True
            letters = []
        current = direction
        if not text.isspace():
            letters.append(placed)
    if letters:
        yield current, letters, True


def _is_apart(before: Letter, letter: Letter) -> bool:
    height = letter[4] - letter[2]
    is_beside = letter[2] < before[4] and letter[4] > before[2]
    return not is_beside or max(letter[1] - before[3], before[1] - letter[3]) > SPACE_HEIGHTS * height
