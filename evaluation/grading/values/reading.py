"""Whether an answer in words gives an accepted value: right, wrong, or unclear.

    read_value(question, "The capital is Paris, a city on the Seine.")   # Verdict.RIGHT

1. The answer is cleaned (cleaning.py). Where it is an accepted value as a whole, it is right.
2. Every place is found that names an accepted value (mentions.py), by words, number or date (typed.py), and every other
   value of the same sort (rivals.py).
3. Each is stated, denied, hedged, asked or unsure, by the words of its clause (cues.py), and has a score: how much it
   stands where the answer is.
4. Right is an accepted value that is stated, with no other one beside it, and none that scores as high.
"""

import re
from enum import Enum
from functools import lru_cache

from evaluation.grading.values import cues
from evaluation.grading.values.alike.amounts import is_per_another, without_asked_period
from evaluation.grading.values.alike.compounds import with_compounds
from evaluation.grading.values.alike.denials import affirms_what_is_denied
from evaluation.grading.values.alike.eastern import in_one_script, is_amount, is_eastern
from evaluation.grading.values.alike.exceptions import without_exception
from evaluation.grading.values.alike.lettered import read_letter
from evaluation.grading.values.alike.phones import is_phone, read_phone
from evaluation.grading.values.alike.phrases import read_count, read_phrase
from evaluation.grading.values.alike.rewrites import rewritten
from evaluation.grading.values.alike.short_names import with_full_names
from evaluation.grading.values.alike.subjects import is_only_named, read_subject
from evaluation.grading.values.alike.wordings import reworded, with_wordings
from evaluation.grading.values.cleaning import clean
from evaluation.grading.values.joins import is_country_behind, is_joined_to_another, names_another_place
from evaluation.grading.values.meaning import is_about_something_else, judge, overlap, says_the_opposite
from evaluation.grading.values.mentions import NUMERALS, Mention, Reading, ends_of, find_words, place
from evaluation.grading.values.profile import Accepted, Profile, is_typed, is_yes_no, profile_of
from evaluation.grading.values.rivals import belongs_elsewhere, is_strong_name, other_names, word_rivals
from evaluation.grading.values.segments import VERBS, Segment, segments_of, tokens_of
from evaluation.grading.values.typed import find_typed
from evaluation.grading.values.unspaced import is_unspaced, read_unspaced
from evaluation.grading.values.yes_no import read_yes_no
from evaluation.questions.question import Question

MAX_CHARACTERS = 12_000
HALF = MAX_CHARACTERS // 2
"""A longer answer is read at its beginning and its end."""

BESIDE_DIGITS = re.compile(r"(?<=[^\x00-\x7f]) (?=\d)|(?<=\d) (?=[^\x00-\x7f])")


class Verdict(Enum):
    """What the rules say of an answer."""

    RIGHT = "right"
    WRONG = "wrong"
    UNCLEAR = "unclear"


@lru_cache(maxsize=1_024)  # arms often say the same
def read_value(question: Question, answer: str, cut_off: bool = False) -> Verdict:
    """Whether an answer to a question of kind `value` or `number` gives an accepted value.

    Args:
        cut_off: the answer ended at `max_tokens`: its last word may be half of one.
    """
    if answer.strip() in question.answers:
        return Verdict.RIGHT
    text = clean(answer if len(answer) <= MAX_CHARACTERS else f"{answer[:HALF]}\n{answer[-HALF:]}")
    eastern = any(map(is_eastern, question.answers)) or (is_eastern(text) and any(map(is_amount, question.answers)))
    question, text = in_one_script(question, text) if eastern else (question, text)
    text, *same = (rewritten(each, question.answers) for each in (text, *question.answers))
    question = question.model_copy(update={"answers": tuple(same)})
    if any(character.isdigit() for value in question.answers for character in value):
        text = without_asked_period(question.question, text)
    text = with_full_names(question.question, question.answers, text) if question.kind == "value" else text
    question = with_wordings(question)
    question, text = with_compounds(question, without_exception(question, reworded(question, text)))
    profile = profile_of(question)
    if not text:
        return Verdict.WRONG
    if question.kind == "value" and (polarity := is_yes_no(profile)) is not None:
        return Verdict(read_yes_no(tokens_of(text), text, polarity, profile))
    if question.kind == "value" and (found := read_letter(question.question, list(question.answers), text)):
        return Verdict(found)
    phones = [value for value in question.answers if is_phone(value)] if question.kind == "value" else []
    found = read_phone(text, phones) if phones else ""
    given = any(value in text for value in phones)
    if found == "right" or (not given and (found == "unclear" or (found and len(phones) == len(question.answers)))):
        return Verdict(found)
    unspaced = [value for value in profile.accepted if is_unspaced(value.text) or (eastern and value.text in text)]
    if unspaced:
        found = read_unspaced(
            BESIDE_DIGITS.sub("", text) if eastern else text, [value.text for value in unspaced], question.question
        )
        named = any(value.text in text for value in unspaced)
        if found != "wrong" or named or (len(unspaced) == len(profile.accepted) and not any(map(is_typed, unspaced))):
            return Verdict(found)
    return _read(question, profile, text, cut_off)


