"""Words on pages without a text layer: OCR by rapidocr, which is the extra `ocr` and brings its models with it.

Its models know Latin letters, Chinese and Japanese. A line of other letters is counted, not guessed.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from retrieval.sources.parsing.pdf.layout import read_in_order
from retrieval.sources.parsing.pdf.words import Word

DPI = 200
MAX_PIXELS = 20_000_000
MIN_SCORE = 0.6
MIN_LETTERS_PER_SQUARE = 0.45
"""A letter is at most as wide as its line is high, and Chinese ones are so wide: a line with far fewer is not read."""
_POINTS_PER_INCH = 72


@dataclass(frozen=True)
class Recognized:
    """What OCR made of a page."""

    text: str
    num_unread: int
    """Lines that it saw and could not read."""


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
        bitmap = page.render(scale=scale, rev_byteorder=False)
        try:
            found = self._engine(bitmap.to_numpy()[:, :, :3])
        finally:
            bitmap.close()
        words: list[Word] = []
        num_unread = 0
        for corners, text, score in zip(*self._lines(found), strict=True):
            (left, top), (right, bottom) = corners.min(axis=0) / scale, corners.max(axis=0) / scale
            if score < MIN_SCORE or not _is_whole(text, right - left, bottom - top):
                num_unread += 1
            else:
                words += _words(text, left, top, right, bottom)
        return Recognized(read_in_order(words), num_unread)

    @staticmethod
    def _lines(found: Any) -> tuple[Any, Any, Any]:
        return ((), (), ()) if found.boxes is None else (found.boxes, found.txts, found.scores)


def _is_whole(text: str, width: float, height: float) -> bool:
    """Whether a line's text can fill its box, which is higher than wide where the line is turned."""
    longer, shorter = max(width, height), max(min(width, height), 1.0)
    return len("".join(text.split())) >= max(1.0, MIN_LETTERS_PER_SQUARE * (longer / shorter - 1))


def _words(text: str, left: float, top: float, right: float, bottom: float) -> list[Word]:
    """The words of a line, spread evenly over its box."""
    step = (right - left) / max(len(text), 1)
    words, at = [], 0
    for part in text.split():
        at = text.index(part, at)
        words.append(Word(part, left + at * step, top, left + (at + len(part)) * step, bottom))
        at += len(part)
    return words


@cache
def load_ocr() -> Ocr | None:
    """The models, loaded once in a process; None without the extra."""
    return Ocr() if find_spec("rapidocr") else None
