"""Words on pages without a text layer: OCR by rapidocr, which is the extra `ocr` and brings its models with it.

Its models know Latin letters, Chinese and Japanese. A line of other letters is counted, not guessed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np

from retrieval.sources.parsing.pdf.layout import read_in_order
from retrieval.sources.parsing.pdf.words import Word

DPI = 200
MAX_PIXELS = 20_000_000
MIN_SCORE = 0.6
MIN_LETTERS_PER_SQUARE = 0.45
"""A letter is at most as wide as its line is high, and Chinese ones are so wide: a line with far fewer is not read."""
NUM_ASKED = 9
"""Lines that say together which way a page is turned."""
_POINTS_PER_INCH = 72
Picture: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Recognized:
    """What OCR made of a page."""

    text: str
    num_unread: int
    """Lines that it saw and could not read."""


@dataclass(frozen=True)
class _Line:
    """A line of text: its box in pixels, what it says, and how sure that is."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    score: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def is_read(self) -> bool:
        """Whether the text is likely, and can fill the box."""
        longer, shorter = max(self.width, self.height), max(min(self.width, self.height), 1.0)
        num_letters = len("".join(self.text.split()))
        return self.score >= MIN_SCORE and num_letters >= max(1.0, MIN_LETTERS_PER_SQUARE * (longer / shorter - 1))

    def words(self, scale: float) -> Iterator[Word]:
        """The words, spread evenly over the box, in points."""
        step, at = self.width / max(len(self.text), 1), 0
        for part in self.text.split():
            at = self.text.index(part, at)
            left, right = self.left + at * step, self.left + (at + len(part)) * step
            yield Word(part, left / scale, self.top / scale, right / scale, self.bottom / scale)
            at += len(part)


class Ocr:
    """A model that finds the lines of text in a picture, and one that reads them."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        # One thread: documents are read by several processes beside each other.
        self._engine = RapidOCR(
            params={"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1}
        )

    def read_page(self, page: Any) -> Recognized:
        """The text on a page (a `pypdfium2.PdfPage`) as it is shown."""
        width, height = page.get_size()
        scale = min(DPI / _POINTS_PER_INCH, (MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
        bitmap = page.render(scale=scale)
        try:
            image = bitmap.to_numpy()[:, :, :3].copy()
        finally:
            bitmap.close()
        lines = self._lines(image)
        if turns := self._turns(image, lines):
            lines = self._lines(np.rot90(image, turns).copy())
        words = [word for line in lines if line.is_read for word in line.words(scale)]
        return Recognized(read_in_order(words), sum(not line.is_read for line in lines))

    def _lines(self, image: Picture) -> list[_Line]:
        found = self._engine(image, use_det=True, use_cls=True, use_rec=True)  # it keeps what it was called with
        if found.boxes is None:
            return []
        lines = []
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
            lines.append(_Line(left, top, right, bottom, text, score))
        return lines

    def _turns(self, image: Picture, lines: list[_Line]) -> int:
        """Quarter turns counterclockwise after which the text of a picture is upright."""
        longest = sorted(lines, key=lambda line: -max(line.width, line.height))[:NUM_ASKED]
        is_across = 2 * sum(line.height > line.width for line in longest) > len(longest)
        is_upside_down = 0
        for line in longest:
            cut = image[int(line.top) : int(line.bottom) + 1, int(line.left) : int(line.right) + 1]
            turned = np.rot90(cut, is_across).copy()
            found = self._engine(turned, use_det=False, use_cls=True, use_rec=False)
            is_upside_down += "180" in found.cls_res[0][0]
        return is_across + 2 * (2 * is_upside_down > len(longest))


@cache
def load_ocr() -> Ocr | None:
    """The models, loaded once in a process; None without the extra."""
    return Ocr() if find_spec("rapidocr") else None
