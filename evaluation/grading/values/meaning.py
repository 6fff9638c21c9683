"""How an answer means a value that it names, and how much it stands where the answer is."""

import re

from evaluation.grading.values import cues
from evaluation.grading.values.cues import NOT, is_cue, words
from evaluation.grading.values.mentions import Mention
from evaluation.grading.values.profile import Profile, stem, topic_triples
from evaluation.grading.values.segments import ANDS, BREAKS, SUBORDINATE, VERBS, Segment

MAX_TAIL = 4
WINDOW = 60
"""How many words before and behind a value are looked at."""


def judge(mention: Mention, segments: list[Segment], profile: Profile) -> None:
    """Set how a mention is meant, and how much it stands where the answer is."""
    segment = segments[mention.segment]
    before, after = segment.keys[: mention.first][-WINDOW:], segment.keys[mention.last :][:WINDOW]
    masked = cues.NEUTRAL.sub(" ", " ".join([*before, "§", *after]))
    if profile.language == "pt":  # There "no" is "in the".
        masked = PORTUGUESE_IN.sub(" ", masked)
    mention.state = _state(mention, masked, segments, profile)
    beside = any(key in ("also", "another", "additionally") for key in before)
    if not mention.accepted and (beside or is_cue(cues.CONTEXT, masked, profile.cues)):
        mention.state = "denied"
    mention.score = _score(mention, before, after, segments, profile)
    mention.score -= min(0.3, 0.1 * sum(not _is_known(key, profile) for key in [*before, *after]))
    if segment.mark in SUBORDINATE and segment.keys[0] in SUBORDINATE:
        mention.score = min(mention.score, 1.0)
    if segment.bracketed:
        mention.score = min(mention.score, 1.0) / 2
    if is_cue(cues.NOW, masked, frozenset()):
        mention.score += 1.0
        mention.now = True
    if mention.accepted and mention.score < 4 and is_of_another(mention, segments, profile):
        mention.score = min(mention.score, 1.5)
    mention.score = min(mention.score, mention.cap)


def _is_known(key: str, profile: Profile) -> bool:
    return (
        key in cues.FILLER
        or key in cues.PRONOUNS
        or key in VERBS
        or key in profile.keys
        or stem(key) in profile.stems
        or (key in ("them", "him", "her", "and", "not", "but"))
    )


def _state(mention: Mention, masked: str, segments: list[Segment], profile: Profile) -> str:
    segment = segments[mention.segment]
    asked = profile.cues
    same = [part for part in segments if part.sentence == segment.sentence]
    if segment.silent:
        return "asked"
    if cues.SUPPOSED.search(masked) and is_cue(cues.SUPPOSED, masked, asked):
        return "asked"
    if VERSION_AFTER.search(masked) and NUMBERED.fullmatch("".join(segment.keys[mention.first : mention.last])):
        return "denied"
    for pattern in (cues.DENIED_BEFORE, cues.DENIED_AFTER, cues.BELIEVED):
        if is_cue(pattern, masked, asked):
            return "denied"
    if not profile.asks_past and is_cue(cues.PAST, masked, asked) and not is_cue(cues.NOW, masked, frozenset()):
        return "denied"
    if not profile.asks_past and _follows_past(segments, mention.segment) and not cues.NOW.search(masked):
        return "denied"
    if _is_denied_around(mention, segments, asked):
        return "denied"
    if is_cue(cues.HEDGED, masked, asked):
        return "hedged"
    tail = _segment_after(segments, mention.segment)
    if tail and len(tail) <= MAX_TAIL and not profile.asks_past and cues.PAST_TAIL.match(" ".join(tail.keys)):
        return "denied"
    if (
        tail
        and not profile.asks_past
        and {"was", "were"} & set(segment.keys)
        and cues.CHANGED.match(" ".join(tail.keys))
    ):
        return "denied"
    if tail and len(tail) <= 2 and is_cue(cues.HEDGED, " ".join(tail.keys), asked):
        return "hedged"
    unsure = [masked, *(" ".join(part.keys) for part in same if part is not segment)]
    unsure = [text for text in unsure if not UNSURE_OF_ELSE.search(text)]
    if any(is_cue(cues.UNSURE, cues.NEUTRAL.sub(" ", text), asked) for text in unsure[:4]):
        return "unsure"
    return "stated"


VERSION_AFTER = re.compile(
    r"\b(?:after|before|prior to|later than|earlier than|newer than|older than) (?:version |v )?§"
)
NUMBERED = re.compile(r"v?\d+(?:\.\d+)+")
UNSURE_OF_ELSE = re.compile(
    r"\b(?:sure|certain|confident|clear|unsure|uncertain|unclear) (?:about|of|how|why|when|where) "
    r"(?!(?:this|that|it|these|those|what)\b)(?:(?!§).)*$"
)
"""Unsure of something that is not the value: "I am not sure about the amount"."""


def _follows_past(segments: list[Segment], number: int) -> bool:
    """Whether "until recently" or the like stands alone before a clause: "Until recently, Lyon"."""
    last = segments[number - 1] if number else None
    return (
        last is not None
        and last.sentence == segments[number].sentence
        and cues.PAST_LEAD.match(" ".join(last.keys)) is not None
    )


