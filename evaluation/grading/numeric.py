"""Whether an answer gives the accepted number, or one that is near enough.

Where the accepted number has a unit the answer's has to be the same or none; where it has none, any unit will do. The
answer's last sentence has to hold one number, apart from those that the question names ("HTTP status 404 has 9
letters"); with an accepted unit, one of that unit ("42 km (26 miles)").

A number is near enough within `tolerance` or within `tolerance_percent` of the accepted value, whichever is wider;
without either it has to be equal. The arithmetic is decimal: 0.3 is within 0.1 of 0.2.
"""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from evaluation.questions.numbers import Number, find_numbers, parse_number
from evaluation.questions.words import SENTENCE_END, asked_words, denies, normalise

if TYPE_CHECKING:
    from evaluation.questions.question import Question

BOUNDS = {"than", "least", "most", "over", "under", "above", "below", "exceeds", "until"}


def gives_number(question: "Question", text: str) -> bool:
    """Whether the answer's last sentence gives one number, an accepted one, and neither denies nor bounds it."""
    sentences = [sentence for sentence in SENTENCE_END.split(text) if any(map(str.isalnum, sentence))]
    numbers = _answering(find_numbers(sentences[-1]), question) if sentences else []
    return len(numbers) == 1 and is_accepted(numbers[0], question) and not _is_denied(numbers[0], question)


def is_accepted(number: Number, question: "Question") -> bool:
    """Whether a number is near enough to an accepted one, in a unit that does not contradict it."""
    accepted = _accepted(question.answers, question.tolerance, question.tolerance_percent)
    return any(near.unit in ("", number.unit) or not number.unit for near in accepted if near.holds(number.value))


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


def _answering(numbers: list[Number], question: "Question") -> list[Number]:
    """Of several numbers those that can be the answer: not named by the question, then those of the right unit."""
    if len(numbers) > 1:
        named = Counter(_named(question.question))
        numbers = [number for number in numbers if not named[number.value] or named.subtract([number.value])]
    units = {near.unit for near in _accepted(question.answers, None, None)} - {""}
    if len(numbers) > 1 and units:
        numbers = [number for number in numbers if number.unit in units]
    return numbers


@lru_cache(maxsize=4_096)
def _named(question: str) -> tuple[Decimal, ...]:
    return tuple(number.value for number in find_numbers(question))


def _is_denied(number: Number, question: "Question") -> bool:
    words, question_words = normalise(number.text[: number.start]).split(), asked_words(question.question)
    return denies(words, question_words) or bool(words and words[-1] in BOUNDS - question_words)
