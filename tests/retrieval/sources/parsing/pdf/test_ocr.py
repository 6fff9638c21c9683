"""Scanned pages are read by OCR, and what it cannot read is counted."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from retrieval.sources.parsing.pdf.read import read_pdf
from tests.retrieval.sources.parsing.pdf.pages import Pdf, dejavu_file, text

pytestmark = pytest.mark.slow
LEFT = ["The warranty of the Kestrel", "pump ends after 24 months", "or after 3,000 hours of use."]
RIGHT = ["Über die Größe der Räume", "entscheidet Herr Müßig, und", "le café est près de l'hôtel."]


def scanned(pdf: Pdf, lines: list[tuple[str, int, int]], turns: int = 0, grain: int = 12) -> None:
    """A page of 200 dots an inch with lines at places in dots, and with the grain of a scanner.

    Args:
        turns: quarter turns counterclockwise by which the paper lay wrong.
    """
    image = Image.new("L", (1700, 2200), 255)
    font = ImageFont.truetype(str(dejavu_file()), 30)
    for line, x, y in lines:
        ImageDraw.Draw(image).text((x, y), line, fill=30, font=font)
    dots = np.rot90(np.asarray(image, dtype=np.int16), turns)
    grained = dots + np.random.default_rng(1).integers(-grain, grain, dots.shape)
    number = pdf.picture(dots.shape[1], dots.shape[0], np.clip(grained, 0, 255).astype(np.uint8).tobytes())
    height = 612 * dots.shape[0] / dots.shape[1]
    pdf.page(f"q 612 0 0 {height} 0 0 cm /Im1 Do Q\n".encode(), images=f"/Im1 {number} 0 R")


def test_scanned_columns_are_read_in_order() -> None:
    pdf = Pdf()
    pdf.page(text("The first page is written.", 72, 700))
    columns = [(line, x, 200 + 50 * at) for x, lines in ((150, LEFT), (900, RIGHT)) for at, line in enumerate(lines)]
    scanned(pdf, columns)
    parsed = read_pdf(pdf.written())
    assert not +parsed.left_out
    found = parsed.text
    words = " ".join(["The first page is written.", *LEFT, *RIGHT]).split()
    assert sum(word in found.split() for word in words) >= 0.9 * len(words)
    assert found.index("written") < found.index("warranty") < found.index("hours") < found.index("entscheidet")


def test_what_ocr_does_not_know_is_counted() -> None:
    pdf = Pdf()
    scanned(pdf, [(LEFT[0], 150, 200), ("Счёт оплачивается в течение тридцати дней.", 150, 300)])
    found = read_pdf(pdf.written())
    assert "warranty" in found.text
    assert +found.left_out == {"lines on page 1 that OCR could not read: run another OCR over the file": 1}


@pytest.mark.parametrize(
    "turns", [pytest.param(1, marks=pytest.mark.matrix), 2, pytest.param(3, marks=pytest.mark.matrix)]
)
def test_a_page_that_was_scanned_the_wrong_way_round_is_read_in_order(turns: int) -> None:
    pdf = Pdf()
    scanned(pdf, [(line, 150, 200 + 50 * at) for at, line in enumerate(LEFT)], turns)
    assert read_pdf(pdf.written()).text.split() == " ".join(LEFT).split()