LOST_TO = re.compile(r"\blos(?:t|e|es|ing)\b(?: \S+){0,4} to(?: the)?$")
NUMBERED_NAME = re.compile(r"[A-Z]{1,4}\d{1,4}")
PORTUGUESE_IN = re.compile(r"\bno\b")
ENDS_DENYING = re.compile(
    rf"(?:^|\s){NOT}(?: (?:the|a|an|in|at|by|called|named|der|die|le|la|el))?$|^(?:no|nein|non|nao|нет)$"
)


LEFT_OPEN = re.compile(rf"(?:^|\s){NOT}\s|\b(?:anything but|unlike|except|neither)\b")


STARTS_DENYING = re.compile(
    r"^(?:and )?(?:is|are|was|were|does|do|did|has|can|ist|est|es|e|sind)?\s?(?:definitely |certainly )?"
    rf"{NOT}(?:\s|$)|^no es "
)


CONTRARY = words("contrary")


def _is_denied_around(mention: Mention, segments: list[Segment], asked: frozenset[str]) -> bool:
    """Whether the clause before leaves a denial open ("it is not, as many think, §"), or the one after denies."""
    segment = segments[mention.segment]
    has_verb = any(key in VERBS or key == "'s" for key in segment.keys[: mention.first])
    number = mention.segment - 1
    if not has_verb and segment.mark in (",", ":", "¦", "", "because", "weil") and segment.keys[0] not in CONTRARY:
        while number >= 0 and (
            segments[number].sentence == segment.sentence or (segment.mark == ":" and number == mention.segment - 1)
        ):
            part = segments[number]
            text = cues.NEUTRAL.sub(" ", " ".join(part.keys))
            if is_cue(ENDS_DENYING, text, asked):
                return True
            is_list = all(key not in VERBS for key in segment.keys[mention.last :])
            if is_list and part.mark not in ("not",) and is_cue(LEFT_OPEN, text, asked) and segment.mark == ",":
                return True
            if part.mark in ("but", "sondern", "sino", "mais") or (
                any(key in VERBS for key in part.keys) and part.mark != "as"
            ):
                break
            number -= 1
    if segment.mark == "" and mention.first <= 2 and not has_verb and not any(key in VERBS for key in segment.keys):
        for part in segments[mention.segment + 1 : mention.segment + 3]:
            if part.sentence != segment.sentence:
                break
            if part.keys[0] in VERBS:
                return is_cue(STARTS_DENYING, " ".join(part.keys), asked)
    return False


def _segment_after(segments: list[Segment], number: int) -> Segment | None:
    after = segments[number + 1] if number + 1 < len(segments) else None
    return after if after and after.sentence == segments[number].sentence else None


def overlap(keys: list[str], profile: Profile) -> float:
    """The weight of the question's words of content among these, as a share of all."""
    if not profile.stems:
        return 0.0
    stems = {stem(key) for key in keys}
    return sum(weight for word, weight in profile.stems.items() if word in stems) / sum(profile.stems.values())


def is_filler(keys: list[str], profile: Profile | None = None) -> bool:
    """Whether words say nothing beside a value: articles, prepositions, "the city of", and the question's own."""
    return all(
        key in cues.FILLER or key in cues.PRONOUNS or (profile is not None and key in profile.keys) for key in keys
    )


def _score(mention: Mention, before: list[str], after: list[str], segments: list[Segment], profile: Profile) -> float:
    segment = segments[mention.segment]
    if before and (before[0] in BREAKS or before[0] in ANDS):
        before = before[1:]
    share = overlap([*before, *after], profile)
    if (verb := _last_verb(before)) is not None and is_filler(before[verb + 1 :], profile):
        subject = before[:verb]
        if any(key in cues.ANSWER_WORDS for key in subject):
            return 4 + share
        if overlap(subject, profile) > 0:
            foreign = sum(not _is_known(key, profile) for key in subject)
            return (1.2 if foreign >= len([key for key in subject if stem(key) in profile.stems]) else 3) + share
        return (2 if is_filler(subject, profile) else 1) + share
    if is_filler(before, profile):
        label = _label(mention.segment, segments, profile)
        if label is not None:
            return label + share
        rest = [key for key in after if key not in cues.FILLER]
        if not rest or (all(key in profile.keys for key in rest) and not _last_verb(after)):
            if rest and overlap(after, profile) > 0 and segment.mark != "(":
                return 3 + share
            alone = segment.mark in ("", "but", "sondern", "rather", "instead") or _follows_nothing(
                mention.segment, segments, profile
            )
            return (2 if alone or overlap(before, profile) > 0 else 1) + share
        mention.leads = is_filler(before) and after[:1] != ["'s"]
        later = [
            key for part in segments[mention.segment + 1 :] if part.sentence == segment.sentence for key in part.keys
        ]
        if overlap(after, profile) > 0 or (is_filler(after) and overlap(later, profile) > 0):
            return 3 + max(share, overlap(later, profile) / 2)
        return 1.5 if segment.mark == "" else 1.0
    mention.leads = False
    return (3 if share >= 0.6 else 2 if share else 0.5) + share


