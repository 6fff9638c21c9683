"""Accepted values of several parts: ranges and lists, in whatever way an answer writes them.

    with_compounds(question, "from 30 % to 70 %")   # the question and the text, with the same word for both

A range or list that is equal to an accepted one becomes the same word in the answer and in the question ("qrange1"),
and other ranges become other words. So what is denied, hedged or one of several is read as for any other word.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from evaluation.grading.values.cues import FILLER, words
from evaluation.grading.values.segments import Token, tokens_of, value_tokens
from evaluation.questions.dates import find_times, parse_date
from evaluation.questions.languages import language_of
from evaluation.questions.numbers import Number, parse_number, scan_numbers
from evaluation.questions.question import Question
from evaluation.questions.words import plain_characters

Point = tuple[int, int, str, Fraction, Number | None]
Ends = tuple[str, Fraction, Fraction]
BEFORE = re.compile(
    r"(?:\b(?:from|between|anywhere between|anywhere from|von|zwischen|de|entre|desde|da|dalle|tra|fra|das|tussen|van|"
    r"at least|not below|no less than|от|mellan|mezi|między)|≥|>=)\s*(?:the )?[$€£]?\s*$",
    re.IGNORECASE,
)
GAP = re.compile(
    r"(?P<and>\s(?:and|und|et|y|e|en|i|och|a)\s)"
    r"|(?P<most>,?\s(?:and|but|und)\s(?:at most|no more than|not above|up to|höchstens)\s)|"
    r"(?P<closes>\s(?:and|und|et|y)\s(?:it\s)?(?:closes|ends|schließt|endet|ferme|cierra)(?:\s(?:at|um|à|a las?))?\s)"
    r"|(?P<rest>\s?(?:-|–|¦|bis zu|to|up to|through|till|until|bis|à|"
    r"al|alle|hasta|até|tot|до|do|a las|a|~|～|〜|至|から)\s?(?:the )?)",
    re.IGNORECASE,
)
OPENS = re.compile(r"\b(?:opens?|starts?|begins?|öffnet|ouvre|abre)(?:\s(?:at|um|à|a las?))?\s*$", re.IGNORECASE)
SEPARATORS = re.compile(r"\s*(?:[,;/+&]\s*(?:(?:and|und)\b)?|\b(?:and|und|et|y|e|en|och|og|и|i|sowie|plus)\b)\s*")
JOINS = words("list_joins")
HYPHENED = re.compile(r"\d+-\d+")
ASKS_CODE = re.compile(
    r"\b(?:numbers?|codes?|ids?|score|part|model|serial|result|phone|extension|reference|sku|numéro|número|numero)\b|nummer",
    re.IGNORECASE,
)
IN_ORDER = re.compile(r"\b(?:order|sequence|first|then|reihenfolge|zuerst|ordre|orden)\b", re.IGNORECASE)
BOTH = re.compile(r"^(?:both|either|sowohl)\s+", re.IGNORECASE)
MAX_LEAD = 2
"""Words that may stand before an item on its line."""
MAX_ITEMS, MAX_WORDS, MAX_BETWEEN = 8, 3, 3


@dataclass(frozen=True)
class Compounds:
    """A question with words in place of its ranges and lists."""

    question: Question
    ranges: dict[Ends, str]
    lists: dict[tuple[tuple[str, ...], ...], str]


def with_compounds(question: Question, text: str) -> tuple[Question, str]:
    """The question and an answer that is cleaned, with the same words for the same ranges and lists."""
    found = _compounds(question)
    if not found.ranges and not found.lists:
        return question, text
    if found.ranges:
        text = _with_words(text, found.ranges, language_of(question.question))
    for items, word in found.lists.items():
        text = _without_list(text, items, word, question)
    return found.question, text


@lru_cache(maxsize=8_192)
def _of_values(text: str, answers: tuple[str, ...]) -> tuple[dict[Ends, str], dict[tuple[tuple[str, ...], ...], str]]:
    language = language_of(text)
    ranges: dict[Ends, str] = {}
    lists: dict[tuple[tuple[str, ...], ...], str] = {}
    for answer in answers:
        plain = plain_characters(answer).strip()
        spans = list(find_ranges(plain, language))
        is_code = HYPHENED.fullmatch(plain) and ASKS_CODE.search(text)
        if not is_code and len(spans) == 1 and spans[0][0] == 0 and len(plain) - spans[0][1] <= 1:
            ranges.setdefault(spans[0][2], f"qrange{len(ranges) + 1}")
        elif items := _items(plain, text):
            lists.setdefault(items, f"qlist{len(lists) + 1}")
    return ranges, lists


def _compounds(question: Question) -> Compounds:
    if question.kind != "value":
        return Compounds(question, {}, {})
    ranges, lists = _of_values(question.question, question.answers)
    if not ranges and not lists:
        return Compounds(question, {}, {})
    answers = (*question.answers, *ranges.values(), *lists.values())
    return Compounds(question.model_copy(update={"answers": answers}), ranges, lists)


def find_ranges(text: str, language: str) -> Iterator[tuple[int, int, Ends]]:
    """Where in a text the ranges of numbers and times are, and their ends in the base unit."""
    times = find_times(text)
    points: list[Point] = [
        (time.start, time.start + len(text[time.start : time.end].rstrip()), "time", Fraction(time.minutes), None)
        for time in times
    ]
    for number in scan_numbers(text, language):
        if not any(start < number.end and number.start < end for start, end, *_ in points):
            points.append((number.start, number.end, _dimension(number), _amount(number), number))
    points.sort(key=lambda point: point[0])
    place = 0
    for one, other in pairwise(points):
        if one[0] < place:
            continue
        gap = GAP.fullmatch(text, one[1], other[0])
        begin = BEFORE.search(text, max(0, one[0] - 20), one[0])
        opens = OPENS.search(text, max(0, one[0] - 20), one[0])
        if gap is None or (gap["and"] and not begin) or (gap["most"] and not begin) or (gap["closes"] and not opens):
            continue
        ends = _ends(one, other)
        if ends is not None:
            place = other[1]
            yield begin.start() if begin else one[0], other[1], ends


def _ends(one: Point, other: Point) -> Ends | None:
    left, right = one[3], other[3]
    if one[2] != other[2]:
        if other[2] == "time" and one[4] is not None and one[2] == "" and 0 <= one[4].value <= 24:
            left = one[4].value * 60
        elif one[4] is not None and other[4] is not None and not one[4].measure and other[4].measure:
            left = other[4].measure.to_base(one[4].value)
        elif one[4] is not None and other[4] is not None and one[4].measure and not other[4].measure:
            right = one[4].measure.to_base(other[4].value)
            return (one[2], left, right) if left < right else None
        else:
            return None
    return (other[2], left, right) if left < right else None


def _dimension(number: Number) -> str:
    return number.measure.dimension if number.measure else ""


def _amount(number: Number) -> Fraction:
    return number.measure.to_base(number.value) if number.measure else number.value


def _with_words(text: str, ranges: dict[Ends, str], language: str) -> str:
    said = dict(ranges)
    for start, end, ends in reversed(list(find_ranges(text, language))):
        bare = [word for (_, low, high), word in ranges.items() if ends[0] == "" and (low, high) == ends[1:]]
        word = said.get(ends) or (bare[0] if bare else said.setdefault(ends, f"qrange{len(said) + 1}"))
        text = f"{text[:start]}{' ' if text[:start][-1:].isalnum() else ''}{word}{text[end:]}"
    return text


def _items(plain: str, question: str) -> tuple[tuple[str, ...], ...]:
    """The words of each item of a list, in one order; () where the value is none."""
    if IN_ORDER.search(question) or IN_ORDER.search(plain) or parse_number(plain) or parse_date(plain):
        return ()
    parts = [BOTH.sub("", part) for part in SEPARATORS.split(plain)]
    if not 2 <= len(parts) <= MAX_ITEMS or not all(parts):
        return ()
    items = [tuple(_key(token) for token in value_tokens(part)) for part in parts]
    items = [
        item[1:] if len(item) > 1 and item[0] in ("the", "a", "an", "der", "die", "das", "le", "la") else item
        for item in items
    ]
    if not all(0 < len(item) <= MAX_WORDS for item in items) or len(set(items)) < len(items):
        return ()
    return tuple(sorted(items))


def _key(token: Token) -> str:
    """A word's key; a capital letter alone keeps its case, so that "A" is no article."""
    return token.text if len(token.text) == 1 and token.text.isupper() else token.key


