"""The plain form in which texts are compared, and how words and sentences are told apart.

Before comparing, a text is made plain: NFKC, lower case, one kind of hyphen, minus and apostrophe, no thousands
separators, one space between words, no quotes, brackets or emphasis around a word, no end stop. Hyphens, decimal points
and signs stay: "-26", "1.26" and "126" are not "26", "Guinea-Bissau" is not "Bissau".

A question's texts are compared with every arm's answer, so their plain forms are kept (`words_of`).
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# A mark begins at the first space before it only: a long run of spaces would cost its square.
CITATION_MARKS = re.compile(r"(?<!\s)\s*\[\d+(?:\s*,\s*\d+)*\]")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
DENIALS = {"not", "never", "neither", "nor", "or", "either", "cannot", "without", "unlike", "except"}
SAME_CHARACTER = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("’‘ʼ", "'") | dict.fromkeys("“”„«»", '"'))
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
WORD_BORDERS = "\"'`*_()[]{}<>,;:!?。"


def normalise(text: str) -> str:
    """The plain form of a text that is compared: see the rules above."""
    return " ".join([word for word in map(_bare, _same_characters(text).split()) if word])


RAISED = re.compile(r"[⁰¹²³⁴-⁹⁺⁻]+")
FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")


def plain_characters(text: str) -> str:
    """A text in NFKC with one kind of hyphen, minus, apostrophe and quote.

    What is raised keeps a mark: NFKC alone would make 10⁵ one hundred and five, and 1½ eleven halves.
    """
    if text.isascii():
        return text
    text = RAISED.sub(lambda raised: f"^{raised[0]}", FRACTION.sub(" ", text))
    return unicodedata.normalize("NFKC", text).replace("\u2044", "/").translate(SAME_CHARACTER)


def _same_characters(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(SAME_CHARACTER)
    text = text.casefold()
    return THOUSANDS.sub("", text) if "," in text else text


def _bare(word: str) -> str:
    """A word without the punctuation around it; a leading point or sign belongs to the number."""
    return word if word.isalnum() else word.lstrip(WORD_BORDERS).rstrip(WORD_BORDERS + ".")


@lru_cache(maxsize=16_384)
def words_of(text: str) -> tuple[str, ...]:
    """The plain words of a text that is compared again and again: a question or an accepted value."""
    return tuple(normalise(text).split())


@lru_cache(maxsize=4_096)
def asked_words(question: str) -> frozenset[str]:
    """The plain words of a question's text, each without a possessive 's too."""
    words = words_of(question)
    return frozenset((*words, *(word.removesuffix("'s") for word in words)))


def passage_holds(passage: str, value: str) -> bool:
    """Whether the words of a value stand in a passage, one after the other."""
    words = words_of(value)
    # Most passages lack a word: that is seen much faster than the plain form is made.
    if not words or not all(word in _passage_characters(passage) for word in words):
        return False
    return f" {' '.join(words)} " in f" {plain_passage(passage)} "


@lru_cache(maxsize=4_096)
def plain_passage(text: str) -> str:
    """The plain form of a passage, which many answers cite."""
    return normalise(text)


@lru_cache(maxsize=4_096)
def _passage_characters(text: str) -> str:
    return _same_characters(text)


def marked_words(text: str) -> list[tuple[str, str]]:
    """Plain words, each with the mark that ends a sentence or opens a value after it: one of . ! ? : or nothing."""
    words: list[tuple[str, str]] = []
    for line in text.splitlines():
        start = len(words)
        for raw in _same_characters(line).split():
            if word := _bare(raw):
                mark = raw.rstrip("\"'*_`)")[-1:]
                words.append((word, mark if mark in ".!?:" else ""))
        if len(words) > start and not words[-1][1]:
            words[-1] = (words[-1][0], ".")
    return words


def last_sentence(words: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The marked words behind the last end of a sentence."""
    ends = (index for index in range(len(words) - 1, -1, -1) if words[index][1] and words[index][1] in ".!?")
    return words[next(ends, -1) + 1 :]


def denies(words: Iterable[str], asked: frozenset[str]) -> bool:
    """Whether a sentence denies or hedges what it says, in words that the question does not use."""
    return any((word in DENIALS or word.endswith("n't")) and word not in asked for word in words)
