"""Regular expressions that people bring, each match within a time limit.

A pattern with a repetition within a repetition, such as `(a|aa)+` or `(\\w+\\s?)*\\.`, can take longer than a life on
an answer of one line. The `regex` package reads what `re` reads, ends such a match after a limit, and is not slow with
many of them. A pattern is tried on texts made to be slow when the question file is read.
"""

import re
from functools import lru_cache

import regex

TIME_LIMIT_S = 1.0
"""Processor time of one match of a pattern with an answer."""

TRIAL_LIMIT_S = 0.1
TRIAL_LENGTH = 40
MAX_LETTERS_TRIED = 12
NAME_OR_CLASS = re.compile(r"\?P<\w+>|\\.")
PIECES = ("a", "1", " ", "word ", "a1", "a,", "a.", "1,", "aA")
LONGER_BEFORE = re.compile(r"(?:\w|\w[-/.,:@+]|-)$")
LONGER_AFTER = re.compile(r"\w|[-/.,:@+]\w")
REMEDY = "Write it without a repetition within a repetition"


class PatternTooSlow(ValueError):
    """A match was not found, nor ruled out, within the limit; the text says which pattern."""


def check_pattern(pattern: str) -> None:
    """Raises a ValueError where a text is no regular expression, or one that takes too long on a short text."""
    try:
        re.compile(f"(?:{pattern})")
        compile_pattern(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if (text := _slow_text(pattern)) is not None:
        raise ValueError(f"{pattern!r} takes longer than {TRIAL_LIMIT_S:g} s on {text!r}. {REMEDY}")


def full_match(pattern: str, text: str, *, ignore_case: bool = False) -> "regex.Match[str] | None":
    """The match of a pattern with a whole text. Raises PatternTooSlow."""
    try:
        return compile_pattern(pattern, ignore_case).fullmatch(text, timeout=TIME_LIMIT_S)
    except TimeoutError as error:
        raise _too_slow(pattern) from error


def find_all(pattern: str, text: str, *, ignore_case: bool = False) -> list[str]:
    """What a pattern matches in a text, each from one end of a token to another, once. Raises PatternTooSlow."""
    try:
        found = compile_pattern(pattern, ignore_case).finditer(text, timeout=TIME_LIMIT_S)
        return list(dict.fromkeys(match[0] for match in found if match[0].strip() and _is_apart(match)))
    except TimeoutError as error:
        raise _too_slow(pattern) from error


def _is_apart(match: "regex.Match[str]") -> bool:
    """Whether a match is no part of a longer word, number or code."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    return not (LONGER_BEFORE.search(before[-2:]) or LONGER_AFTER.match(after))


def is_found(pattern: str, text: str) -> bool:
    """Whether a pattern matches somewhere in a text. Raises PatternTooSlow."""
    try:
        return compile_pattern(pattern).search(text, timeout=TIME_LIMIT_S) is not None
    except TimeoutError as error:
        raise _too_slow(pattern) from error


@lru_cache(maxsize=4_096)
def compile_pattern(pattern: str, ignore_case: bool = False) -> "regex.Pattern[str]":
    """Within a group, where flags for the whole pattern may not be."""
    return regex.compile(f"(?:{pattern})", regex.IGNORECASE if ignore_case else 0)


@lru_cache(maxsize=4_096)
def _slow_text(pattern: str) -> str | None:
    """A text of some dozen characters on which a pattern is slow: of one letter or word again and again, with an end
    that does not fit."""
    written = NAME_OR_CLASS.sub("", pattern)
    letters = "".join(dict.fromkeys(character for character in written if character.isalnum()))[:MAX_LETTERS_TRIED]
    pairs = [letters[index : index + 2] for index in range(len(letters))]
    pieces = [*letters, *pairs, letters[:3], *PIECES]
    for piece in dict.fromkeys(piece for piece in pieces if piece):
        # Some matches are given up at once where a letter that they need is not in the text.
        for end in ("\0", f"!{written}\0"):
            text = piece * (TRIAL_LENGTH // len(piece)) + end
            try:
                compile_pattern(pattern).fullmatch(text, timeout=TRIAL_LIMIT_S)
                compile_pattern(pattern).search(text, timeout=TRIAL_LIMIT_S)
            except TimeoutError:
                return str(text)
    return None


def _too_slow(pattern: str) -> PatternTooSlow:
    return PatternTooSlow(f"The pattern {pattern!r} took longer than {TIME_LIMIT_S:g} s on this answer. {REMEDY}.")
