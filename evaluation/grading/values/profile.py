"""What a question asks about and what its accepted values are, worked out once for each question."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from evaluation.grading.values.alike.denials import DENIALS, denies
from evaluation.grading.values.cues import (
    BOUND_QUESTION,
    FILLER,
    KINDS,
    ORS,
    PAST,
    PAST_QUESTION,
    asked_cues,
    opposites_of,
    words,
)
from evaluation.grading.values.segments import Token, fold, tokens_of, value_tokens
from evaluation.questions.dates import Date, Time, find_dates, parse_date, parse_time
from evaluation.questions.languages import language_of
from evaluation.questions.numbers import Number, find_numbers, parse_number
from evaluation.questions.question import Question

ASKING = words("asking")
SUFFIX = re.compile(r"(?:ing|ed|es|s|er|en|e|n|ly|a|o|as|os|i)$")
TOPIC_LINKS = {"of", "for", "in", "von", "de", "di"}
WHO = re.compile(
    r"\b(?:who|whom|whose|wer|wen|wem|qui|quien|quienes|chi|quem|кто|wie heisst|kto|vem|hvem|person|author|ceo|founder"
    r"|name of the (?:man|woman))\b"
)
ARTICLES = words("articles")
TITLES = words("titles")
PREPOSITIONS = words("prepositions")
BARE_ARTICLES = {"the", "a", "an"}
HOW_MANY = re.compile(r"\b(?:how many|wie viele|combien de|cuant[oa]s|quant[ie]|quant[oa]s|сколько) (\w+)")
WHICH_NUMBER = re.compile(r"\b(?:which|what|welche[mnrs]?|quelle?|que|cual|quale|qual) (\w{4,})")
ASKS_TIME = frozenset(["time", "heure", "hora", "horas", "ora", "uhr", "when", "wann", "quand", "quando", "cuando"])
ASKS_DURATION = frozenset(
    ["how", "long", "combien", "duree", "dauer", "duracion", "durata", "duracao", "lange", "tiempo", "temps"]
)
CODE_LIKE = re.compile(r"(?=.*\d)(?=.*[^\W\d_])\S+|\S*_\S*|[A-Z]{2,}[a-z]?")
YES_NO_CJK = dict.fromkeys(["可以", "能", "对", "是的", "可", "できます", "はい"], "yes") | dict.fromkeys(
    ["不可以", "不能", "不行", "不可", "不是", "不", "できません", "いいえ", "禁止"], "no"
)
YES, NO = words("yes"), words("no")


@dataclass(frozen=True)
class Accepted:
    """One accepted value in each form that it can be compared in."""

    text: str
    tokens: tuple[Token, ...]
    number: Number | None
    date: Date | None
    time: Time | None
    is_name: bool
    is_code: bool


@dataclass(frozen=True)
class Profile:
    """A question's own words and its accepted values.

    `stems`: its words of content, each with a weight; `names`: the folded words that begin with a capital letter.
    """

    language: str
    keys: frozenset[str]
    text: str
    stems: dict[str, float]
    names: frozenset[str]
    accepted: tuple[Accepted, ...]
    asks_who: bool
    asks_bound: bool
    asks_past: bool
    cues: frozenset[str]
    numbers: tuple[Number, ...]
    dates: tuple[Date, ...]
    topics: tuple[tuple[str, str, str], ...]
    lower_topics: tuple[tuple[str, str, str], ...]
    counted: str
    labelled: str
    """The noun of "which platform", "what room number": "" without one."""
    offers: bool
    """The question names what may be chosen: "Is it Ada or Bell?"."""
    opposites: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]


def profile_of(question: Question) -> Profile:
    """The profile of a question, kept."""
    return _profile(question.question, question.answers, question.kind)


@lru_cache(maxsize=8_192)
def _profile(text: str, answers: tuple[str, ...], kind: str) -> Profile:
    language = language_of(text)
    tokens = tokens_of(text)
    keys = [token.key for token in tokens]
    content = [
        key for key in keys if (key not in ASKING and key not in FILLER - KINDS and len(key) > 1) or key.isdigit()
    ]
    stems = {stem(key): 0.3 if key in KINDS else 1 + 0.2 * index for index, key in enumerate(dict.fromkeys(content))}
    names = {token.key for index, token in enumerate(tokens) if token.capital and index and token.key not in ASKING}
    lower = {each: weight for each, weight in stems.items() if each not in {stem(name) for name in names}}
    lower = stems if language == "de" or not lower else lower
    joined = " ".join(keys)
    return Profile(
        language,
        frozenset(keys),
        joined,
        lower,
        frozenset(names),
        tuple(_accepted(answer, language, kind, frozenset(keys)) for answer in answers),
        WHO.search(joined) is not None,
        BOUND_QUESTION.search(joined) is not None,
        (PAST.search(joined) or PAST_QUESTION.search(joined)) is not None,
        asked_cues(joined) | (DENIALS if denies(joined) else frozenset()),
        tuple(find_numbers(text, language)),
        tuple(find_dates(text)),
        _topics(tokens, True),
        _topics(tokens, False),
        match[1] if (match := HOW_MANY.search(joined)) else "",
        match[1] if (match := WHICH_NUMBER.search(joined)) else "",
        any(key in ORS for key in keys) or "which of" in joined,
        opposites_of(joined),
    )


@lru_cache(maxsize=65_536)
def stem(key: str) -> str:
    """A word without its ending, so that "founded" and "founder" are one."""
    match = SUFFIX.search(key)
    return key[: match.start()] if match and match.start() >= 3 else key


@lru_cache(maxsize=16_384)
def _accepted(text: str, language: str, kind: str, asked: frozenset[str]) -> Accepted:
    tokens = value_tokens(text)
    while len(tokens) > 2 and tokens[0].key in TITLES and tokens[1].capital:
        tokens = tokens[1:]
    while (
        len(tokens) > 1
        and tokens[1].gap == " "
        and (tokens[0].key in BARE_ARTICLES or (tokens[0].key in ARTICLES and tokens[0].text.islower()))
    ):
        tokens = tokens[1:]
    if (
        len(tokens) > 1
        and tokens[1].gap == " "
        and tokens[0].key in asked
        and tokens[0].text.islower()
        and (tokens[1].capital or CODE_LIKE.fullmatch(tokens[1].text))
    ):
        tokens = tokens[1:]
    if (
        len(tokens) > 1
        and tokens[1].gap == " "
        and tokens[0].key in PREPOSITIONS
        and (tokens[1].key in ARTICLES or tokens[1].capital)
    ):
        tokens = tokens[1:]
        tokens = tokens[1:] if len(tokens) > 1 and tokens[0].key in ARTICLES else tokens
    number = parse_number(text, language) or parse_number(text)
    if (
        number
        and kind == "value"
        and (number.padded or (number.noun and number.unit == number.noun and not number.measure))
    ):
        number = None
    if number and number.measure and number.measure.dimension == "T" and parse_time(text) and _asks_time(asked):
        number = None
    date = parse_date(text) if kind == "value" else None
    time = parse_time(text) if kind == "value" and not number else None
    if date or time:
        number = None
    is_code = any(CODE_LIKE.fullmatch(word) for word in text[tokens[0].start :].split()) if tokens else False
    return Accepted(
        text, tokens, number, date, time, any(token.capital or token.text[:1].isupper() for token in tokens), is_code
    )


def _asks_time(asked: frozenset[str]) -> bool:
    """Whether a question asks at what time, and not for how long: "18 h" is one or the other."""
    return bool(asked & ASKS_TIME) and not asked & ASKS_DURATION


def _topics(tokens: list[Token], capital: bool) -> tuple[tuple[str, str, str], ...]:
    """What is asked of what: ("number", "of", "iron") for "What is the atomic number of Iron?"."""
    links = TOPIC_LINKS if capital else TOPIC_LINKS | {"on", "to", "with"}
    return tuple(
        (stem(word.key), link.key, name.key)
        for word, link, name in topic_triples(tokens)
        if link.key in links and name.capital == capital and not word.capital
    )


def is_typed(value: Accepted) -> bool:
    """Whether a value is a number, a date or a time."""
    return bool(value.number or value.date or value.time)


def topic_triples(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token, Token]]:
    """Each word with the two behind it; an article in the third place is passed over."""
    for index, (word, link) in enumerate(pairwise(tokens)):
        rest = [token for token in tokens[index + 2 : index + 4] if token.key not in BARE_ARTICLES]
        if rest:
            yield word, link, rest[0]


def is_yes_no(profile: Profile) -> bool | None:
    """True where yes is accepted, False where no is, None where the question is no such one."""
    words = {YES_NO_CJK.get(accepted.text.strip(" .!。！"), fold(accepted.text.strip(" .!").casefold())) for accepted in
             profile.accepted}  # fmt: skip
    if words and words <= YES:
        return True
    return False if words and words <= NO else None
