"""Letters of a PDF as people type them: no ligatures, no presentation forms, and in the order in which they are read.

A page shows Arabic and Hebrew from the right, and files keep them in either order: the places of the letters decide.
The order of a line is that of the Unicode bidirectional algorithm (UAX #9), backwards: from what is seen to what is
typed. What several texts would show alike (a number between Latin and Hebrew) is taken as the commonest of them.
"""

import re
import unicodedata
from collections.abc import Sequence

Placed = tuple[str, float, float]
"""A letter, and where it begins and ends, from the left."""

_PRINTED = re.compile("[\u0132\u0133\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb4f\ufb50-\ufdff\ufe70-\ufefc]+")
_TURNED_LIGATURES = {
    unicodedata.normalize("NFKC", chr(form))[::-1]: unicodedata.normalize("NFKC", chr(form))
    for form in (*range(0xFEF5, 0xFEFD), 0xFDF2, 0xFDFC)
}
"""Those that PDFium takes apart and does not turn, such as lam with alef."""
_INNER_SOFT_HYPHEN = re.compile("\u00ad+(?=.)")
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def plain(text: str) -> str:
    """Text without ligatures (ﬁ), presentation forms (ﺏ) and soft hyphens but a last one."""
    return _INNER_SOFT_HYPHEN.sub("", _PRINTED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text))


def is_right_to_left(letter: str) -> bool:
    """Whether a letter is one of Hebrew, Arabic and their like."""
    return letter >= "\u0590" and unicodedata.bidirectional(letter[0]) in ("R", "AL")


def is_private(letter: str) -> bool:
    """Whether a code says nothing of the letter: only the font knows what it shows."""
    return letter >= "\ue000" and unicodedata.category(letter) == "Co"


def read_line(words: Sequence[Sequence[Placed]]) -> str:
    """A line in which some words run from right to left, in reading order.

    Args:
        words: from left to right, each with its letters in any order.
    """
    seen = [_from_left(word) for word in words]
    kinds = [_kind(word) for word in seen]
    letters = [letter for word in seen for letter in word]
    is_right_based = sum(map(is_right_to_left, letters)) >= sum(map(_is_left_to_right, letters))
    turned = "RN" if is_right_based else "R"
    typed = [_turned(word) if kind in turned else "".join(word) for word, kind in zip(seen, kinds, strict=True)]
    # In a line from the right all of it is turned, and what runs from left to right is turned back.
    ordered = _reverse_runs(typed[::-1], kinds[::-1], "L") if is_right_based else _reverse_runs(typed, kinds, "R")
    return _with_brackets(plain(" ".join(ordered)))


def _from_left(word: Sequence[Placed]) -> list[str]:
    """The letters by their middle; an accent, and a further part of a ligature, with the letter that it belongs to."""
    units: list[tuple[str, float]] = []
    accents = [letter for letter in word if unicodedata.combining(letter[0][0])]
    for text, left, right in (letter for letter in word if letter not in accents):
        middle = (left + right) / 2
        if units and units[-1][1] == middle:
            # The letters of a ligature: PDFium turns most of them with the rest of a line from the right.
            joined = text + units[-1][0] if is_right_to_left(text) else units[-1][0] + text
            units[-1] = (_TURNED_LIGATURES.get(joined, joined), middle)
        else:
            units.append((text, middle))
    for text, left, right in accents:
        if not units:
            return ["".join(letter[0] for letter in word)]
        nearest = min(range(len(units)), key=lambda place: abs(units[place][1] - (left + right) / 2))
        units[nearest] = (units[nearest][0] + text, units[nearest][1])
    return [text for text, _ in sorted(units, key=lambda unit: unit[1])]


def _kind(word: Sequence[str]) -> str:
    """R where a letter runs from right to left, L where one runs from left to right, N for numbers and signs."""
    if any(map(is_right_to_left, word)):
        return "R"
    return "L" if any(map(_is_left_to_right, word)) else "N"


def _is_left_to_right(letter: str) -> bool:
    return unicodedata.bidirectional(letter[0]) == "L"


def _turned(word: Sequence[str]) -> str:
    """A word from right to left; numbers and Latin letters in it keep their order."""
    turned: list[str] = []
    run: list[str] = []
    for letter in reversed(word):
        direction = unicodedata.bidirectional(letter[0])
        if direction in ("L", "EN", "AN", "ET") or (run and direction in ("ES", "CS")):
            run.append(letter)
        else:
            turned += [*_forwards(run), letter]
            run = []
    return "".join([*turned, *_forwards(run)])


def _forwards(run: list[str]) -> list[str]:
    """A number or a Latin word that was read from its end; separators at its end are not part of it."""
    end = len(run)
    while end and unicodedata.bidirectional(run[end - 1][0]) in ("ES", "CS"):
        end -= 1
    return run[:end][::-1] + run[end:]


def _reverse_runs(words: list[str], kinds: list[str], kind: str) -> list[str]:
    """Words with each run of a kind reversed; numbers between two words of a run belong to it."""
    ordered: list[str] = []
    place = 0
    while place < len(words):
        end = place + 1
        if kinds[place] == kind or (kind == "L" and kinds[place] == "N"):
            last = place if kinds[place] == kind else -1
            while end < len(words) and kinds[end] in (kind, "N"):
                last = end if kinds[end] == kind else last
                end += 1
            end = last + 1 if last >= place else place + 1
        ordered += words[place:end][::-1]
        place = end
    return ordered


def _with_brackets(line: str) -> str:
    """Some files name the bracket that is seen, others the one that is typed: no line begins with a closing one."""
    first = next((letter for letter in line if letter in "()[]{}«»"), "")
    return line.translate(_MIRRORED) if first in tuple(")]}»") else line