def _read(question: Question, profile: Profile, text: str, cut_off: bool) -> Verdict:
    text = _names_in_order(text, profile)
    tokens = tokens_of(text)
    keys = [token.key for token in tokens]
    if question.kind == "value" and any(_is_whole(keys, text, value) for value in profile.accepted):
        return Verdict.RIGHT
    reading = Reading(text, tokens, [], profile, [], [])
    if question.kind == "value":
        for value in profile.accepted:
            if (value.tokens and not is_typed(value)) or (
                value.number and not value.number.measure and len(value.tokens) > 1
            ):
                reading.mentions += find_words(tokens, value, profile)
    typed = any(map(is_typed, profile.accepted))
    reading.segments = segments_of(text, tokens)
    _mark_silent(reading.segments)
    if typed:
        find_typed(question, reading)
    if not reading.mentions:
        phrases = [value.text for value in profile.accepted if question.kind == "value" and not is_typed(value)]
        if found := read_phrase(reading.segments, phrases, profile) or read_count(text, phrases, question.question):
            return Verdict(found)
        return Verdict.UNCLEAR if reading.near else Verdict.WRONG
    _place_all(reading)
    verdict = _decide(reading)
    if verdict is Verdict.RIGHT:
        verdict = Verdict(read_subject(reading))
    if verdict is Verdict.RIGHT and cut_off and _ends_within(reading):
        return Verdict.UNCLEAR
    return verdict


def _names_in_order(text: str, profile: Profile) -> str:
    """The text with "LAST, FIRST" as "First Last", where that is an accepted name."""
    if "," not in text:
        return text
    for value in profile.accepted:
        words = [token.text for token in value.tokens]
        if 2 <= len(words) <= 4 and value.is_name and not value.is_code and not value.date and words[-1].isalpha():
            first, last = r"[ .]+".join(map(re.escape, words[:-1])), re.escape(words[-1])
            text = re.sub(rf"\b{last}\s*,\s*{first}(?!\w)", " ".join(words), text, flags=re.IGNORECASE)
    return text


def _is_whole(keys: list[str], text: str, value: Accepted) -> bool:
    wanted = [token.key for token in value.tokens]
    is_one_line = "\n" not in text and not text.rstrip().endswith("?")
    return bool(wanted) and keys == wanted and is_one_line and not is_typed(value) and _same_gaps(text, value)


def _same_gaps(text: str, value: Accepted) -> bool:
    return not any(mark in text and mark not in value.text for mark in ",;/|¦=<>")


def _ends_within(reading: Reading) -> bool:
    """Whether the answer ends at a mention, with no mark behind it."""
    end = len(reading.text)
    return any(mention.end == end for mention in reading.mentions) and reading.text[-1:].isalnum()


def _mark_silent(segments: list[Segment]) -> None:
    """Mark the clauses that ask or say the question again: "You asked whether ...", as far as a colon."""
    for number, segment in enumerate(segments):
        last = segments[number - 1] if number else None
        goes_on = (
            last is not None and last.silent and last.sentence == segment.sentence and segment.mark not in (":", "¦")
        )
        is_label = segment.mark == ":" and last is not None and last.keys == ["question"]
        segment.silent = segment.asks or goes_on or is_label or cues.ECHO.match(" ".join(segment.keys)) is not None


