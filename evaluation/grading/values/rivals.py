"""Other values of the same sort in an answer: names, words, numbers and dates that may be what it answers instead."""

from evaluation.grading.values import cues
from evaluation.grading.values.cues import words
from evaluation.grading.values.meaning import is_filler, overlap
from evaluation.grading.values.mentions import STARTS, Mention, near_conversion
from evaluation.grading.values.profile import CODE_LIKE, Accepted, Profile, stem
from evaluation.grading.values.segments import ANDS, BREAKS, LINKS, VERBS, Segment
from evaluation.questions.dates import Date
from evaluation.questions.numbers import Number, same_amount

NOT_AN_ITEM = words("not_an_item")


COMPARATIVES = words("comparatives")
MAX_LABEL = 4
MAX_CLAIM = 14
MIN_LETTERS = 2
MIN_HEAD = 5
AFTER_A_DEED = words("after_a_deed")
"""Words behind the first word of a sentence that show it to be a request, as in "Send it in a letter"."""


def other_names(
    segments: list[Segment], taken: list[Mention], profile: Profile, values: tuple[Accepted, ...]
) -> list[Mention]:
    """Names that are neither the question's nor accepted: runs of words that begin with a capital letter, or codes."""
    want_code = any(value.is_code for value in values)
    found = []
    for number, segment in enumerate(segments):
        index = 0
        while index < len(segment.tokens):
            end = index
            while (
                end < len(segment.tokens)
                and _is_name(segment, end, profile, want_code)
                and (end == index or segment.tokens[end].gap in (" ", "-", "", ". ", "'"))
            ):
                end += 1
            if end > index:
                start, stop = segment.tokens[index].start, segment.tokens[end - 1].end
                if not any(start < mention.end and mention.start < stop for mention in taken):
                    found.append(Mention(start, stop, False, number, index, end))
                index = end
            else:
                index += 1
    return found


def _is_name(segment: Segment, index: int, profile: Profile, want_code: bool) -> bool:
    token = segment.tokens[index]
    if token.key in profile.keys or token.key in cues.PRONOUNS or token.key in VERBS:
        return False
    if want_code and CODE_LIKE.fullmatch(token.text):
        return True
    after = segment.tokens[1].key if index == 0 and len(segment.tokens) > 1 else ""
    if segment.mark == "" and after in AFTER_A_DEED:
        return False
    if any(_is_form_of(token.key, key) for key in profile.keys) and not want_code:
        return False
    if not token.capital or (profile.language == "de" and not want_code and index == 0):
        return False
    if index == 0 and (segment.mark in ("", ":")):
        return not (
            token.key in cues.FILLER
            or token.key in cues.INTERJECTIONS
            or token.key in STARTS
            or token.key in NOT_AN_ITEM
        )
    return token.key not in cues.FILLER or len(segment.tokens) <= 2


def _is_form_of(word: str, asked: str) -> bool:
    """Whether a word is another form of the question's: "Patronką" for "patronem"."""
    head = min(len(word), len(asked)) - 2
    return head >= MIN_HEAD and abs(len(word) - len(asked)) <= MIN_LETTERS and word[:head] == asked[:head]


def is_strong_name(mention: Mention, segments: list[Segment], profile: Profile) -> bool:
    """Whether a name stands as the answer would: as all of a sentence, before a verb, or at the end behind one."""
    segment = segments[mention.segment]
    before, after = segment.keys[: mention.first], segment.keys[mention.last :]
    if _is_acronym(segment.keys[mention.first : mention.last], profile):
        return False
    if cues.SOURCE_LABEL.match(" ".join(segment.keys[:1])) or (
        mention.segment
        and segment.mark == ":"
        and cues.SOURCE_LABEL.match(" ".join(segments[mention.segment - 1].keys))
    ):
        return False
    if after and all(key in ("the", "a", "an") for key in before):
        return after[0] in VERBS or overlap(after, profile) > 0
    if after and not is_filler(after, profile):
        return False
    article = before[-1] if before else ""
    if profile.language == "de" and article in cues.FILLER:
        return any(key in VERBS for key in before) and not any(key in cues.FILLER for key in before[-1:])
    return article not in ("the", "a", "an", "near", "in", "on", "at", "as", "of") or any(
        key in profile.keys for key in before
    )


def _is_acronym(keys: list[str], profile: Profile) -> bool:
    """Whether a name is short for words of the question: "DPO" for "data protection officer"."""
    initials = "".join(word[0] for word in profile.text.split())
    return len(keys) == 1 and len(keys[0]) >= MIN_LETTERS and keys[0].isalpha() and keys[0] in initials


