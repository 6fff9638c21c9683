"""Which language a text is in, and how the words of each are reduced to their stems.

language = detect_language("Wie viele Tage Urlaub habe ich?", default="en")    # "de"
stem_of("urlaube", "de")

A language is known by its function words among those of its script; the stemmers are Snowball's.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

import regex

from retrieval.analysis.config import BY_SCRIPT, STEMMED, UNSPACED
from retrieval.analysis.function_words import FUNCTION_WORDS

STEMMERS = {
    "en": "english", "de": "german", "fr": "french", "es": "spanish", "it": "italian", "pt": "portuguese",
    "nl": "dutch", "sv": "swedish", "da": "danish", "nb": "norwegian", "fi": "finnish", "tr": "turkish",
    "pl": "polish", "cs": "czech", "ro": "romanian", "hu": "hungarian", "id": "indonesian", "ca": "catalan",
    "ru": "russian", "ar": "arabic", "fa": "persian", "hi": "hindi", "el": "greek",
}  # fmt: skip
"""Snowball's name by language, as ISO 639-1 writes it."""

LETTERS = {
    "de": "äöüß", "fr": "àâçéèêëîïôùûœ", "es": "áéíñóúü", "it": "àèéìòù", "pt": "áâãàçéêíóôõú", "sv": "åäö",
    "da": "æøå", "nb": "æøå", "fi": "äö", "tr": "çğıöşü", "pl": "ąćęłńóśźż", "cs": "áčďéěíňóřšťúůýž",
    "ro": "ăâîșțşţ", "hu": "áéíóöőúüű", "ca": "àçéèíïòóúü",
}  # fmt: skip
"""Letters of each language that plain Latin lacks: Turkish or Finnish has few function words to be known by."""

DETECTED_CHARACTERS = 20_000
"""So much of a text is looked at."""
MIN_SHARE = 0.08
"""Share of a text's words that are function words of its language, at least; tables and lists have fewer."""
MIN_MORE = 4
LETTER_SCORE = 0.5
"""What a letter of one language counts beside a function word."""
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_SCRIPT = regex.compile(
    r"(?P<Latin>\p{Latin})|(?P<Cyrillic>\p{Cyrillic})|(?P<Arabic>\p{Arabic})|(?P<Hebrew>\p{Hebrew})"
    r"|(?P<Devanagari>\p{Devanagari})|(?P<Greek>\p{Greek})"
)
_UNSPACED = {script: regex.compile(rf"\p{{{script}}}") for script in UNSPACED if script != "Kana"} | {
    "Kana": regex.compile(r"[\p{Hiragana}\p{Katakana}]")
}
_SPACED = {script: regex.compile(rf"\p{{{script}}}") for script in BY_SCRIPT}
MIN_SCRIPT_SHARE = 0.1


def script_of(word: str) -> str | None:
    """The script of a word's first letter, where its words are reduced to stems; else None."""
    match = _SCRIPT.search(word)
    return match.lastgroup if match else None


def detected_scripts(text: str) -> set[str]:
    """The scripts of a text: those whose words have stems if they are there at all, of the others those that have a
    tenth of the letters. Japanese is known by its kana."""
    text = text[:DETECTED_CHARACTERS]
    counts = {script: len(pattern.findall(text)) for script, pattern in (_SPACED | _UNSPACED).items()}
    if counts["Kana"] > MIN_SCRIPT_SHARE * counts["Han"]:
        counts["Kana"] += counts.pop("Han")
    least = MIN_SCRIPT_SHARE * sum(counts.values())
    return {script for script, count in counts.items() if count >= (1 if script in _SPACED else max(1, least))}


def detect_language(
    text: str, among: Iterable[str] = STEMMED, min_words: float = 0, instead_of: Collection[str] = ()
) -> str | None:
    """The language whose function words are most of a folded text's; None where none has enough of them.

    A word that several languages have counts the less for each, so "die" alone makes no English text German. Where
    others are assumed, which is what `instead_of` says, it takes four words more and twice as many as theirs.

    Args:
        min_words: function words that it takes at least.
    """
    words = Counter(_WORD.findall(text[:DETECTED_CHARACTERS]))
    known = _languages_by_word()
    scores: defaultdict[str, float] = defaultdict(float)
    among = frozenset(among)
    for word, times in words.items():
        for language in (languages := known.get(word, frozenset()) & among):
            scores[language] += times / len(languages)
        for letter in frozenset(word) if not word.isascii() else ():
            for language in (languages := _languages_by_letter().get(letter, frozenset()) & among):
                scores[language] += LETTER_SCORE * times / len(languages)
    if not scores:
        return None
    language, score = max(scores.items(), key=lambda each: (each[1], each[0] == "en", each[0]))
    if score < max(min_words, MIN_SHARE * words.total()):
        return None
    assumed = max((scores[each] for each in instead_of), default=0.0)
    return language if not instead_of or score >= max(MIN_MORE + assumed, 2 * assumed) else None


@lru_cache(maxsize=100_000)
def stem_of(word: str, language: str) -> str:
    """The stem of a lowercase word; the word itself where its language has no stemmer."""
    if language == "he":
        return _hebrew_stem(word)
    return str(_stemmer(language).stemWord(word)) if language in STEMMERS else word


_HEBREW_PREFIX = regex.compile(r"ו?(?:כש|[שבלכמ])?ה?")
_HEBREW_SUFFIX = regex.compile(r"(?:יהם|יהן|ותיו|יות|יים|ים|ות|יו|ית|ה|י|ת)$")
MIN_HEBREW = 3


def _hebrew_stem(word: str) -> str:
    """Without the letters that stand for "and", "the", "in", "to", "from" and others, and without endings of number.

    Snowball has no stemmer for Hebrew. At least three letters stay, which is the length of most roots.
    """
    match = _HEBREW_PREFIX.match(word)
    if match and len(word) - match.end() >= MIN_HEBREW:
        word = word[match.end() :]
    match = _HEBREW_SUFFIX.search(word)
    return word[: match.start()] if match and match.start() >= MIN_HEBREW else word


@cache
def _stemmer(language: str) -> Any:
    import Stemmer

    return Stemmer.Stemmer(STEMMERS[language])


@cache
def _languages_by_word() -> dict[str, frozenset[str]]:
    return _turned(FUNCTION_WORDS)


@cache
def _languages_by_letter() -> dict[str, frozenset[str]]:
    return _turned(LETTERS)


def _turned(parts: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """The languages that have each word or letter."""
    languages: dict[str, set[str]] = {}
    for language, each in parts.items():
        for part in each:
            languages.setdefault(part, set()).add(language)
    return {part: frozenset(names) for part, names in languages.items()}