def _place_all(reading: Reading) -> None:
    reading.mentions = [mention for mention in ends_of(reading.mentions) if place(mention, reading.segments)]
    values = [value for value in reading.profile.accepted if value.tokens and not is_typed(value)]
    if values:
        if any(value.is_name or value.is_code for value in values):
            names = other_names(reading.segments, reading.mentions, reading.profile, tuple(values))
            reading.rivals += [
                name
                for name in names
                if is_strong_name(name, reading.segments, reading.profile)
                and not is_country_behind(name, reading.mentions, reading.segments)
                and not any(
                    mention.segment == name.segment and mention.start < name.start for mention in reading.mentions
                )
            ]
        else:
            length = max(len(value.tokens) for value in values)
            reading.rivals += word_rivals(reading.segments, reading.mentions, reading.profile, length)
    reading.rivals = [rival for rival in ends_of(reading.rivals) if place(rival, reading.segments)]
    for mention in [*reading.mentions, *reading.rivals]:
        given = mention.state
        judge(mention, reading.segments, reading.profile)
        if given == "limit":  # "not after": the denial is a part of what is said
            mention.state = "stated" if mention.state == "denied" else mention.state
        elif given != "stated":
            mention.state = given
        elif mention.settled:
            mention.state = "stated"
        elif (
            mention.accepted and is_per_another(reading.profile.text, reading.text[mention.end : mention.end + 24])
        ) or (
            mention.state == "stated"
            and (
                says_the_opposite(mention, reading.segments, reading.profile)
                or affirms_what_is_denied(reading.segments, mention.segment, reading.profile.text)
                or (mention.accepted and is_about_something_else(mention, reading.segments, reading.profile))
            )
        ):
            mention.state = "denied"


def _decide(reading: Reading) -> Verdict:
    _retract(reading)
    stated = [mention for mention in reading.mentions if mention.state == "stated"]
    rivals = [rival for rival in reading.rivals if rival.state in ("stated", "unsure")]
    unsure = [mention for mention in reading.mentions if mention.state == "unsure"]
    stated = [mention for mention in stated if not _belongs_to_another(mention, reading)]
    stated = [mention for mention in stated if mention.leads or not _is_asked(mention, reading)]
    if not _has_one_claim(stated, reading) or is_only_named(stated, reading):
        return Verdict.WRONG
    if not stated and unsure and not rivals:
        return Verdict.UNCLEAR
    if not stated:
        verbs = any(token.key in VERBS for token in reading.tokens)
        alone = len(reading.segments) == 1 and reading.segments[0].asks and len(reading.tokens) <= 4 and not verbs
        return (
            Verdict.UNCLEAR
            if alone and any(mention.state == "asked" for mention in reading.mentions)
            else Verdict.WRONG
        )
    best = max(mention.score for mention in stated)
    if any(mention.state == "hedged" for mention in reading.mentions) and best < 4:
        return Verdict.WRONG
    words = [value for value in reading.profile.accepted if value.tokens and not is_typed(value)]
    top = [mention for mention in stated if mention.score == best]
    if best < 4 and (reading.joined or any(
        is_joined_to_another(mention, reading.segments, reading.rivals, reading.profile, value)
        for mention in top for value in words if not mention.unit and not mention.now
    )):  # fmt: skip
        return Verdict.WRONG
    if places := {names_another_place(mention, reading.segments, reading.profile) for mention in top if words} - {""}:
        return Verdict.WRONG if "wrong" in places else Verdict.UNCLEAR
    if any(rival.now for rival in rivals) and not any(mention.now for mention in stated) and best < 4:
        return Verdict.WRONG
    if rivals and best < 4 and any(cues.CANDIDATES.search(" ".join(segment.keys)) for segment in reading.segments):
        return Verdict.WRONG
    if rivals and any(cues.EITHER.search(" ".join(segment.keys)) for segment in reading.segments):
        return Verdict.WRONG
    against = max((rival.score for rival in rivals if not _is_part(rival, stated, reading)), default=0.0)
    if against >= 1 and against > best + 0.001:
        return Verdict.WRONG
    if against >= 2 and against >= best - 0.001:
        return Verdict.WRONG
    if (
        best < 2
        and not words
        and any(rival.unit == mention.unit and rival.score >= best for rival in rivals for mention in top)
    ):
        return Verdict.UNCLEAR
    if any(mention.state == "range" or mention.state == "bound" for mention in reading.mentions):
        return Verdict.WRONG if best < 3 else Verdict.RIGHT
    return _weak(stated, reading)


def _has_one_claim(stated: list[Mention], reading: Reading) -> bool:
    """Whether one of the mentions is not of another clause than the one that has the question's words."""
    values = reading.profile.accepted
    typed = any(map(is_typed, values))
    named = any(value.is_name or value.is_code for value in values) and not typed
    for mention in stated:
        mention.named = named
    elsewhere = [belongs_elsewhere(mention, reading.segments, reading.profile, typed) for mention in stated]
    return not stated or not all(elsewhere)


