"""Whether a number is an accepted one, or near enough to one.

A number is near enough within `tolerance` or within `tolerance_percent` of the accepted value, whichever is wider;
without either it has to be equal. The arithmetic is exact: 0.3 is within 0.1 of 0.2, and 5000 m are 5 km.

Where the accepted number has a unit the answer's has to measure the same, and is converted; none is taken for the
accepted one. A share may be given as a fraction. Where the accepted number has no unit, any unit will do for questions
of kind `number`; for those of kind `value` a percent sign changes the value.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from evaluation.grading.values.cues import words
from evaluation.grading.values.profile import Profile
from evaluation.questions.languages import language_of
from evaluation.questions.numbers import SCALES, Number, parse_number, same_amount
from evaluation.questions.question import Question
from evaluation.questions.units import Unit, parse_unit

IN_UNIT = re.compile(
    r"\b(?:how many|wie viele|combien de|cuántos|cuántas|quanti|quante|quantos|quantas) (?P<counted>[^\W\d_]{4,})\b"
    r"|\bwhat (?P<share>percentage|percent)\b"
    r"|\b(?:in|en|em) ((?:(?:square|cubic|degrees?) )?[^\W\d_]{4,})(?=\W*$|\s*,)",
    re.IGNORECASE,
)
PHYSICAL = {"L", "L^2", "L^3", "M", "bit", "J", "J T^-1", "V", "A", "Hz", "Pa", "L T^-1"}
HOW_MANY_OF = re.compile(
    r"\b(?:how many|wie viele|combien d(?:e |')|cuánt[ao]s|quant[ie]|quant[ao]s|сколько) ?([^\W\d_]{3,})",
    re.IGNORECASE,
)
MANY_MILLION = re.compile(r"\bhow many (thousand|million|billion)\b", re.IGNORECASE)
HOW = words("beside_a_number")


@dataclass(frozen=True)
class Near:
    """An accepted number, and how far from it is near enough, in its unit."""

    number: Number
    margin: Fraction
    asked: Unit | None = None
    """The unit of time that the question counts in: "how many days"."""

    def holds(self, value: Fraction) -> bool:
        """Whether a value in the accepted number's unit is near enough."""
        return abs(value - self.number.value) <= self.margin


def near_numbers(question: Question) -> list[Near]:
    """The accepted numbers of a question of kind `number`, or those among the values of one of kind `value`."""
    unit = asked_unit(question.question)
    language = language_of(question.question)
    near = _near(question.answers, question.tolerance, question.tolerance_percent, language, unit)
    if match := MANY_MILLION.search(question.question):
        factor = Fraction(10) ** SCALES[match[1].casefold()]
        scaled = (replace(each, number=replace(each.number, value=each.number.value * factor)) for each in near)
        return [*near, *scaled]
    counted = HOW_MANY_OF.search(question.question)
    measure = parse_unit(counted[1]) if counted else None
    return [replace(each, asked=measure) for each in near] if measure and measure.dimension == "T" else list(near)


@lru_cache(maxsize=8_192)
def asked_unit(question: str) -> str:
    """The unit that a question asks for, spelled out: "millimetres" in "How long is it in millimetres?"; "" where it
    names none, or more than one."""
    found = []
    for match in IN_UNIT.finditer(question):
        unit = "%" if match["share"] else match["counted"] or match[3]
        measure = parse_unit(unit)
        if measure and measure.dimension in (PHYSICAL if match["counted"] else PHYSICAL | {"T", "1"}):
            found.append(unit)
    return found[0] if len(found) == 1 else ""


def is_accepted(number: Number, question: Question) -> bool:
    """Whether a number is near enough to an accepted one, in a unit that does not contradict it."""
    return any(_holds(near, number, question.kind == "value") for near in near_numbers(question))


def accepts_value(number: Number, question: Question, profile: Profile) -> bool:
    """The same for a number in an answer; for a value a number with a leading zero is another one ("007")."""
    return not (question.kind == "value" and number.padded) and is_accepted(number, question)


def _holds(near: Near, number: Number, is_value: bool) -> bool:
    wanted = near.number
    if near.asked and number.measure and number.measure.dimension == near.asked.dimension:
        return near.holds(number.value * number.measure.factor / near.asked.factor)
    if wanted.measure is None:
        return _holds_without_unit(near, number, is_value)
    if number.measure is None and number.noun and number.noun not in HOW and not number.ordinal:
        return False
    is_share = wanted.measure.dimension == "1" and number.measure is None and (number.part or abs(number.value) <= 1)
    if is_share and number.value != 0 and near.holds(number.value / wanted.measure.factor):
        return True
    if number.measure and wanted.measure.dimension in ("°C", "°F") and number.measure.dimension == "°":
        return near.holds(number.value)
    amount = same_amount(number, wanted)
    return amount is not None and near.holds(amount)


def _holds_without_unit(near: Near, number: Number, is_value: bool) -> bool:
    if number.measure and number.measure.dimension == "1":
        share = number.value * number.measure.factor
        whole = near.number.value
        if 0 < abs(whole) < 1 or is_value or number.unit == "‰":
            return near.holds(share) and 0 < abs(whole) <= 1
    wanted = near.number
    if wanted.noun and wanted.unit and number.measure:
        return False
    if wanted.noun and wanted.unit and number.noun and number.noun not in HOW:
        one, other = wanted.noun.rstrip("s"), number.noun.rstrip("s")
        return near.holds(number.value) and (
            one == other or (len(number.noun) > 3 and not number.in_words and one == other)
        )
    return near.holds(number.value)


@lru_cache(maxsize=8_192)
def _near(
    answers: tuple[str, ...], tolerance: float | None, tolerance_percent: float | None, language: str, unit: str = ""
) -> Sequence[Near]:
    absolute, percent = Fraction(str(tolerance or 0)), Fraction(str(tolerance_percent or 0))
    numbers = [parse_number(answer, language) or parse_number(answer) for answer in answers]
    if unit:
        numbers = [
            number
            and (number if number.measure or number.noun else replace(number, unit=unit, measure=parse_unit(unit)))
            for number in numbers
        ]
    return tuple(
        Near(number, max(absolute, abs(number.value) * percent / 100)) for number in numbers if number is not None
    )