def word_rivals(segments: list[Segment], taken: list[Mention], profile: Profile, length: int) -> list[Mention]:
    """For an accepted value in small letters: short sentences, and what follows a label that asks for it."""
    found = []
    for number, segment in enumerate(segments):
        if subject := _subject(segment, number, taken, profile, length):
            found.append(subject)
        if predicate := _predicate(segment, number, taken, profile, length):
            found.append(predicate)
        if (
            segment.mark == ":"
            and number
            and any(key in cues.ANSWER_WORDS for key in segments[number - 1].keys)
            and len(segment) <= length + 1
            and not any(mention.segment == number for mention in taken)
        ):
            found.append(Mention(segment.tokens[0].start, segment.tokens[-1].end, False, number, 0, len(segment)))
        whole = segment.mark == "" and not (
            number + 1 < len(segments) and segments[number + 1].sentence == segment.sentence
        )
        if not whole or segment.asks or len(segment) > length + 1 or any(key in VERBS for key in segment.keys):
            continue
        if any(mention.segment == number for mention in taken) or is_filler(segment.keys, profile):
            continue
        if all(key in cues.INTERJECTIONS or key in profile.keys or key in cues.FILLER for key in segment.keys):
            continue
        if segment.keys[0] in cues.INTERJECTIONS | cues.PRONOUNS | NOT_AN_ITEM or len(segment) > 4:
            continue
        found.append(Mention(segment.tokens[0].start, segment.tokens[-1].end, False, number, 0, len(segment)))
    return found


def _subject(segment: Segment, number: int, taken: list[Mention], profile: Profile, length: int) -> Mention | None:
    """What begins a clause without an accepted value that goes on in the question's words: "develop is protected"."""
    keys = segment.keys
    verb = next(
        (index for index, key in enumerate(keys) if key in VERBS or (index and stem(key) in profile.stems)), None
    )
    if (
        not verb
        or verb > length + 1
        or segment.silent
        or segment.mark in BREAKS
        or any(mention.segment == number for mention in taken)
    ):
        return None
    if (
        is_filler(keys[:verb], profile)
        or overlap([key for key in keys[verb:] if key not in VERBS], profile) == 0
        or keys[0] in NOT_AN_ITEM - {"the", "a", "an"}
        or (keys[0] == "the" and not any(value.text.casefold().startswith("the ") for value in profile.accepted))
    ):
        return None
    return Mention(segment.tokens[0].start, segment.tokens[verb - 1].end, False, number, 0, verb, cap=2.5)


def _predicate(segment: Segment, number: int, taken: list[Mention], profile: Profile, length: int) -> Mention | None:
    """What follows "it is" in a clause without an accepted value, where it is as short as one."""
    keys = segment.keys
    verb = next(
        (index for index in range(len(keys) - 1, 0, -1) if keys[index] in ("is", "'s", "are", "was", "were")), None
    )
    if (
        verb is None
        or segment.silent
        or segment.mark in BREAKS - {"but", "however", "whereas", "while"} | {"as"}
        or any(mention.segment == number for mention in taken)
    ):
        return None
    rest = [key for key in keys[verb + 1 :] if key not in cues.FILLER]
    if not 0 < len(rest) <= length or any(key in profile.keys for key in rest) or not is_filler(keys[:verb], profile):
        return None
    return Mention(segment.tokens[verb + 1].start, segment.tokens[-1].end, False, number, verb + 1, len(keys), cap=1.9)


def is_rival_number(number: Number, accepted: list[Number], mentions: list[Number], profile: Profile) -> bool:
    """Whether another number can be the answer: of a kind with the accepted ones, and not a year, page or ordinal."""
    if number.ordinal or not number.sure or (number.part and number.in_words) or number.noun in COMPARATIVES:
        return False
    for wanted in accepted:
        amount = same_amount(number, wanted)
        if wanted.measure:
            if amount is None or (
                number.measure is None and number.noun and number.noun not in cues.ORS | ANDS | {"to", "but"}
            ):
                continue
            if number.measure is None and is_year(number) and number.value != wanted.value:
                continue
            if number.measure != wanted.measure and number.measure and near_conversion(amount, wanted.value):
                continue
            return True
        same = {(each.measure.dimension if each.measure else each.noun) for each in mentions}
        if number.measure and mentions and number.measure.dimension not in same and "" not in same:
            continue
        if number.measure and mentions and not any(each.measure for each in mentions):
            continue
        if (
            number.noun
            and any(each.noun and each.noun != number.noun and each.noun not in cues.FILLER for each in mentions)
            and (
                number.noun not in cues.FILLER
                and number.noun not in cues.ORS
                and number.noun not in ("and", "or", "but")
            )
        ):
            continue
        if is_year(number) and not is_year(wanted):
            continue
        return True
    return False