def _list_of_lines(text: str, items: tuple[tuple[str, ...], ...]) -> str:
    """What stands before a list with one item of the accepted list on each of its lines and no line more; "" where the
    text is no such list."""
    lines = [line for line in text.splitlines() if line.strip()]
    listed = lines[-len(items) :]
    before = lines[: -len(items)]
    if len(lines) < len(items) or len(before) > 1 or (before and not before[0].rstrip().endswith(":")):
        return ""
    left = set(items)
    for line in listed:
        keys = tuple(_key(token) for token in tokens_of(line))
        starts = range(min(len(keys), MAX_LEAD + 1))
        item = next((each for each in left if any(keys[at : at + len(each)] == each for at in starts)), None)
        if item is None:
            return ""
        left.remove(item)
    return "".join(f"{line}\n" for line in before) or " "


def _without_list(text: str, items: tuple[tuple[str, ...], ...], word: str, question: Question) -> str:
    """The text with a word in place of a list of just these items."""
    if by_line := _list_of_lines(text, items):
        return f"{by_line}{word}"
    tokens = tokens_of(text)
    keys = [_key(token) for token in tokens]
    asked = {token.key for token in value_tokens(question.question)}
    twice = {token.key for index, token in enumerate(tokens) if token.key in {each.key for each in tokens[:index]}}
    index = 0
    while index < len(tokens):
        left, place, between = set(items), index, 0
        start = end = -1
        while place < len(tokens) and left:
            item = next((each for each in left if tuple(keys[place : place + len(each)]) == each), None)
            if item is not None and not (start >= 0 and "-" in tokens[place].gap):
                left.remove(item)
                start, place, between = place if start < 0 else start, place + len(item), 0
                end = place
                continue
            key = tokens[place].key
            is_another = tokens[place].capital and key not in asked and key not in twice
            if start < 0 or is_another or between >= MAX_BETWEEN or not (
                key in JOINS or key in FILLER or key in asked or key in twice
            ) or any(mark in tokens[place].gap for mark in ".!?:"):  # fmt: skip
                break
            place, between = place + 1, between + 1
        if not left and end > start:
            return f"{text[: tokens[start].start]}{word}{text[tokens[end - 1].end :]}"
        index += 1
    return text
