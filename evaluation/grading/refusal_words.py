"""The words of refusals by language, as refusals.toml has them, and how a text is cut into clauses that they begin.

A pattern in that file is a row of tokens; `compile_pattern` says what they are. A language is compiled when an answer
first holds one of its cues.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from evaluation.questions.words import SAME_CHARACTER

KINDS = ("flat", "only", "silent", "guess", "about", "aside")
GAPS = {".": 5, "..": 9}
CHARACTERS_OF_A_WORD = 3
OPTIONAL = re.compile(r"(?:\[(?P<list>.*)\]|(?P<group><\w+>)(?=[?*]))(?P<times>[?*]?)")
MAX_CLAUSES = 80
MAX_CLAUSE = 400
MAX_WORD = 40
# Joiners and halves of characters go; emoji and other signs part words.
REPLACED = {"Cf": "", "Cs": "", "So": " ", "Sk": " "}
MARKS = re.compile(r"</?[a-zA-Z]{1,10}>|\\[a-z]{1,20}\{|[*_`#\"$}{~^\\<>]+")
SENTENCE_ENDS = re.compile(
    r"(?<!\b[a-z]\.[a-z])(?<!\b(?:st|dr|mr|ms|vs|co|jr|sr))(?<!\b(?:mrs|inc|ltd|etc|art|nos|fig|sec|vol))"
    r"[.!?]{1,9}(?=[\s\"')\]]|$)|[。！？；।؟؛…;\n]+",
    re.IGNORECASE,
)
COMMAS = re.compile(r"(?<=지만)\s|[,:](?!\d)|[，、：،()（）\[\]【】—|]|\s[-–]{1,3}\s|-{2,3}")
AROUND_A_CLAUSE = " \t.'!?-•"
CONTRACTIONS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\bcan(?:not|'?t)\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\b(do|does|did|could|would|should|is|are|was|were|have|has|had)n'?t\b", r"\1 not"),
        (r"\bi'?m\b", "i am"),
        (r"'ve\b", " have"),
        (r"'re\b", " are"),
        (r"'ll\b", " will"),
        (r"\b(i|we|you|they|he|she|it)'d\b", r"\1 would"),
        (r"\b(it|that|there|here|what|who|he|she|nothing|this|which)'s\b", r"\1 is"),
        # French and Italian: l'information, n'est, dell'azienda
        (r"\b([cdjlmnst]|qu|dell|nell|sull|all|dall|quell|un)'(?=[^\W\d_]{2})", r"\1' "),
    ]
]


@dataclass(frozen=True)
class Clause:
    """A part of a sentence: as it stands in the answer, and in plain lower case with single spaces and one at the end.
    `first`: no other part of the sentence comes before it; `label`: a colon follows."""

    text: str
    plain: str
    first: bool
    label: bool = False

    @property
    def words(self) -> list[str]:
        return [word for raw in self.plain.split() if (word := raw.strip("'-.!?%"))]


class Language:
    """The words and patterns of one language."""

    def __init__(self, rows: dict[str, Any]) -> None:
        self._rows = rows
        self._words: dict[str, str] = rows.get("words", {})
        self.spaced: bool = rows.get("spaced", True)
        self.has_capitals: bool = rows.get("capitals", True)
        self.cues = re.compile(rows["cues"])

    @cached_property
    def splits(self) -> re.Pattern[str] | None:
        """The words at which a sentence falls into clauses."""
        words = self._rows.get("split")
        if words is None:
            return None
        return re.compile(rf"(?:^|(?<=\s))(?:{words})(?=\s)" if self.spaced else words, re.IGNORECASE)

    @cached_property
    def _intro(self) -> re.Pattern[str]:
        return re.compile(f"^(?:{_with_groups(self._rows.get('intro', ''), self._words)})")

    @cached_property
    def _contrast(self) -> re.Pattern[str]:
        return re.compile(f"(?:{self._rows.get('contrast', '(?!)')}) ")

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [
            (kind, re.compile("|".join(compile_pattern(row, self._words, self.spaced) for row in self._rows[kind])))
            for kind in KINDS
            if self._rows.get(kind)
        ]

    @cached_property
    def _document(self) -> re.Pattern[str] | None:
        names = [name for name in ("noun", "paper") if name in self._words]
        return (
            re.compile(rf"\b(?:{'|'.join(_with_groups(f'<{name}>', self._words) for name in names)})\b")
            if names
            else None
        )

    @cached_property
    def _vague(self) -> list[re.Pattern[str]]:
        return [re.compile(_with_groups(row, self._words)) for row in self._rows.get("vague", ["(?!)"])]

    def kind_of(self, clause: Clause) -> str | None:
        """The kind of the first pattern that begins the clause; None without one."""
        plain = self._intro.sub("", clause.plain, count=1)
        return "aside" if not plain else next((kind for kind, row in self._patterns if row.match(plain)), None)

    def contrasts(self, clause: Clause) -> bool:
        """Whether a clause begins as the second half of "they describe X, but not Y" does."""
        return self._contrast.match(clause.plain) is not None

    def speaks_of_document(self, clause: Clause) -> bool:
        """Whether a clause names what an answer is taken from."""
        return self._document is not None and self._document.search(clause.plain) is not None

    def said_of_document(self, clause: Clause, goes_on: bool) -> str | None:
        """The kind of "it does not say" as "the text does not say"; where a sentence goes on, "it" may be missing."""
        begin = re.match(self._rows.get("anaphor", "(?!)"), clause.plain)
        if begin is None and not goes_on:
            return None
        plain = f"{self._rows.get('document', '')}{clause.plain[begin.end() if begin else 0 :]}"
        return self.kind_of(replace(clause, plain=plain))

    def is_vague(self, clause: Clause) -> bool:
        """Whether a clause has a negation and a word for what an answer is taken from: it may refuse."""
        return all(row.search(clause.plain) for row in self._vague)


@cache
def languages() -> tuple[Language, ...]:
    return tuple(Language(rows) for name, rows in _table().items() if name != "all")


@cache
def word_set(name: str) -> frozenset[str]:
    """A set of single words of all languages."""
    return frozenset(_table()["all"][name].split())


@cache
def usual_words() -> re.Pattern[str]:
    """Words that say what is so in general: "usually", "around"."""
    return re.compile(_table()["all"]["usual"].replace("\n", ""))


@cache
def _table() -> dict[str, Any]:
    text = Path(__file__).with_name("refusals.toml").read_text(encoding="utf-8")
    return tomllib.loads(unicodedata.normalize("NFKC", text).replace("ς", "σ"))  # as casefold does


def compile_pattern(template: str, words: dict[str, str], spaced: bool) -> str:
    """The regular expression of a row of tokens.

    A token is words or regular expressions with | between them and _ for a space, [in brackets] where they may be
    missing, [in brackets]* where there may be several; <name> for a group of `words`; `.` and `..` for up to five and
    nine words of any kind but those of the group `that`; $ for the end.
    """
    between = " " if spaced else ""
    no_end = f"(?!(?:{words['that']}) )" if "that" in words else ""
    parts = []
    for token in template.split():
        if token in GAPS:
            any_word = f"(?:{no_end}\\S+ ){{0,{GAPS[token]}}}?"
            parts.append(any_word if spaced else f".{{0,{CHARACTERS_OF_A_WORD * GAPS[token]}}}?")
        elif token == "$":
            parts.append(" ?$")
        elif token.startswith("(?!"):
            parts.append(_with_groups(token, words).replace("_", " "))
        else:
            optional = OPTIONAL.fullmatch(token)
            body = optional["list"] or optional["group"] if optional else token
            times = optional["times"] or "?" if optional else ""
            parts.append(f"(?:(?:{_with_groups(body, words).replace('_', ' ')}){between}){times}")
    return "".join(parts)


def _with_groups(token: str, words: dict[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda name: f"(?:{_with_groups(words[name[1]], words)})", token)


def plain_text(text: str) -> str:
    """A text without emphasis, markup, quotes and emoji."""
    text = unicodedata.normalize("NFKC", text).translate(SAME_CHARACTER)
    if not text.isascii():
        text = "".join(REPLACED.get(unicodedata.category(character), character) for character in text)
    return MARKS.sub(" ", text)


def find_clauses(text: str, read_in: list[Language]) -> Iterator[Clause]:
    """The clauses of a plain text, in their order; at most 80, each of at most 400 characters."""
    count = 0
    for sentence in SENTENCE_ENDS.split(text):
        first = True
        for part in _parts(sentence, read_in):
            plain = _plain_clause(part)
            if any(map(str.isalnum, plain)) or "?" in part:
                yield Clause(part.strip(), plain, first, label=f"{part.strip()}:" in sentence)
                first, count = False, count + 1
            if count == MAX_CLAUSES:
                return


def _parts(sentence: str, read_in: list[Language]) -> list[str]:
    parts = COMMAS.split(sentence)
    for language in read_in:
        if language.splits is not None:
            parts = [piece for part in parts for piece in language.splits.split(part)]
    return parts


def _plain_clause(text: str) -> str:
    text = text.casefold().strip(AROUND_A_CLAUSE)
    if "'" in text or "nt" in text or "cannot" in text or "im " in text:
        for pattern, replacement in CONTRACTIONS:
            text = pattern.sub(replacement, text)
    return f"{' '.join(word[:MAX_WORD] for word in text[:MAX_CLAUSE].split())} "
