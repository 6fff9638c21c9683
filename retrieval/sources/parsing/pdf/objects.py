"""What is drawn on a page of a PDF: the horizontal lines of its tables, and how much of it pictures cover."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pypdfium2.raw as pdfium

from retrieval.sources.parsing.pdf.layout import Rule
from retrieval.sources.parsing.pdf.words import upright

MIN_RULE = 40.0
"""Shortest line of a table, in points."""
MAX_DEPTH = 4
MAX_OBJECTS = 20_000
"""A map or a plot has more: no table is looked for among them."""


@dataclass
class Drawn:
    """What a page shows beside letters."""

    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Left, bottom, right and top of lines and shapes, in points of the file."""

    is_empty: bool = True
    """Whether nothing is drawn at all."""

    num_unshown: int = 0
    """Texts in fonts that are not in the file and that PDFium's own do not know: it leaves out those of one letter."""

    picture_share: float = 0.0
    """Share of the page that its largest picture covers, from 0 to 1."""

    def rules(self, direction: int) -> list[Rule]:
        """Horizontal lines, and the upper and lower edges of shapes, as words of a direction see them."""
        boxes = [upright(*box, direction) for box in self.boxes]
        return [
            (left, right, y) for left, top, right, bottom in boxes if right - left >= MIN_RULE for y in (top, bottom)
        ]


def read_objects(page: Any) -> Drawn:
    """What a page (a `pypdfium2.PdfPage`) shows beside letters."""
    drawn, (width, height) = Drawn(), page.get_size()
    for kind, left, bottom, right, top in _boxes(page):
        drawn.is_empty = False
        if kind == pdfium.FPDF_PAGEOBJ_PATH:
            drawn.boxes.append((left, bottom, right, top))
        elif kind == pdfium.FPDF_PAGEOBJ_TEXT:
            drawn.num_unshown += 1
        elif kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            share = (right - left) * (top - bottom) / max(width * height, 1.0)
            drawn.picture_share = max(drawn.picture_share, min(share, 1.0))
    return drawn


def _boxes(page: Any) -> Iterator[tuple[int, float, float, float, float]]:
    box = [ctypes.c_float() for _ in range(4)]
    pointers = [ctypes.byref(each) for each in box]
    for index in range(min(pdfium.FPDFPage_CountObjects(page), MAX_OBJECTS)):
        shown = pdfium.FPDFPage_GetObject(page, index)
        kind = pdfium.FPDFPageObj_GetType(shown)
        if kind == pdfium.FPDF_PAGEOBJ_FORM and _holds_picture(shown, MAX_DEPTH):
            kind = pdfium.FPDF_PAGEOBJ_IMAGE
        if pdfium.FPDFPageObj_GetBounds(shown, *pointers):
            left, bottom, right, top = (each.value for each in box)
            if kind != pdfium.FPDF_PAGEOBJ_TEXT or (right - left < 0.001 and not _has_font(shown)):
                yield kind, left, bottom, right, top


def _has_font(shown: Any) -> bool:
    """Whether the font of a text is in the file."""
    return bool(pdfium.FPDFFont_GetIsEmbedded(pdfium.FPDFTextObj_GetFont(shown)))


def _holds_picture(form: Any, depth: int) -> bool:
    """Whether a form, which is drawn as a whole, has a picture in it or in one of its own forms."""
    for index in range(min(pdfium.FPDFFormObj_CountObjects(form), MAX_OBJECTS)):
        shown = pdfium.FPDFFormObj_GetObject(form, index)
        kind = pdfium.FPDFPageObj_GetType(shown)
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            return True
        if kind == pdfium.FPDF_PAGEOBJ_FORM and depth and _holds_picture(shown, depth - 1):
            return True
    return False