def is_year(number: Number) -> bool:
    """Whether a bare number may be a year."""
    return (
        number.value.denominator == 1
        and 1000 <= number.value <= 2999
        and not number.measure
        and "," not in (number.text[number.start : number.end])
    )


def is_rival_date(date: Date, accepted: Date) -> bool:
    """Whether another date says as much as the accepted one, and something else."""
    said = (date.year is not None, date.month is not None, date.day is not None)
    wanted = (accepted.year is not None, accepted.month is not None, accepted.day is not None)
    return all(given or not asked for given, asked in zip(said[:2], wanted[:2], strict=True)) and not date.gives(
        accepted
    )


def belongs_elsewhere(mention: Mention, segments: list[Segment], profile: Profile, has_other: bool) -> bool:
    """Whether the question's words stand with another value, in a clause or line beside the mention's.

    "Frame: steel / Fork: carbon", "Work began in 1968 and was finished in 1975": where the clause of a value speaks of
    something that the question does not name, and another has the question's own words and a value of its own, the
    answer is the other one's.

    Args:
        has_other: whether another value of a number, date or time is in the answer, where one is asked for.
    """
    if len(segments) < 2 or not profile.stems:
        return False
    own, is_label = _claim(mention.segment, segments)
    keys = [key for key in own if key not in _said(mention, segments)]
    foreign = [key for key in keys if _says_something(key, profile)]
    if not foreign:
        return False
    asked = profile.stems.keys() | {stem(name) for name in profile.names}
    mine = {stem(key) for key in keys} & asked
    for number, segment in enumerate(segments):
        if number == mention.segment or segment.silent or segment.bracketed:
            continue
        other, labelled = _claim(number, segments)
        beside = segment.sentence == segments[mention.segment].sentence and not is_label
        if not (labelled if is_label else beside) or len(other) > MAX_CLAIM or (is_label and len(own) > MAX_CLAIM):
            continue
        theirs = {stem(key) for key in other} & asked
        if not theirs - mine or len(mine - theirs) > len(theirs - mine):
            continue
        if any(stem(key) in {stem(each) for each in theirs} for key in foreign) or _takes_back(other, profile):
            continue
        if _has_value(segment, mention, segments, profile, has_other):
            return True
    return False


def _claim(number: int, segments: list[Segment]) -> tuple[list[str], bool]:
    """The words of a clause with the label before it, and whether there is one."""
    segment = segments[number]
    label = segments[number - 1] if number and segment.mark in (":", "=") else None
    if label is None or len(label) > MAX_LABEL or label.silent or any(key in cues.ANSWER_WORDS for key in label.keys):
        return segment.keys, False
    return [*label.keys, *segment.keys], True


def _said(mention: Mention, segments: list[Segment]) -> list[str]:
    return segments[mention.segment].keys[mention.first : mention.last]


def _says_something(key: str, profile: Profile) -> bool:
    """Whether a word names a thing or a deed that is not the question's."""
    return (
        len(key) >= MIN_LETTERS
        and key.isalpha()
        and key not in profile.keys
        and stem(key) not in profile.stems
        and key not in cues.FILLER | cues.PRONOUNS | cues.INTERJECTIONS | cues.ANSWER_WORDS | cues.LIGHT
        and key not in VERBS | BREAKS | ANDS | LINKS
        and not key.endswith("ly")
    )


def _takes_back(keys: list[str], profile: Profile) -> bool:
    """Whether a clause denies, supposes, or speaks of the past, so that its value is no answer."""
    text = " ".join([*keys, "§"])
    past = not profile.asks_past and cues.PAST.search(text)
    return bool(
        past
        or cues.DENIED_BEFORE.search(text)
        or cues.SUPPOSED.search(text)
        or cues.HEDGED.search(text)
        or cues.CONTEXT.search(text)
    )


def _has_value(segment: Segment, mention: Mention, segments: list[Segment], profile: Profile, has_other: bool) -> bool:
    """Whether a clause ends or begins with a value of the mention's sort."""
    new = [
        token
        for token in segment.tokens
        if token.key not in profile.keys
        and stem(token.key) not in profile.stems
        and (not is_filler([token.key]) or (token.text.isupper() and token is not segment.tokens[0]))
        and token.key not in VERBS | BREAKS | ANDS | LINKS
    ]
    if has_other:
        return any(token.text[0].isdigit() for token in new)
    if mention.named:
        return any(token.capital for token in new)
    digits = any(key[0].isdigit() for key in _said(mention, segments))
    return 0 < len(new) <= MAX_LABEL and any(token.text[0].isdigit() for token in new) == digits
