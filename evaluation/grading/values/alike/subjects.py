"""What a clause says an accepted value of, where that is another thing than the question's.

"The gutters are slate" says nothing of the roof, and "white walls and a green ceiling" no green of the walls. Whether
two nouns name the same thing ("the covering", "the roof") rules cannot know: where a clause has a subject of its own
and the answer never names the question's, the answer is unclear. This is said of values in small letters alone, such as
colours and materials: of numbers and names most other nouns are another word for the same ("The runtime is 10 hours").
"""

import re
from itertools import pairwise

from evaluation.grading.values import cues
from evaluation.grading.values.cues import words
from evaluation.grading.values.meaning import is_of_another, overlap
from evaluation.grading.values.mentions import Mention, Reading
from evaluation.grading.values.profile import PREPOSITIONS, Profile, stem
from evaluation.grading.values.segments import ANDS, BREAKS, LINKS, VERBS, Segment

DETERMINERS = words("determiners")
GENERIC = frozenset(stem(word) for word in words("generic_nouns"))
MAX_NOUNS = 3
IS_NAMED = re.compile(
    r"^(?:only |merely |also )*(?:(?:is|are|was|were|gets?) (?:\w+ly |only )?"
    r"(?:mentioned|named|discussed|described|listed)|appears?|comes up)\b"
)
SAYS_NOT = re.compile(
    rf"{cues.NOT} (?:\w+ ){{0,2}}(?:say|state|specify|mention|tell|name|indicate|clear|stated|specified)\b"
)


def read_subject(reading: Reading) -> str:
    """Whether a value that is stated is said of the question's subject, as far as words show: "right", "wrong" where
    all of its mentions are said of another one, "unclear" where they may be."""
    stated = [mention for mention in reading.mentions if mention.state == "stated"]
    others = [mention for mention in stated if describes_another(mention, reading.segments, reading.profile)]
    if stated and len(others) == len(stated):
        return "wrong"
    unclear = [mention for mention in stated if is_of_another_subject(mention, reading.segments, reading.profile)]
    return "unclear" if stated and len(unclear) + len(others) >= len(stated) else "right"


def is_of_another_subject(mention: Mention, segments: list[Segment], profile: Profile) -> bool:
    """Whether the clause begins with a noun of its own, and no noun of the question is in the answer."""
    if is_of_another(mention, segments, profile):
        return True
    asked = _asked_nouns(profile)
    if profile.language != "en" or not asked or not _is_described(profile):
        return False
    if any(stem(token.key) in asked for segment in segments for token in segment.tokens):
        return False
    segment = segments[mention.segment]
    before = segment.keys[: mention.first]
    if not before or before[0] not in DETERMINERS:
        return False
    verb = next((index for index in range(1, len(before)) if _is_verb(before, index, profile)), 0)
    nouns = before[1:verb]
    if not 0 < len(nouns) <= MAX_NOUNS or not all(_is_plain(key, profile) for key in nouns):
        return False
    return stem(nouns[-1]) not in GENERIC


def describes_another(mention: Mention, segments: list[Segment], profile: Profile) -> bool:
    """Whether the value stands before a noun of its own, and the question's noun behind another word: "white walls and
    a green ceiling" for the walls' colour."""
    segment, asked = segments[mention.segment], _asked_nouns(profile)
    after = segment.tokens[mention.last : mention.last + 1]
    if profile.language != "en" or not asked or not _is_described(profile) or not after or after[0].gap != " ":
        return False
    if not _is_plain(after[0].key, profile) or after[0].key.endswith("ly") or stem(after[0].key) in GENERIC:
        return False
    for part in segments:
        if part.sentence != segment.sentence:
            continue
        for left, right in zip(part.tokens, part.tokens[1:], strict=False):
            is_value = part is segment and mention.start <= left.start < mention.end
            if stem(right.key) in asked and right.gap == " " and not is_value and _is_plain(left.key, profile):
                return True
    return False


def is_only_named(stated: list[Mention], reading: Reading) -> bool:
    """Whether a value is "mentioned, but the text does not say which ..."."""
    segments = reading.segments
    return bool(stated) and all(
        IS_NAMED.match(" ".join(segments[mention.segment].keys[mention.last :]))
        and any(
            SAYS_NOT.search(" ".join(part.keys)) and (overlap(part.keys, reading.profile) > 0.3 or len(part) <= 6)
            for part in segments[mention.segment + 1 : mention.segment + 4]
        )
        for mention in stated
    )


def _asked_nouns(profile: Profile) -> set[str]:
    """What stands behind "the", "a", "your" in the question, without its ending."""
    keys = profile.text.split()
    return {
        stem(noun)
        for determiner, noun in pairwise(keys)
        if determiner in DETERMINERS and noun.isalpha() and len(noun) > 2 and noun not in cues.FILLER - cues.KINDS
    }


def _is_described(profile: Profile) -> bool:
    """Whether words in small letters are asked for."""
    return all(
        value.tokens and not (value.number or value.date or value.time or value.is_name or value.is_code)
        for value in profile.accepted
    )


def _is_verb(keys: list[str], index: int, profile: Profile) -> bool:
    """Whether a word behind a noun is a verb: a known one, one of the question's, or "runs" before "on"."""
    key = keys[index]
    if key in VERBS or key == "'s" or (stem(key) in profile.stems and key not in profile.keys):
        return True
    behind = keys[index + 1] if index + 1 < len(keys) else ""
    return index > 1 and key.endswith("s") and not key.endswith("ss") and behind in PREPOSITIONS


def _is_plain(key: str, profile: Profile) -> bool:
    """Whether a word says something, and is none of the question's."""
    return (
        key.isalpha()
        and len(key) > 2
        and key not in profile.keys
        and stem(key) not in profile.stems
        and key not in cues.FILLER | cues.PRONOUNS | cues.INTERJECTIONS | cues.LIGHT
        and key not in VERBS | BREAKS | ANDS | LINKS | DETERMINERS
    )
