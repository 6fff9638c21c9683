"""Numbers in a text: their values and units.

Read are digits with a sign and a decimal point, thousands in groups ("1,526,000", "1 526 000", "1'526'000"), powers of
ten ("1.5e6", "1.5 × 10^6", "10⁶") and the words hundred to trillion behind a number ("1.5 million"). A unit may follow
("26 km", "26%", "26km") or a currency sign come before it. Not read are numbers in words ("twelve"), decimal commas
("4,5") and what only looks like a number ("1.2.3", "H2O", "ISO-9001").
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from evaluation.questions.words import SAME_CHARACTER

if TYPE_CHECKING:
    pass


SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
RAISED = re.compile(r"[⁰¹²³⁴-⁹⁺⁻]+")
POWER_OF_TEN = re.compile(r"(?<![\w.^])(?<![x×*·])(?<![x×*·] )10(?:\^|\*\*)(?=[-+]?\d)")
NUMBER = re.compile(
    r"""
    (?<![\w^]) (?<![^\W\d_][-.]) (?<!\d[.,])      # not within a word, a version or a power
    (?P<sign> (?<!\w)[-+] )? [$€£¥]?
    (?P<mantissa>
        (?: \d{1,3}(?:,\d{2,3})*,\d{3} | \d{1,3}(?P<gap>['\ ])\d{3}(?:(?P=gap)\d{3})* | \d+ ) (?:\.\d+)?
        | \.\d+
    )
    (?! \d | [.,]\d | \^ )
    (?: (?: e | \ ?[x×*·]\ ?10(?:\^|\*\*) ) (?P<exponent>[-+]?\d{1,3}) (?!\d) )?
    (?: \ ?(?P<scale>hundred|thousand|million|billion|trillion)s?\b )?
    (?: \ ?(?P<unit> (?:[^\W\d_]|[%‰°$€£¥]) (?:[^\W\d_]|[%°/·-]|\^-?\d)* ) )?
    (?!\w)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Number:
    """A number in a text: its value, the word or sign behind it ("" without one), and where in the text it starts."""

    value: Decimal
    unit: str
    text: str
    start: int


def find_numbers(text: str) -> list[Number]:
    """All numbers in a text, in their order."""
    plain = _plain(text)
    return [_number(match, plain) for match in NUMBER.finditer(plain)]


@lru_cache(maxsize=16_384)
def parse_number(text: str) -> Number | None:
    """The number that an accepted answer consists of, with its unit; None where it is more or less than that."""
    plain = _plain(text).strip()
    match = NUMBER.fullmatch(plain)
    return _number(match, plain) if match else None


@lru_cache(maxsize=4_096)
def numbers_of(passage: str) -> tuple[Number, ...]:
    """All numbers in a passage, which many answers cite."""
    return tuple(find_numbers(passage))


def _plain(text: str) -> str:
    """NFKC would make 10⁵ one hundred and five: what is raised is marked first."""
    text = RAISED.sub(lambda raised: f"^{raised[0]}", text)
    text = unicodedata.normalize("NFKC", text).translate(SAME_CHARACTER).casefold()
    return POWER_OF_TEN.sub("1e", text)


def _number(match: re.Match[str], text: str) -> Number:
    digits = re.sub("[,' ]", "", match["mantissa"])
    exponent = int(match["exponent"] or 0) + SCALES.get(match["scale"] or "", 0)
    value = Decimal(f"{match['sign'] or ''}{digits}e{exponent}")
    return Number(value, match["unit"] or "", text, match.start())
