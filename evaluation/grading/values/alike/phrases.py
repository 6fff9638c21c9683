"""Phrases of which an answer has the words in another order or another form: "the pitch was waterlogged".

    read_phrase(tokens, ["waterlogged pitch"])     # "right"

All words of content close together, with no word that denies, are the phrase; most of them may be, and are unclear.
"""

import re
from functools import lru_cache

from evaluation.grading.values import cues
from evaluation.grading.values.profile import Profile, stem
from evaluation.grading.values.segments import ANDS, BREAKS, LINKS, VERBS, Segment, value_tokens
from evaluation.questions.languages import language_of
from evaluation.questions.numbers import parse_number, scan_numbers

MIN_WORDS, MAX_WORDS = 2, 6
MOST = 0.7


def read_phrase(segments: list[Segment], values: list[str], profile: Profile) -> str:
    """ "right", "unclear", or "" where an answer has too few of the words of every value."""
    found = ""
    for value in values:
        wanted = _content(value)
        if not MIN_WORDS <= len(wanted) <= MAX_WORDS:
            continue
        asked = set(profile.stems)
        if not wanted - asked:
            continue
        for segment in segments:
            if segment.silent or segment.asks:
                continue
            found = max(found, _in_clause(segment, wanted), key=["", "unclear", "right"].index)
    return found


def read_count(text: str, values: list[str], question: str) -> str:
    """ "right" where the answer is the number of an accepted "600 requests" alone, "unclear" where it has that number
    and no other, else ""."""
    language = language_of(question)
    numbers = [number for number in scan_numbers(text, language) if number.sure]
    if len(numbers) != 1:
        return ""
    given = numbers[0]
    for value in values:
        wanted = parse_number(value, language)
        if wanted is None or not wanted.noun or wanted.padded or wanted.value != given.value or given.measure:
            continue
        rest = (text[: given.start] + text[given.end :]).strip(" .")
        return "right" if not rest else "unclear" if not given.noun or given.noun in cues.FILLER else ""
    return ""


@lru_cache(maxsize=8_192)
def _content(value: str) -> frozenset[str]:
    """The stems of a phrase's words of content; none where it has a name or a number in it."""
    tokens = value_tokens(value)
    if any(token.capital or re.search(r"\d", token.text) for token in tokens):
        return frozenset()
    return frozenset(stem(token.key) for token in tokens if token.key not in _small())


@lru_cache(maxsize=1)
def _small() -> frozenset[str]:
    """Words that say nothing of a thing: articles, prepositions, verbs like "is"."""
    more = frozenset(
        ["a", "an", "the", "to", "with", "without", "at", "into", "onto", "being", "been", "not", "no", "it"]
    )
    return cues.FILLER | cues.PRONOUNS | LINKS | ANDS | BREAKS | VERBS | more


def _in_clause(segment: Segment, wanted: frozenset[str]) -> str:
    stems = [stem(key) for key in segment.keys]
    places = [index for index, word in enumerate(stems) if word in wanted]
    given = {stems[index] for index in places}
    if len(given) < MOST * len(wanted):
        return ""
    text = " ".join([*segment.keys, "§"])
    if (
        cues.DENIED_BEFORE.search(text)
        or cues.HEDGED.search(text)
        or cues.BELIEVED.search(text)
        or cues.PAST.search(text)
    ):
        return ""
    between = [key for index, key in enumerate(segment.keys) if places[0] < index < places[-1] and index not in places]
    foreign = [key for key in between if key not in _small()]
    if cues.ORS.intersection(between):
        return ""
    if given == wanted and len(foreign) <= 1 and not ANDS.intersection(between):
        return "right"
    return "unclear"
