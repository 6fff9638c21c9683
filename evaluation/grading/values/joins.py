"""Whether a value is one of several that an answer gives: "Lyon and Paris", "4 or 5"."""

import re
from itertools import pairwise

from evaluation.grading.values import cues
from evaluation.grading.values.cues import words
from evaluation.grading.values.meaning import is_filler
from evaluation.grading.values.mentions import STARTS, Mention
from evaluation.grading.values.profile import CODE_LIKE, PREPOSITIONS, Accepted, Profile
from evaluation.grading.values.rivals import NOT_AN_ITEM
from evaluation.grading.values.segments import VERBS, Segment, Token
from evaluation.questions.numbers import Number

COUNTRIES = words("countries")


PARTS_OF_COUNTRIES = words("parts_of_countries")


ITEM_STARTS = words("item_starts")
NOT_AFTER_OR = words("not_after_or")
OBJECTS = words("objects")
NOT_DEEDS = PREPOSITIONS | words("not_deeds")
JOINS = cues.ORS | {"and", "und", "et", "y", "e", "и", "i", "en", "och", "&", "plus"}


def is_joined_to_another(
    mention: Mention, segments: list[Segment], others: list[Mention], profile: Profile, value: Accepted
) -> bool:
    """Whether a mention is one of several values: "Lyon and Paris", "Paris/Lyon", "Lyon, Marseille, Paris"."""
    segment = segments[mention.segment]
    tokens = segment.tokens
    limit = len(value.tokens) + 1
    rest = tokens[mention.last :]
    if rest and "/" in rest[0].gap and rest[0].key not in profile.keys:
        return True
    if mention.first and "/" in tokens[mention.first].gap and tokens[mention.first - 1].key not in profile.keys:
        return True
    if (
        rest
        and (rest[0].key in JOINS or "&" in rest[0].gap)
        and _is_item(rest[1:] if rest[0].key in JOINS else rest, value, limit, profile, rest[0].key in cues.ORS)
    ):
        return True
    before = tokens[: mention.first]
    while before and before[-1].key in cues.FILLER and before[-1].key not in JOINS:
        before = before[:-1]
    joined_before = before and (before[-1].key in JOINS or (mention.first and "&" in tokens[mention.first].gap))
    if joined_before:
        or_ = before[-1].key in cues.ORS
        left = before[:-1] if before[-1].key in JOINS else before
        if left and _ends_with_item(left, value, profile, or_):
            return True
        if not left and or_ and mention.segment:
            return not others or True
    return _is_listed(mention, segments, value, limit, profile)


def _is_listed(mention: Mention, segments: list[Segment], value: Accepted, limit: int, profile: Profile) -> bool:
    segment = segments[mention.segment]
    if segment.bracketed and mention.first == 0 and mention.last == len(segment):
        return False
    number = mention.segment + 1
    items: list[Segment] = []
    if mention.last == len(segment):
        while (
            number < len(segments)
            and segments[number].sentence == segment.sentence
            and segments[number].mark in (",", ";", "(")
        ):
            part = segments[number]
            if part.bracketed:
                number += 1
                continue
            head = part.tokens[1:] if part.keys[0] in JOINS else part.tokens
            if not _is_item(head, value, limit, profile, part.keys[0] in cues.ORS, is_list=True):
                break
            items.append(part)
            number += 1
    before = mention.segment - 1
    alone = is_filler(segment.keys[: mention.first], profile) and not any(key in VERBS for key in segment.keys)
    if (
        alone
        and segment.mark in (",", ";")
        and before >= 0
        and segments[before].sentence == segment.sentence
        and not segments[before].bracketed
    ):
        left = segments[before].tokens
        if (
            left
            and _ends_with_item(left, value, profile, False)
            and segments[before].keys[-1] not in profile.keys
            and (mention.last == len(segment) or segment.keys[mention.last] in JOINS)
        ):
            earlier = segments[before]
            return not (
                earlier.mark == ""
                and any(key in ("unlike", "contrary", "not", "in", "with", "like") for key in earlier.keys[:1])
            )
    if not items:
        return False
    if len(items) == 1 and value.is_name:
        keys = [key for key in items[0].keys if key not in JOINS]
        if (
            items[0].mark == ","
            and len(keys) <= 2
            and all(key in COUNTRIES or key in PARTS_OF_COUNTRIES for key in keys)
            and not any(token.key in COUNTRIES for token in value.tokens)
        ):
            return False
    return True


def is_country_behind(name: Mention, mentions: list[Mention], segments: list[Segment]) -> bool:
    """Whether a name is the country that a place is in: "Graz, Austria"."""
    segment = segments[name.segment]
    return (
        segment.mark == ","
        and all(key in COUNTRIES for key in segment.keys)
        and any(
            mention.segment == name.segment - 1 and mention.last == len(segments[mention.segment])
            for mention in mentions
        )
    )


