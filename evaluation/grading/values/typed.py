"""Numbers, dates and times of day in an answer: those that are accepted, and those that may be the answer instead."""

import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

from evaluation.grading.values import cues
from evaluation.grading.values.alike.amounts import NEXT_NUMBER, OF_THEM, REST, UP_TO, is_capacity, is_of_other_stuff
from evaluation.grading.values.alike.denials import is_beyond, is_kept_within
from evaluation.grading.values.alike.spoken_times import spoken_times
from evaluation.grading.values.cues import words
from evaluation.grading.values.joins import joined_numbers
from evaluation.grading.values.mentions import Mention, Reading, ends_of, near_conversion
from evaluation.grading.values.numeric import Near, accepts_value, near_numbers
from evaluation.grading.values.profile import Profile, stem
from evaluation.grading.values.rivals import is_rival_date, is_rival_number, is_year
from evaluation.grading.values.segments import ANDS, BREAKS, LINKS, VERBS
from evaluation.questions.dates import Date, Time, find_dates, find_times
from evaluation.questions.numbers import Number, same_amount, scan_numbers
from evaluation.questions.question import Question

RANGE_OF_DATES = re.compile(
    r"\s*(?:-|to|and|or|until|bis|und|oder|et|au|ou|y|o|al|e)\s*(?:the\s+|el\s+|le\s+|il\s+)?", re.IGNORECASE
)
CHANGED_FROM = re.compile(
    r"\b(?:rose|risen|rise|rises|grew|grown|fell|fallen|dropped|increased|decreased|went|changed|moved|raised|reduced|cut|"
    r"up|down|stieg|sank|gestiegen|gesunken|passe|passa|subio|bajo) (?:\w+ )?(?:from|von|de) [$€£]?$"
)
Point = TypeVar("Point", Date, Time)
RANGE_OF_POINTS = re.compile(
    r"\s*(?:uhr|h)?\s*(?:-|to|until|till|through|bis|à|jusqu'à|a|al|alle|hasta|até|às|до|and|und|et|y|e)\s*"
    r"(?:the\s+|el\s+|le\s+|las?\s+|les\s+)?",
    re.IGNORECASE,
)
UNTIL = re.compile(r"\b(?:until|till|bis|bis zum|jusqu'à|jusqu'au|hasta|hasta el|fino al?|até|до)$")
FROM = re.compile(r"(?:\b(?:from|von|ab|de|du|desde|dal|dalle|das|с|runs|open)|:)$")
ASKS_BEGIN = re.compile(
    r"\b(?:begin\w*|start\w*|open\w*|commence\w*|from when|earliest|ab wann|beginn\w*|offn\w*|commenc\w*|ouvr\w*"
    r"|debut\w*|empiez\w*|comienz\w*|abr\w*|inizi\w*|apr\w*|comec\w*|начина\w*|открыва\w*)\b"
)
ASKS_END = re.compile(
    r"\b(?:end|ends|ending|clos\w*|finish\w*|expir\w*|until (?:when|what|which)|till when|by (?:when|what)"
    r"|latest|deadline|bis wann|jusqu\w*|schliess\w*|end\w*|ferm\w*|termin\w*|cierr\w*"
    r"|acab\w*|chiud\w*|finisc\w*|fech\w*|закрыва\w*|заканчива\w*)\b"
)
OR_OF_TIMES = re.compile(
    r"\s*(?:uhr|h)?\s*(?:,|/|,?\s*(?:or|oder|ou|o|или|of))\s*(?:(?:at|um|a|à|maybe|perhaps|even)\s*)*"
)
AND_OF_TIMES = re.compile(r"\s*(?:uhr|h)?\s*(?:and|und|et|y|e|и)\s*(?:at\s*)?")


def find_typed(question: Question, reading: Reading) -> None:
    """Numbers, dates and times: those that are accepted, and those that are not."""
    profile = reading.profile
    dates = ends_of(find_dates(reading.text))
    dates = asked_ends(dates, reading) if any(value.date for value in profile.accepted) else dates
    if accepted_dates := [value.date for value in profile.accepted if value.date]:
        _find_dates(reading, dates, accepted_dates)
    if any(value.time for value in profile.accepted):
        _find_times(reading)
    if any(value.number for value in profile.accepted):
        _find_numbers(question, reading, dates)


def _find_dates(reading: Reading, dates: list[Date], accepted: list[Date]) -> None:
    reading.joined = _is_range(reading.text, dates)
    for date in dates:
        if any(date.gives(wanted) for wanted in accepted):
            if date.exchanged and reading.profile.language == "en":
                reading.near = True
            else:
                state = _limit_state(date.start, reading)
                mention = Mention(date.start, date.end, True, state=state, settled=date.asked_end)
                reading.mentions.append(mention)
        elif date.exchanged and reading.profile.language != "en":
            reading.rivals.append(Mention(date.start, date.end, False))
        elif date.exchanged and any(date.other().gives(wanted) for wanted in accepted):
            reading.near = True
        elif any(is_rival_date(date, wanted) for wanted in accepted) and not any(
            (date.year, date.month, date.day) == (asked.year, asked.month, asked.day) for asked in reading.profile.dates
        ):
            reading.rivals.append(Mention(date.start, date.end, False))


