"""Whether a text holds an accepted value anywhere, whatever it says of it: a passage, or an answer that is wrong.

holds_value(question, "The trail is 12 kilometres long.")   # True for "12 km"
"""

from fractions import Fraction

from evaluation.grading.values.numeric import is_accepted, near_numbers
from evaluation.grading.values.profile import profile_of
from evaluation.grading.values.rivals import is_year
from evaluation.questions.dates import find_dates, find_times
from evaluation.questions.numbers import numbers_of
from evaluation.questions.question import Question
from evaluation.questions.words import passage_holds


def holds_value(question: Question, text: str) -> bool:
    """Whether the words of an accepted value are in a text one after the other, or a number, date or time equal to it.

    For questions of kind `number`, numbers within the tolerance alone.
    """
    if question.kind != "number" and any(passage_holds(text, value) for value in question.answers):
        return True
    if question.kind not in ("value", "number"):
        return False
    accepted = profile_of(question).accepted
    if any(value.number for value in accepted) and _holds_number(question, text):
        return True
    if any(value.date for value in accepted) and any(
        date.gives(value.date) and not date.exchanged for value in accepted if value.date for date in find_dates(text)
    ):
        return True
    times = {value.time.minutes for value in accepted if value.time}
    return bool(times) and any(time.minutes in times for time in find_times(text))


def _holds_number(question: Question, text: str) -> bool:
    numbers = numbers_of(text)
    if any(is_accepted(number, question) and number.sure for number in numbers):
        return True
    years = [near for near in near_numbers(question) if is_year(near.number)]
    return bool(years) and any(
        date.year is not None and near.holds(Fraction(date.year)) for near in years for date in find_dates(text)
    )
