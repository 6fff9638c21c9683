"""Numbers in an answer: which one it gives, and whether that is near enough.

Read are digits with a sign and a decimal point, thousands in groups ("1,526,000", "1 526 000", "1'526'000"), powers of
ten ("1.5e6", "1.5 × 10^6", "10⁶") and the words hundred to trillion behind a number ("1.5 million"). A unit may follow
("26 km", "26%", "26km") or a currency sign stand in front. Where the accepted number has a unit the answer's has to be
the same or none; where it has none, any unit will do.

The answer's last sentence has to hold one number, apart from those that the question names ("HTTP status 404 has 9
letters"); with an accepted unit, one of that unit ("42 km (26 miles)"). Not read are numbers in words ("twelve"),
decimal commas ("4,5") and what only looks like a number ("1.2.3", "H2O", "ISO-9001").

A number is near enough within `tolerance` or within `tolerance_percent` of the accepted value, whichever is wider;
without either it has to be equal. The arithmetic is decimal: 0.3 is within 0.1 of 0.2.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from evaluation.grades.words import SAME_CHARACTER, SENTENCE_END, asked_words, denies, normalise

if TYPE_CHECKING:
    from evaluation.questions import Question

SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
BOUNDS = {"than", "least", "most", "over", "under", "above", "below", "exceeds", "until"}
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


def gives_number(question: "Question", text: str) -> bool:
    """Whether the answer's last sentence gives one number, an accepted one, and neither denies nor bounds it."""
    sentences = [sentence for sentence in SENTENCE_END.split(text) if any(map(str.isalnum, sentence))]
    found = _answering(find_numbers(sentences[-1]), question) if sentences else []
    return len(found) == 1 and is_accepted(found[0], question) and not _is_denied(found[0], question)


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


def is_accepted(number: Number, question: "Question") -> bool:
    """Whether a number is near enough to an accepted one, in a unit that does not contradict it."""
    accepted = _accepted(question.answers, question.tolerance, question.tolerance_percent)
    return any(near.unit in ("", number.unit) or not number.unit for near in accepted if near.holds(number.value))


@lru_cache(maxsize=4_096)
def numbers_of(passage: str) -> tuple[Number, ...]:
    """All numbers in a passage, which many answers cite."""
    return tuple(find_numbers(passage))


@dataclass(frozen=True)
class _Near:
    """An accepted number, and how far from it is near enough."""

    value: Decimal
    unit: str
    margin: Decimal

    def holds(self, value: Decimal) -> bool:
        return abs(value - self.value) <= self.margin


@lru_cache(maxsize=4_096)
def _accepted(answers: tuple[str, ...], tolerance: float | None, tolerance_percent: float | None) -> tuple[_Near, ...]:
    absolute, percent = Decimal(str(tolerance or 0)), Decimal(str(tolerance_percent or 0))
    numbers = [number for number in map(parse_number, answers) if number is not None]
    margins = [max(absolute, abs(number.value) * percent / 100) for number in numbers]
    return tuple(_Near(number.value, number.unit, margin) for number, margin in zip(numbers, margins, strict=True))


def _answering(found: list[Number], question: "Question") -> list[Number]:
    """Of several numbers those that can be the answer: not named by the question, then those of the right unit."""
    if len(found) > 1:
        named = Counter(_named(question.question))
        found = [number for number in found if not named[number.value] or named.subtract([number.value])]
    units = {near.unit for near in _accepted(question.answers, None, None)} - {""}
    if len(found) > 1 and units:
        found = [number for number in found if number.unit in units]
    return found


@lru_cache(maxsize=4_096)
def _named(question: str) -> tuple[Decimal, ...]:
    return tuple(number.value for number in find_numbers(question))


def _is_denied(number: Number, question: "Question") -> bool:
    words, asked = normalise(number.text[: number.start]).split(), asked_words(question.question)
    return denies(words, asked) or bool(words and words[-1] in BOUNDS - asked)


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