def asked_ends(points: list[Point], reading: Reading) -> list[Point]:
    """The points of time without those ends of ranges that the question does not ask for: it asks when something
    begins, or when it ends."""
    begins, ends = (pattern.search(reading.profile.text) is not None for pattern in (ASKS_BEGIN, ASKS_END))
    if begins == ends:
        return points
    kept = list(points) if ends else [
        point for point in points if not UNTIL.search(reading.text[: point.start].casefold().rstrip())
    ]  # fmt: skip
    for one, other in pairwise(points):
        before = reading.text[: one.start].casefold().rstrip()
        if RANGE_OF_POINTS.fullmatch(reading.text[one.end : other.start]) and (not before or FROM.search(before)):
            asked, dropped = (one, other) if begins else (other, one)
            kept = [
                replace(point, asked_end=True) if point is asked else point for point in kept if point is not dropped
            ]
    return kept


def _is_range(text: str, dates: list[Date]) -> bool:
    """Whether two dates stand as the ends of a range, or as two of a kind: "between 14 and 16 August"."""
    return any(
        re.fullmatch(
            r"\s*(?:-|to|and|or|until|bis|und|oder|et|au|ou|y|o|al|e)\s*(?:the\s+|el\s+|le\s+|il\s+)?",
            text[one.end : other.start],
        )
        for one, other in pairwise(dates)
    )


def _find_times(reading: Reading) -> None:
    accepted = [value.time for value in reading.profile.accepted if value.time]
    spoken = spoken_times(reading.text, reading.profile.language)
    digital = [
        time for time in find_times(reading.text) if not any(each.start <= time.start < each.end for each in spoken)
    ]
    times = ends_of(sorted([*digital, *spoken], key=lambda time: time.start))
    times = asked_ends(times, reading)
    right = [any(time.gives(wanted) for wanted in accepted) for time in times]
    for time, is_right in zip(times, right, strict=True):
        state = _limit_state(time.start, reading) if is_right else "stated"
        mention = Mention(time.start, time.end, is_right, state=state, settled=time.asked_end)
        (reading.mentions if is_right else reading.rivals).append(mention)
    for (one, other), (is_one, is_other) in zip(pairwise(times), pairwise(right), strict=True):
        gap = reading.text[one.end : other.start].casefold()
        between = cues.BETWEEN.search(reading.text[: one.start].casefold().rstrip()[-40:]) is not None
        if is_one != is_other and (OR_OF_TIMES.fullmatch(gap) or (between and AND_OF_TIMES.fullmatch(gap))):
            reading.joined = True


def _limit_state(start: int, reading: Reading) -> str:
    """How a date or time is meant by the words before it, where the question asks for the last or first one: "after"
    denies it, and "not after" is such a limit."""
    plain = " ".join(token.key for token in reading.tokens[-400:] if token.end <= start)[-60:]
    if is_beyond(reading.profile.text, plain, of_time=True):
        return "denied"
    return "limit" if is_kept_within(reading.profile.text, plain) else "stated"


def _find_numbers(question: Question, reading: Reading, dates: list[Date]) -> None:
    profile = reading.profile
    silent = [(part.tokens[0].start, part.tokens[-1].end) for part in reading.segments if part.silent]
    numbers = ends_of(scan_numbers(reading.text, profile.language))
    numbers = [number for number in numbers if not any(start <= number.start < end for start, end in silent)]
    inside = [date for date in dates if date.month is not None and (date.day is not None or date.year is not None)]
    numbers = [number for number in numbers if not any(date.start <= number.start < date.end for date in inside)]
    accepted = near_numbers(question)
    wanted = [near.number for near in accepted]
    bare_year = [near for near in accepted if not near.number.measure and is_year(near.number)]
    for date in inside:
        if bare_year and date.year is not None:
            is_right = any(near.holds(Fraction(date.year)) for near in bare_year)
            (reading.mentions if is_right else reading.rivals).append(Mention(date.start, date.end, is_right))
    right_ones = [number for number in numbers if accepts_value(number, question, profile)]
    pairs = joined_numbers(numbers, reading.text)
    named = [number.value for number in profile.numbers]
    nouns = _with_asked_noun(numbers, reading)
    for number in numbers:
        if _is_reference(number, reading, profile):
            continue
        if number not in right_ones and REST.search(reading.text[: number.start].casefold()):
            continue
        if number not in right_ones and OF_THEM.match(reading.text, number.end):
            continue
        if number in right_ones and _counts_something_else(number, profile):
            continue
        if _is_of_another_noun(number, nouns, reading) or is_of_other_stuff(number, question.question):
            continue
        if number in right_ones:
            if not number.sure and not _stands_alone(number, reading):
                continue
            mention = Mention(number.start, number.end, True, unit=number.unit or number.noun)
            reading.mentions.append(mention)
            mention.state = _number_state(number, pairs, right_ones, reading)
            mention.settled = mention.state == "stated" and _is_most(number, reading)
        elif _nearly_accepted(number, accepted, profile):
            reading.near = True
        elif number.value in named and not _is_joined(number, pairs, right_ones):
            named.remove(number.value)
        elif _is_aside(number, reading):
            continue
        elif is_rival_number(number, wanted, right_ones, profile):
            rival = Mention(number.start, number.end, False, unit=number.unit or number.noun)
            rival.state = _number_state(number, pairs, right_ones, reading)
            reading.rivals.append(rival)
    for left, other, how in pairs:
        if how == "joined" and (left in right_ones) != (other in right_ones):
            second = other if left in right_ones else left
            if is_rival_number(second, wanted, right_ones, profile) and _same_sort(left, other):
                reading.joined = True