def _last_verb(keys: list[str]) -> int | None:
    return next((index for index in range(len(keys) - 1, -1, -1) if keys[index] in VERBS or (
        keys[index] == "'s" and index and keys[index - 1] in cues.PRONOUNS)), None)  # fmt: skip


def _label(number: int, segments: list[Segment], profile: Profile) -> float | None:
    """What the words before a colon or dash make of what follows: None without any."""
    segment = segments[number]
    if segment.mark not in (":", "=", "¦") or number == 0:
        return None
    keys = segments[number - 1].keys
    if any(key in cues.ANSWER_WORDS for key in keys) or (segment.mark == ":" and " ".join(keys) in CONCLUSIONS):
        return 4.0
    if segment.mark == "¦" and not is_filler(keys, profile):
        return None
    if overlap(keys, profile) > 0 or _is_asked_end(keys, profile) or (segment.mark != ":" and is_filler(keys, profile)):
        return 3.0
    if cues.SOURCE_LABEL.match(" ".join(keys)):
        return 0.0
    return 2.0 if len(keys) > 3 or is_filler(keys, profile) or all(key in cues.INTERJECTIONS for key in keys) else 0.5


CONCLUSIONS = words("conclusions") | {"por tanto", "por lo tanto"}


def _is_asked_end(keys: list[str], profile: Profile) -> bool:
    """Whether a label says in another word which of two ends is asked for: "departure" for "leaves"."""
    return any(asked.search(" ".join(keys)) for asked, _ in profile.opposites)


def _follows_nothing(number: int, segments: list[Segment], profile: Profile) -> bool:
    """Whether what stands before in the sentence says nothing: "Sure, ", "Based on the passages, "."""
    sentence = segments[number].sentence
    earlier = [part for part in segments[:number] if part.sentence == sentence]
    return all(
        all(key in cues.INTERJECTIONS or key in cues.FILLER or key in profile.keys for key in part.keys)
        or part.keys[0]
        in (
            "based",
            "according",
            "as",
            "in",
            "from",
            "unlike",
            "i",
            "per",
            "laut",
            "nach",
            "selon",
            "segun",
            "secondo",
            "to",
        )
        for part in earlier
    )


def is_of_another(mention: Mention, segments: list[Segment], profile: Profile) -> bool:
    """Whether the clause says it of another thing, in small letters: "the contact for orders"."""
    tokens = segments[mention.segment].tokens
    for word, link, name in profile.lower_topics:
        if name in segments[mention.segment].keys:
            return False
        for left, middle, right in topic_triples(tokens):
            if stem(left.key) == word and middle.key == link and not right.capital and len(right.key) > 3:
                return (
                    right.key not in profile.keys
                    and right.key not in cues.FILLER
                    and stem(right.key) not in profile.stems
                )
    return False


def says_the_opposite(mention: Mention, segments: list[Segment], profile: Profile) -> bool:
    """Whether the clause speaks of the end where the question asks for the start, or of the like."""
    if not profile.opposites:
        return False
    segment = segments[mention.segment]
    before, after = " ".join(segment.keys[: mention.first]), " ".join(segment.keys[mention.last :])
    tail = _segment_after(segments, mention.segment)
    if tail and tail.bracketed and len(tail) <= MAX_TAIL and mention.last == len(segment):
        after = " ".join([after, *tail.keys])
    if segment.mark in (":", "=", "¦") and mention.segment and not segments[mention.segment - 1].silent:
        before = " ".join([*segments[mention.segment - 1].keys, before])
    for asked, said in profile.opposites:
        for text, place in ((before, -1), (after, 0)):
            asks, says = list(asked.finditer(text)), list(said.finditer(text))
            if says and text is before and LOST_TO.search(text):
                break
            if says and not asks and text is before and len(text[says[-1].end() :].split()) <= 1:
                return True
            if asks and says:
                if (asks[place].start() < says[place].start()) == (place == -1):
                    return True
                break
            if asks or (says and not asked.search(after)):
                if says:
                    return True
                break
    return False


def is_about_something_else(mention: Mention, segments: list[Segment], profile: Profile) -> bool:
    """Whether the clause names another subject where the question names its own: "the number of Cobalt"."""
    keys = segments[mention.segment].tokens
    subject = next((token for token in keys[: mention.first] if NUMBERED_NAME.fullmatch(token.text)), None)
    asked = {key for key in profile.keys if NUMBERED_NAME.fullmatch(key.upper())}
    if subject and asked and not any(token.key in asked for part in segments for token in part.tokens):
        return True
    for word, link, name in profile.topics:
        if any(token.key == name for token in keys):
            return False
        for left, middle, right in zip(keys, keys[1:], keys[2:], strict=False):
            if (
                stem(left.key) == word
                and middle.key == link
                and right.capital
                and right.key not in profile.keys
                and (right.key[:3] != name[:3] and not mention.start <= right.start < mention.end)
            ):
                return True
    return False