def _belongs_to_another(mention: Mention, reading: Reading) -> bool:
    """Whether what is asked is said of a later name: "the Enz joins the Neckar, which flows through ..."."""
    after = reading.segments[mention.segment + 1] if mention.segment + 1 < len(reading.segments) else None
    segment = reading.segments[mention.segment]
    if (
        after is None
        or after.mark not in (",", "which", "who", "that")
        or after.keys[0] not in ("which", "who", "whose", "whom")
    ):
        return False
    if overlap(after.keys, reading.profile) == 0 or overlap(segment.keys, reading.profile) > 0 or mention.first > 2:
        return False
    rest = segment.tokens[mention.last :]
    return bool(rest) and rest[-1].capital and rest[-1].key not in reading.profile.keys


def _is_asked(mention: Mention, reading: Reading) -> bool:
    """Whether the question names the value itself."""
    return all(
        token.key in reading.profile.keys for token in reading.tokens if mention.start <= token.start < mention.end
    )


def _is_part(rival: Mention, stated: list[Mention], reading: Reading) -> bool:
    """Whether a value follows the colon or dash behind the accepted one: "12 in all: 8 from Europe and 4 from Asia"."""
    first = rival.segment
    while (
        first > 0
        and reading.segments[first].mark not in (":", "¦")
        and (reading.segments[first].sentence == reading.segments[first - 1].sentence)
    ):
        first -= 1
    sentence = reading.segments[first].sentence
    return reading.segments[first].mark in (":", "¦") and any(
        mention.segment == first - 1 and reading.segments[first - 1].sentence == sentence for mention in stated
    )


def _weak(stated: list[Mention], reading: Reading) -> Verdict:
    """A short small word ("on", "is", "no") that merely stands in a sentence is no answer."""
    best = max(stated, key=lambda mention: mention.score)
    said = reading.text[best.start : best.end]
    at_end = best.last == len(reading.segments[best.segment])
    is_small = len(said) <= 2 and said.isalpha() and said.islower() and not at_end and said not in NUMERALS
    if best.score < 2 and (said.casefold() in cues.FILLER or is_small):
        return Verdict.WRONG
    return Verdict.RIGHT


def _retract(reading: Reading) -> None:
    """What stands before "no, wait" or "correction" is taken back, where another value follows it."""
    for number, segment in enumerate(reading.segments):
        text = " ".join(segment.keys)
        match = cues.CORRECTION.search(text)
        if match is None or (reading.profile.cues >= set(match[0].split())):
            continue
        start = segment.tokens[0].start
        found = [*reading.mentions, *reading.rivals]
        before = [mention for mention in found if mention.start < start]
        after = [
            mention for mention in found if mention.start >= start and mention.state in ("stated", "unsure", "denied")
        ]
        last = reading.segments[number - 1] if number else None
        if not before and last is not None and last.asks and text in ("no", "nein", "non"):
            for mention in after:
                mention.state = (
                    "stated" if mention.segment <= number + 1 and mention.state == "denied" else mention.state
                )
        if not before or not any(mention.segment <= number + 3 for mention in after):
            if before and cues.STRONG_CORRECTION.search(text):
                for mention in before:
                    mention.state = "denied"
            continue
        if (
            match[0] in ("rather", "actually", "instead", "non", "no", "sorry", "non")
            and len(segment) > 3
            and match[0] not in text.split()[:2]
        ):
            continue
        follows = segments_text(reading.segments, number + 1)
        said_no = match[0] in ("no", "nein", "non") and len(segment) == 1
        if said_no and number + 1 < len(reading.segments) and reading.segments[number + 1].sentence == segment.sentence:
            for mention in after:
                mention.state = (
                    "stated" if mention.segment == number + 1 and mention.state == "denied" else mention.state
                )
        bare_no = not cues.CORRECTION.search(follows) and match[0] in ("no", "nein", "non") and len(segment) == 1
        for mention in before:
            mention.state = "denied"
        for mention in after:
            if mention.segment <= number + 2 and mention.state == "denied" and match[0] in ("no", "nein", "non"):
                mention.state = "unsure" if bare_no else "stated"


def segments_text(segments: list[Segment], number: int) -> str:
    """The words of a clause, "" behind the last one."""
    return " ".join(segments[number].keys) if number < len(segments) else ""