def _counts_something_else(number: Number, profile: Profile) -> bool:
    """Whether "64 pages" is given where the question asks how many lockers there are."""
    asked = profile.counted
    if not asked or not number.noun or len(number.noun) < 4 or number.noun in cues.FILLER or number.in_words:
        return False
    return stem(number.noun) != stem(asked) and number.noun in NOT_COUNTED and stem(number.noun) not in profile.stems


def _with_asked_noun(numbers: list[Number], reading: Reading) -> list[Number]:
    """The numbers that stand at the question's noun: "36 seats" for "how many seats", "platform 9" for "which"."""
    profile = reading.profile
    found = []
    for number in numbers if profile.counted or profile.labelled else []:
        before, after = _around(number, reading)
        counted = profile.counted and any(stem(key) == stem(profile.counted) for key in after)
        if counted or (profile.labelled and before == profile.labelled):
            found.append(number)
    return found


def _is_of_another_noun(number: Number, nouns: list[Number], reading: Reading) -> bool:
    """Whether a number counts or numbers another thing, where one stands at the question's noun."""
    if not nouns or number in nouns or number.measure:
        return False
    before, after = _around(number, reading)
    profile = reading.profile
    counts = bool(after) and after[0] not in cues.FILLER | VERBS | LINKS | BREAKS | cues.PRONOUNS | NEUTRAL_NOUNS
    counts = counts and after[0].isalpha() and stem(after[0]) not in {stem(key) for key in (profile.counted,) if key}
    label = (
        before not in cues.FILLER | VERBS | LINKS | ANDS | BREAKS | cues.ORS and before.isalpha() and len(before) > 3
    )
    label = label and (before in LABELS or not after or (before not in NEUTRAL_NOUNS and profile.labelled != ""))
    return (counts or label) and any(
        "\n" not in number.text[min(number.end, each.end) : max(number.start, each.start)] for each in nouns
    )


def _is_aside(number: Number, reading: Reading) -> bool:
    """Whether a number counts another thing behind a preposition: "in 3 matches" for "how many goals"."""
    before, after = _around(number, reading)
    counted = reading.profile.counted
    if not counted or before not in {"in", "over", "across", "per", "during"} or not after or number.measure:
        return False
    known = cues.FILLER | VERBS | cues.PRONOUNS | NEUTRAL_NOUNS
    return after[0].isalpha() and after[0] not in known and stem(after[0]) != stem(counted)


def _around(number: Number, reading: Reading) -> tuple[str, list[str]]:
    """The word before a number, and up to three behind it, as far as a mark or a preposition."""
    tokens = reading.tokens
    first = next((index for index, token in enumerate(tokens) if token.end > number.start), len(tokens))
    last = next((index for index, token in enumerate(tokens) if token.start >= number.end), len(tokens))
    if number.noun and last < len(tokens) and tokens[last].start > number.end + 1:
        last = next((index for index, token in enumerate(tokens) if token.start > number.start), len(tokens))
    before = tokens[first - 1].key if first and first < len(tokens) and tokens[first].gap in (" ", " #") else ""
    after: list[str] = []
    for token in tokens[last : last + 3]:
        if (
            token.gap.strip() not in ("", "-")
            or "\n" in token.gap
            or token.key in LINKS | ANDS | BREAKS | cues.PRONOUNS
            or token.text[0].isdigit()
        ):
            break
        after.append(token.key)
    return before, after


NEUTRAL_NOUNS = words("neutral_nouns")
LABELS = words("labels")
NOT_COUNTED = words("not_counted")


