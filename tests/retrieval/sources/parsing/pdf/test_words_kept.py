"""Each word that is on a page, and each that pypdf sees there, is in the text as it is read."""

import math
import random
import re
import unicodedata
from io import BytesIO

import pytest
from pypdf import PdfReader

from retrieval.sources.parsing.pdf.read import read_pdf
from tests.retrieval.sources.parsing.pdf.pages import HEIGHT, Pdf, text, width

_LATIN = "boiler valve naïve Größe 4.20 P-0417 tax-free state-of-the-art café (old) [new] 50% Ångström we'll a I"
_OTHERS = "котёл θερμότητα źdźbło office čeština 3,5 ăîșț № Ünïté İstanbul əlavə"
_FROM_RIGHT = "שלום עולם בית ספר مرحبا بالعالم كتاب مدرسة فارسی"
WORDS = {"F1": _LATIN.split(), "F2": _OTHERS.split(), "right": _FROM_RIGHT.split()}


def random_page(pdf: Pdf, choose: random.Random) -> list[str]:
    """The words of text in one or two columns, turned by the page, by its matrix or not at all."""
    turned = choose.choice([0, 0, 0, 90, 180, 270])
    font, size = choose.choice(["F1", "F2", "right"]), choose.choice([8, 11, 14])
    num_columns = choose.choice([1, 1, 2])
    parts, written = [], []
    for column in range(num_columns):
        for line in range(choose.randint(1, 20)):
            words = [choose.choice(WORDS[font]) for _ in range(choose.randint(1, 9 // num_columns))]
            written += words
            shown = " ".join(words)[::-1] if font == "right" else " ".join(words)
            x, y = 40 + 280 * column, 500 - line * size * choose.choice([1.2, 1.4])
            parts.append(placed(shown, x, y, size, turned, font))
    choose.shuffle(parts)
    pdf.page(*parts, rotate=choose.choice([0, 0, 90, 180, 270]))
    return written


def placed(shown: str, x: float, y: float, size: int, turned: int, font: str) -> bytes:
    """A line at a place of the page, which is turned as a whole around its middle."""
    c, s = round(math.cos(math.radians(turned))), round(math.sin(math.radians(turned)))
    x, y = x - 306, y - HEIGHT / 2
    name = "F1" if font == "F1" else "F2"
    assert name == "F1" or width(shown, size) < 560
    return text(shown, 306 + c * x - s * y, HEIGHT / 2 + s * x + c * y, size, turned, name)


def split(found: str) -> set[str]:
    """Words as they are compared: letters and digits, without ligatures."""
    return set(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", found)))


def is_made_of(word: str, words: set[str]) -> bool:
    """pypdf leaves out some of the spaces between lines."""
    return word in words or any(word.startswith(each) and is_made_of(word[len(each) :], words) for each in words)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.matrix) for seed in range(4, 60))])
def test_every_word_of_a_page_is_read(seed: int) -> None:
    choose, pdf = random.Random(seed), Pdf()
    written = [word for _ in range(6) for word in random_page(pdf, choose)]
    found = split(read_pdf(pdf.written()).text)
    assert not split(" ".join(written)) - found
    seen = split(" ".join(page.extract_text() for page in PdfReader(BytesIO(pdf.written())).pages))
    assert seen and not [word for word in seen if not is_made_of(word, found)]