def names_another_place(mention: Mention, segments: list[Segment], profile: Profile) -> str:
    """What "Paris, Texas" is for Paris: "wrong" where the question names another place, else "unclear"."""
    after = segments[mention.segment + 1] if mention.segment + 1 < len(segments) else None
    if after is None or after.mark != "," or mention.last != len(segments[mention.segment]):
        return ""
    if (
        not after.keys
        or not all(key in PARTS_OF_COUNTRIES for key in after.keys)
        or any(key in profile.keys for key in after.keys)
    ):
        return ""
    return "wrong" if profile.names else "unclear"


def _is_item(
    tokens: list[Token], value: Accepted, limit: int, profile: Profile, is_or: bool, is_list: bool = False
) -> bool:
    tokens = list(tokens)
    apposition = is_list and not is_or and len(tokens) > 1 and tokens[0].key in ("a", "an") and tokens[0].text.islower()
    if apposition and value.text.split()[0].casefold() not in ("a", "an", "the"):
        return False
    while tokens and (
        tokens[0].key in ITEM_STARTS
        and not (value.is_name and not is_or and len(tokens) > 1 and tokens[0].key == "the")
    ):
        tokens = tokens[1:]
    if is_or and len(tokens) > 1 and tokens[0].key in PREPOSITIONS and tokens[1].key not in NOT_AFTER_OR:
        tokens = tokens[2:] if len(tokens) > 2 and tokens[1].key in cues.FILLER else tokens[1:]
    if not tokens or (len(tokens) > 1 and _is_deed(tokens)):
        return False
    head = tokens[0]
    if [token.key for token in tokens[: len(value.tokens)]] == [token.key for token in value.tokens]:
        return False
    if is_or and head.key in NOT_AFTER_OR:
        return False
    if (
        head.key.endswith("ing")
        and head.text.islower()
        and not any(token.key.endswith("ing") for token in value.tokens)
    ):
        return False
    if value.is_code and CODE_LIKE.fullmatch(head.text):
        return head.key not in profile.keys or is_or
    if value.is_name:
        plain = not head.capital and not CODE_LIKE.fullmatch(head.text)
        if plain and (
            (head.text.islower() and not all(token.text.islower() for token in tokens)) or not is_or or len(tokens) > 3
        ):
            return False
        if plain:
            return is_or
        if is_list and not is_or and any(not token.capital and token.key not in cues.FILLER for token in tokens[1:]):
            return False
        return (is_or or head.key not in profile.keys) and len(tokens) <= 6 and head.key not in cues.PRONOUNS
    if head.key in NOT_AN_ITEM or head.key in VERBS or (head.key in profile.keys and not is_or):
        return False
    return len(tokens) <= limit or (is_or and len(tokens) <= limit + 2)


def _is_deed(tokens: list[Token]) -> bool:
    """Whether words order a deed and list no thing: "pay the fee", "send it"."""
    return tokens[0].text.islower() and tokens[0].key not in OBJECTS | NOT_DEEDS and tokens[1].key in OBJECTS


def _ends_with_item(tokens: list[Token], value: Accepted, profile: Profile, is_or: bool) -> bool:
    last = tokens[-1]
    wanted = [token.key for token in value.tokens]
    if [token.key for token in tokens[-len(wanted) :]] == wanted or last.key in VERBS or last.key in cues.PRONOUNS:
        return False
    if is_or and (len(tokens) <= 2 or last.capital):
        return True
    if value.is_name:
        if value.is_code and CODE_LIKE.fullmatch(last.text):
            return True
        asked = last.key in profile.keys and not profile.offers
        return (
            last.capital
            and not asked
            and (last.key not in cues.INTERJECTIONS and last.key not in cues.FILLER and last.key not in STARTS)
        )
    plain = [token for token in tokens if token.key not in cues.FILLER]
    if is_or:
        return bool(plain)
    return (
        last.key not in profile.keys
        and last.key not in cues.FILLER
        and last.key not in cues.INTERJECTIONS
        and (len(plain) <= len(value.tokens) or any(token.key in VERBS for token in tokens[-3:-1]))
    )


def joined_numbers(numbers: list[Number], text: str) -> list[tuple[Number, Number, str]]:
    """Pairs of numbers that stand together: as a "range" ("4 to 5"), or "joined" ("4 or 5", "4, 5")."""
    pairs = []
    for left, right in pairwise(numbers):
        gap = text[left.end : right.start].casefold()
        if len(gap) > 24 or "\n" in gap:
            continue
        if cues.RANGE_GAP.fullmatch(gap) or (
            re.fullmatch(r"\s(?:and|und|et|y|e|и)\s", gap)
            and cues.BETWEEN.search(text[max(0, left.start - 40) : left.start].casefold().rstrip())
        ):
            pairs.append((left, right, "range"))
        elif re.fullmatch(
            r"\s*(?:,|/|;|&)\s*|\s*,?\s*(?:and|or|und|oder|et|ou|y|o|e|или|и|versus|vs\.?)\s+(?:(?:maybe|perhaps|even|possibly|the|a|about|rather)\s+)*",
            gap,
        ):
            pairs.append((left, right, "joined"))
    return pairs