def _same_sort(left: Number, right: Number) -> bool:
    if left.measure and right.measure:
        return left.measure == right.measure
    nouns = {
        noun
        for noun in (left.noun, right.noun)
        if noun and noun not in cues.FILLER and noun not in cues.ORS | {"and", "but"}
    }
    return len(nouns) < 2


def _is_joined(number: Number, pairs: list[tuple[Number, Number, str]], right: list[Number]) -> bool:
    return any((number is one and other in right) or (number is other and one in right) for one, other, _ in pairs)


def _number_state(
    number: Number, pairs: list[tuple[Number, Number, str]], right: list[Number], reading: Reading
) -> str:
    for left, other, how in pairs:
        if how == "range" and number in (left, other):
            changed = CHANGED_FROM.search(reading.text[max(0, left.start - 40) : left.start].casefold())
            return "range" if changed is None else "stated" if number is other else "denied"
    before, after = reading.text[: number.start], reading.text[number.end :]
    plain = " ".join(token.key for token in reading.tokens[-400:] if token.end <= number.start)[-60:]
    follows = " ".join(token.key for token in reading.tokens if token.start >= number.end)[:40]
    if after.lstrip()[:1].isalpha() and cues.RELATIVE.search(follows):
        return "denied"
    if is_beyond(reading.profile.text, plain):
        return "denied"
    if not reading.profile.asks_bound:
        same_clause = before.rstrip()[-1:] not in (",", ".", ";", ":", "!", "?")
        if _is_most(number, reading):
            return "stated"
        starts_from = plain == "from" and not is_year(number)
        if (same_clause and (starts_from or cues.BOUND_BEFORE.search(plain))) or cues.SIGN_BOUND.search(before[-3:]):
            return "bound"
        bound = cues.BOUND_AFTER.search(follows)
        of_the_next = bound is not None and NEXT_NUMBER.match(follows[bound.end() :]) is not None
        if after[:1] == "+" or (bound and not of_the_next and after.lstrip()[:1] not in (".", "!", "?", ";")):
            return "bound"
        if after[:2].strip()[:1] == "±":
            return "bound"
    out_of = reading.text[number.end : number.end + 16]
    if not number.measure and _is_out_of(out_of) and not reading.profile.numbers:
        return "denied"
    return "stated"


def _is_most(number: Number, reading: Reading) -> bool:
    """Whether a number is "up to 50" where the question asks how many there may be."""
    plain = " ".join(token.key for token in reading.tokens[-400:] if token.end <= number.start)[-60:]
    return is_capacity(reading.profile.text) and UP_TO.search(plain) is not None


def _is_out_of(text: str) -> bool:
    """Whether a number is followed by "of 10": then it is a part of a count."""
    words = text.casefold().split()
    if words[:2] == ["out", "of"]:
        return True
    return len(words) > 1 and words[0] == "of" and words[1][:1].isdigit()


def _stands_alone(number: Number, reading: Reading) -> bool:
    """Whether "one" or "second" is all that a sentence says, or follows a verb at its end."""
    for segment in reading.segments:
        if segment.tokens[0].start <= number.start < segment.tokens[-1].end:
            after = [token for token in segment.tokens if token.start >= number.end]
            before = [token for token in segment.tokens if token.end <= number.start]
            return not after or (not before and len(after) <= 3) or after[0].key in reading.profile.keys
    return False


def _is_reference(number: Number, reading: Reading, profile: Profile) -> bool:
    """Whether a number is that of a page or a section, which the question does not ask for."""
    before = next((token for token in reversed(reading.tokens) if token.end <= number.start), None)
    if before is None or before.key in profile.keys or not cues.REFERENCE.fullmatch(before.key):
        return False
    gap = reading.text[before.end : number.start]
    return gap.strip(" .") == ""


def _nearly_accepted(number: Number, accepted: list[Near], profile: Profile) -> bool:
    for near in accepted:
        if (
            number.exchanged is not None
            and near.holds(number.exchanged)
            and (not number.measure or number.measure == near.number.measure)
        ):
            return True
        if near.number.measure and number.measure and number.measure != near.number.measure:
            amount = same_amount(number, near.number)
            if (
                amount is not None
                and near_conversion(amount, near.number.value)
                and _within_rounding(number, near.number, amount)
            ):
                return True
    return False


def _within_rounding(number: Number, wanted: Number, amount: Fraction) -> bool:
    """Whether the accepted amount, in the answer's unit and rounded as the answer is, is the answer's."""
    if amount == 0 or number.value == 0 or (number.measure and number.measure.dimension.startswith("°")):
        return False
    exact = wanted.value * number.value / amount
    digits = number.text[number.start : number.end].replace(",", "").split(" ")[0].partition(".")[2]
    places = len([digit for digit in digits if digit.isdigit()])
    return abs(exact - number.value) * 2 <= Fraction(1, 10**places)
