"""Where an answer names an accepted value, and the answer taken apart."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from evaluation.grading.values import cues
from evaluation.grading.values.alike.inflections import same_word
from evaluation.grading.values.cues import words
from evaluation.grading.values.profile import Accepted, Profile
from evaluation.grading.values.segments import VERBS, Segment, Token

MODIFIERS = words("modifiers")


CLASS_NOUNS = words("class_nouns")


COMPANY_FORMS = words("company_forms")


ROMAN = re.compile(r"[ivx]+|\d+")


@dataclass
class Mention:
    """A value in an answer: where it is, whether it is an accepted one, and how it is meant.

    `score`: how much it is where the answer is: 4 behind "the answer is", 3 where the question's words say so, 2 in a
    sentence of its own, less elsewhere. `state`: "stated", "denied", "unsure" or "asked".
    """

    start: int
    end: int
    accepted: bool
    segment: int = -1
    first: int = 0
    last: int = 0
    state: str = "stated"
    score: float = 0.0
    leads: bool = True
    """It is what the clause says, and no part of what the clause is about."""
    now: bool = False
    """Its clause speaks of today."""
    unit: str = ""
    cap: float = 9.0
    named: bool = False
    """It is a name or a code."""
    settled: bool = False
    """It is stated, whatever the words around it: the end of a range that is asked for, "up to 50" for how many may."""


def find_words(tokens: list[Token], accepted: Accepted, profile: Profile) -> list[Mention]:
    """Every place at which the words of an accepted value stand, and not as a part of a longer name."""
    wanted = accepted.tokens
    found = []
    for index in range(len(tokens) if wanted else 0):
        length = _matches(tokens, index, accepted)
        if length and _is_whole(tokens, index, index + length, accepted, profile):
            found.append(Mention(tokens[index].start, tokens[index + length - 1].end, True))
    return found


def _matches(tokens: list[Token], index: int, accepted: Accepted) -> int:
    """How many words of the answer from here on are the value; 0 where they are not."""
    wanted = accepted.tokens
    skipped = 0
    for offset, value in enumerate(wanted):
        at = index + offset + skipped
        if offset and at + 1 < len(tokens) and tokens[at].key in ("a", "an", "the") and value.key != tokens[at].key:
            is_extra = tokens[at].gap == " " and tokens[at].text.islower() and not accepted.is_code
            skipped, at = skipped + is_extra, at + is_extra
        if at >= len(tokens):
            return _squeezed(tokens, index, accepted)
        token = tokens[at]
        if not _same(token, value, accepted, offset == len(wanted) - 1):
            return _squeezed(tokens, index, accepted) if offset == 0 or len(wanted) <= 3 else 0
        if offset and (token.gap != value.gap and not _same_gap(token, value)):
            return 0
    return len(wanted) + skipped


def _same(token: Token, value: Token, accepted: Accepted, is_last: bool) -> bool:
    if token.key == value.key or token.key == value.alt or token.alt == value.key:
        return True
    if NUMERALS.get(token.key, token.key) == NUMERALS.get(value.key, value.key):
        return True
    if token.capital and SHORT_NAMES.get(token.key) == value.key:
        return True
    if len(value.key) > 2 and value.key[0] == "v" and value.key[1].isdigit() and token.key == value.key[1:]:
        return True
    if same_word(token.key, value.key):
        return True
    if is_last and token.key == value.key + "s" and value.key.endswith("day"):
        return True
    if not is_last or accepted.is_name or accepted.is_code or len(value.key) < 4 or not value.key.isalpha():
        return False
    return token.key in (value.key + "s", value.key + "es") or (value.key.endswith("s") and token.key == value.key[:-1])


def _same_gap(token: Token, value: Token) -> bool:
    """Between words a space, a hyphen and a comma are one; between digits a hyphen is not."""
    if token.text[0].isdigit() and value.gap.strip() in ("-", "/", ":"):
        return token.gap.strip() == value.gap.strip()
    if "\n" in token.gap or any(mark in token.gap for mark in "!?;()¦"):
        return value.gap.strip() == token.gap.strip()
    if "." in token.gap or ":" in token.gap:
        return "." in value.gap or value.gap.strip() == token.gap.strip() or token.gap == ". "
    if "/" in token.gap:
        return "/" in value.gap or "-" in value.gap
    return True


def _squeezed(tokens: list[Token], index: int, accepted: Accepted) -> int:
    """ "email" for "e-mail", and the other way round."""
    whole = "".join(value.key for value in accepted.tokens)
    if accepted.is_code and len(whole) >= 3 and tokens[index].key == whole and len(accepted.tokens) == 2:
        return 1 if whole[len(accepted.tokens[0].key) - 1].isdigit() != accepted.tokens[1].key[0].isdigit() else 0
    if len(whole) < 5 or not whole.isalpha() or len(accepted.tokens) > 3:
        return 0
    hyphens = len(accepted.tokens) == 1 or any(value.gap in ("-", "") for value in accepted.tokens[1:])
    joined = ""
    for length in range(1, 4):
        if index + length > len(tokens):
            return 0
        token = tokens[index + length - 1]
        if (length > 1 and token.gap not in ("-", " ")) or (length > 1 and token.gap == " " and not hyphens):
            return 0
        joined += token.key
        if joined == whole and (length > 1 or hyphens):
            return length if length == 1 or any(each.gap == "-" for each in tokens[index + 1 : index + length]) else 0
        if not whole.startswith(joined):
            return 0
    return 0


def _is_whole(tokens: list[Token], first: int, end: int, accepted: Accepted, profile: Profile) -> bool:
    before = tokens[first - 1] if first else None
    after = tokens[end] if end < len(tokens) else None
    gap_before = tokens[first].gap
    if (
        before
        and gap_before in ("-", "_", "'", ".", ":", "@", "\\")
        and before.key not in ("ex",)
        and len(before.text) > 1
    ):
        return False
    if (
        before
        and gap_before == "/"
        and before.key not in profile.keys
        and (end >= len(tokens) or tokens[first].text.islower())
    ):
        pass
    if (
        after
        and after.gap in ("-", "_", ".", ":", "@", "\\", "=")
        and after.key not in ("based", "like", "style", "hand", "handed", "side", "sided")
    ):
        return False
    if after and after.gap in ("+", "#", "++", "%", " %"):
        return False
    if not accepted.is_name and not accepted.is_code:
        return True
    return not (
        _extends_before(before, gap_before, first, accepted, profile) or _extends_after(after, accepted, profile)
    )


def _extends_before(before: Token | None, gap: str, first: int, accepted: Accepted, profile: Profile) -> bool:
    if before is None or gap != " " or before.key in profile.keys:
        return False
    if before.key in MODIFIERS and (
        before.capital
        or accepted.tokens[0].text.islower()
        or before.text.isupper()
        or (before.text.islower() and before.key in ("south", "north", "new"))
    ):
        return True
    if not before.capital or before.key in CLASS_NOUNS or before.key in cues.FILLER or before.key in cues.INTERJECTIONS:
        return False
    if (
        before.key.endswith("ly")
        or profile.language == "de"
        or profile.asks_who
        or before.key in VERBS
        or before.key in cues.PRONOUNS
    ):
        return False
    return (first > 1 and not any(mark in before.gap for mark in ".!?\n:¦")) or (
        len(before.key) > 3 and before.key not in STARTS
    )


def _extends_after(after: Token | None, accepted: Accepted, profile: Profile) -> bool:
    if (
        after is None
        or after.gap != " "
        or after.key in profile.keys
        or after.key in COMPANY_FORMS
        or after.key in CLASS_NOUNS
    ):
        return False
    if after.key in VERBS or after.key in cues.FILLER or after.key in cues.PRONOUNS:
        return False
    if (
        ROMAN.fullmatch(after.key)
        and after.key != "i"
        and not accepted.is_code
        and (after.capital or after.key.isdigit())
    ):
        return not after.key.isdigit() or len(after.key) < 4
    if accepted.is_code and len(after.text) == 1 and after.text.isupper():
        return True
    return after.capital and profile.language != "de" and not after.text[0].isdigit()


NUMERALS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}


SHORT_NAMES = dict(pair.split("=") for pair in words("short_names"))
STARTS = words("starts")


MOST = 24
"""Of more mentions than this the first and the last are read: a model in a loop repeats its answer to the limit."""


def ends_of(found: list[Any]) -> list[Any]:
    """The first and the last of many."""
    return found if len(found) <= MOST else [*found[: MOST // 2], *found[-MOST // 2 :]]


def place(mention: Mention, segments: list[Segment]) -> bool:
    """Note in which clause a mention stands, and at which of its words."""
    for number, segment in enumerate(segments):
        inside = [
            index
            for index, token in enumerate(segment.tokens)
            if token.start < mention.end and mention.start < token.end
        ]
        if inside:
            mention.segment, mention.first, mention.last = number, inside[0], inside[-1] + 1
            return True
    return False


def near_conversion(value: Fraction, accepted: Fraction) -> bool:
    """Whether an amount in another unit is the accepted one up to rounding."""
    return abs(value - accepted) * 20 <= abs(accepted)


@dataclass
class Reading:
    """An answer taken apart, and the values found in it."""

    text: str
    tokens: list[Token]
    segments: list[Segment]
    profile: Profile
    mentions: list[Mention]
    rivals: list[Mention]
    joined: bool = False
    near: bool = False
    """A value that is accepted in one of two readings, or only up to rounding."""
