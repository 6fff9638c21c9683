"""A folded text -> its words, identifiers and runs of letters without spaces.

Han, kana, Thai, Lao, Khmer and Burmese are written without spaces, and Korean words carry their particles: their runs
are cut into overlapping pieces instead of words, which needs no dictionary and takes questions and documents apart in
the same way (McNamee and Mayfield, Information Retrieval 7, 2004).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import regex

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
_CLUSTERED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_CJK}{_CLUSTERED}\p{{Hangul}}]]+"
_JOINER = r"[-_./@:'’·&+#\u2010\u2011״׳]"
_TOKEN = regex.compile(
    rf"(?P<cjk>[{_CJK}]+)|(?P<clusters>[{_CLUSTERED}]+)|(?P<hangul>\p{{Hangul}}+)"
    rf"|(?P<word>{_WORD}(?:{_JOINER}{_WORD})*(?:\+{{1,2}}|\#)?)",
    regex.V1,
)
_PIECE = regex.compile(_WORD, regex.V1)
_HAN = regex.compile(r"\p{Han}")
# A letter with the marks that are written around it: vowels that Thai and Lao write first, then marks and tones.
_CLUSTER = regex.compile(r"[\u0e40-\u0e44\u0ec0-\u0ec4]?[\p{L}\p{N}][\p{M}\u0e30-\u0e3a\u0e45-\u0e4e]*|\p{M}+")
_BETWEEN_DIGITS = regex.compile(rf"(?<=\p{{N}}){_JOINER}(?=\p{{N}})")
_ANY_JOINER = regex.compile(_JOINER)
_LOOSE = regex.compile("[/:&@]")
_LOOSER = regex.compile(r"[/:&@]|(?<!\p{N})\.|\.(?!\p{N})")
_ONLY_APOSTROPHES = frozenset("'’")

_NAMES = regex.compile(r"\p{N}|[_@]|[+#]$")

Kind = Literal["word", "identifier", "pieces"]


@dataclass(frozen=True, slots=True)
class Token:
    """One term before it is reduced to its stem: a word, an identifier as a whole, or a piece of a run."""

    text: str
    kind: Kind


def tokens_of(text: str) -> Iterator[Token]:
    """The terms of a folded text, in its order."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "word":
            yield from _word_tokens(match[0])
        elif match.lastgroup == "cjk":
            yield from (Token(piece, "pieces") for piece in _cjk_pieces(match[0]))
        elif match.lastgroup == "hangul":
            yield from (Token(piece, "pieces") for piece in _pairs(match[0]))
        else:
            yield from (Token(piece, "pieces") for piece in _cluster_pieces(match[0]))


def identifier_of(text: str) -> str | None:
    """The one spelling of what is written as one word with signs in it, such as ERR-1042, err_1042 and err1042; None
    for a plain word. Signs between digits are kept apart from none: 2.3.1 is not 23.1."""
    signs = set(_ANY_JOINER.findall(text))
    if not signs or signs <= _ONLY_APOSTROPHES:
        return None
    suffix = text[len(text.rstrip("+#")) :]
    return str(_ANY_JOINER.sub("", _BETWEEN_DIGITS.sub("\0", text))).replace("\0", ".") + suffix


def names_of(text: str) -> Iterator[str]:
    """What in a folded text names one thing: identifiers with a digit, an underscore, an @ or a last + or #, and
    numbers, each in its one spelling."""
    for match in _TOKEN.finditer(text):
        for part in _parts(match[0]) if match.lastgroup == "word" else ():
            if _NAMES.search(part):
                yield identifier_of(part) or part


def _word_tokens(word: str) -> Iterator[Token]:
    identifiers = (identifier for part in _parts(word) if (identifier := identifier_of(part)) is not None)
    yield from (Token(identifier, "identifier") for identifier in identifiers)
    yield from (Token(piece, "word") for piece in _PIECE.findall(word))


def _parts(word: str) -> Iterable[str]:
    """The word, and its parts between signs that names seldom have: P-0417 in shop/P-0417.html, 42 in job:42."""
    return dict.fromkeys(part for part in (word, *_LOOSE.split(word), *_LOOSER.split(word)) if part)


def _cjk_pieces(run: str) -> Iterator[str]:
    """Pairs, and each Han character by itself: many are words."""
    yield from _pairs(run)
    if len(run) > 1:
        yield from _HAN.findall(run)


def _pairs(run: str) -> Iterator[str]:
    """Overlapping pairs of characters; a single one as it is."""
    if len(run) == 1:
        yield run
    for start in range(len(run) - 1):
        yield run[start : start + 2]


def _cluster_pieces(run: str) -> Iterator[str]:
    """Overlapping pairs and triples of clusters."""
    clusters = _CLUSTER.findall(run)
    if len(clusters) == 1:
        yield clusters[0]
    for size in (2, 3):
        for start in range(len(clusters) - size + 1):
            yield "".join(clusters[start : start + size])
