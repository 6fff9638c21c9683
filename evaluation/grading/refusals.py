"""Whether an answer refuses: says that the answer is not known, and gives none.

    read_refusal("Who is the CEO of Foo?", "I'm sorry, but I don't know.")  # Refusal.PLAIN

An answer is cut into clauses, at stops, commas, brackets and words such as "but". Each clause is of one kind:

  - **flat**: the speaker does not know, cannot say or has no information;
  - **silent**: the documents do not say, nothing is mentioned, nobody knows, the speaker is not sure;
  - **guess**: it gives a value ("maybe ...", "it is ...", a few words by themselves, a number), or it denies what the
    question asks in the question's own words ("The plan does not include support");
  - **about**: what the documents deal with instead; "but not Y" behind it refuses;
  - **only**: that the documents deal with nothing but that: silent, unless it says what is asked;
  - **aside**: an apology, a pointer, an offer, words of the question;
  - **other**: anything else.

Only asides beside a refusal make it a plain one. A guess contradicts a flat refusal that says no more than that; beside
another refusal it is an answer with a remark ("I am not sure, but it is 26"). A name, a number or words of the question
in an other clause leave it unclear whether that is an answer.

The words and patterns stand in refusals.toml, by language; refusal_words.py reads it.
"""

import re
from enum import Enum
from functools import lru_cache

from evaluation.grading.refusal_words import (
    SENTENCE_ENDS,
    Clause,
    Language,
    find_clauses,
    languages,
    plain_text,
    usual_words,
    word_set,
)
from evaluation.questions.number_words import find_number_words
from evaluation.questions.words import CITATION_MARKS, asked_words, words_of

BRACKETED = re.compile(r"\s*\([^()\n]{0,30}\d[^()\n]{0,30}\)")
SAYS_WHAT = re.compile(r"(?:which|that|this|it) (?:is|are|was|were) (?:(?:the|his|her|their|its|my|our|your) )*")
DECIDED = ("flat", "silent", "guess")
MAX_CHARACTERS = 4_000
MAX_BARE_WORDS = 3
MAX_WORDS_OF_A_VALUE = 4
MIN_SHARED_PAIRS = 0.6
MIN_ASKED_WORDS = 2
# Within a clause "Not Found" is a name, and denies nothing.
DENYING_NAME = re.compile(r"[a-z]\s+(?:Not|No|Unknown|None)\b")


class Refusal(Enum):
    """How an answer refuses."""

    NONE = "none"
    """It does not refuse: it is an answer, right or wrong."""

    PLAIN = "plain"
    """It refuses and gives no value."""

    CONTRADICTED = "contradicted"
    """It refuses flatly and gives a value all the same ("I do not know. It is 26.")."""

    UNCLEAR = "unclear"
    """The rules cannot say which of these it is."""


@lru_cache(maxsize=1_024)  # arms often say the same
def read_refusal(question: str, answer: str) -> Refusal:
    """How an answer to a question refuses. Pure: the same answer always reads the same.

    Args:
        question: the question's text; a refusal may repeat its words.
        answer: the answer without citation marks.
    """
    text = plain_text(CITATION_MARKS.sub("", answer[:MAX_CHARACTERS]))
    lower = text.casefold()
    cued = [language for language in languages() if language.cues.search(lower)]
    if not cued:
        return Refusal.NONE
    if BRACKETED.search(text):
        text = _without_listed(text, cued, asked_words(question))
    clauses = list(find_clauses(text, cued))
    # "no" is a word of several languages: the answer's is the one that knows most of its clauses.
    read = [([_pattern_kind(language, clause) for clause in clauses], language) for language in cued]
    known, language = max(read, key=lambda row: (len(row[0]) - row[0].count(None), _refuses(row[0])))
    kinds = _kinds(clauses, known, language, question)
    bare = any(kind == "flat" and _is_bare(clause, question) for kind, clause in zip(kinds, clauses, strict=True))
    return _conclude(kinds, bare, cut=len(answer) > MAX_CHARACTERS)


def _without_listed(text: str, cued: list[Language], asked: frozenset[str]) -> str:
    """A text without the values in brackets behind what the documents list: "They only give the height (40 m)"."""
    for sentence in SENTENCE_ENDS.split(text):
        found = BRACKETED.search(sentence)
        if found is None:
            continue
        before = sentence[: found.start()].casefold().split()
        said = [word for word in before if word not in word_set("stop") and _is_asked(word, asked)]
        if len(said) >= MIN_ASKED_WORDS or said[-1:] == before[-1:]:
            continue
        plain = BRACKETED.sub("", sentence)
        first = next(find_clauses(plain, cued), None)
        lists = first is not None and any(language.kind_of(first) in ("about", "only") for language in cued)
        if lists or not word_set("only").isdisjoint(before):
            text = text.replace(sentence, plain)
    return text


def _conclude(kinds: list[str], bare: bool, cut: bool) -> Refusal:
    if "no" in kinds:  # "No, I do not know." refuses; "No, the documents do not mention it." may answer.
        kinds = [kind if kind != "no" else "aside" if "flat" in kinds else "other" for kind in kinds]
    if not _refuses(kinds):
        return Refusal.UNCLEAR if "vague" in kinds and "guess" not in kinds else Refusal.NONE
    if "guess" in kinds:
        return Refusal.CONTRADICTED if bare else Refusal.NONE
    return Refusal.UNCLEAR if cut or "other" in kinds or "vague" in kinds else Refusal.PLAIN


def _refuses(kinds: list[str] | list[str | None]) -> bool:
    return "flat" in kinds or "silent" in kinds


def _pattern_kind(language: Language, clause: Clause) -> str | None:
    kind = language.kind_of(clause)
    return None if kind in ("flat", "silent") and DENYING_NAME.search(clause.text) else kind


def _kinds(clauses: list[Clause], known: list[str | None], language: Language, question: str) -> list[str]:
    kinds: list[str] = []
    lists = document = False
    last = None
    for clause, kind in zip(clauses, known, strict=True):
        lists = lists and not clause.first
        if (lists or document) and kind not in DECIDED and not (lists and language.contrasts(clause)):
            said = language.said_of_document(clause, lists)
            kind = said if said in ("flat", "silent") else kind
        behind = _kind_behind(clause, language, question) if lists and kind not in DECIDED else None
        kinds.append(behind or _kind(clause, kind, language, question))
        lists = lists or kinds[-1] == "about" or kind == "only"
        document = document or language.speaks_of_document(clause)
        if kinds[-1] not in DECIDED and _gives_value(clause, last, kinds, language, question):
            kinds[-1] = "guess"
        last = clause
    return kinds


def _gives_value(clause: Clause, last: Clause | None, kinds: list[str], language: Language, question: str) -> bool:
    """Whether a clause gives a number as an answer would, before a refusal or behind one."""
    if not _refuses(kinds):
        return kinds[-1] in ("aside", "other") and _gives_number(clause, question)
    asked = asked_words(question)
    if (clause.first and len(kinds) == 1) or language.speaks_of_document(clause):
        return False
    if clause.plain.strip() in word_set("yes"):
        return True
    if last is not None and (names := SAYS_WHAT.match(clause.plain)) and _has_new_digits(last, asked):
        return all(_is_asked(word, asked) for word in clause.plain[names.end() :].split())
    if not _has_new_digits(clause, asked) and not find_number_words(clause.plain):
        return False
    having = kinds[-1] in ("other", "vague") and not word_set("having").isdisjoint(clause.words)
    return having or usual_words().search(clause.plain) is not None


def _gives_number(clause: Clause, question: str) -> bool:
    """Whether a clause has a number of its own beside words of the question: "The hall has 350 seats"."""
    asked = asked_words(question)
    words = [word for word in clause.words if word not in word_set("stop")]
    return sum(_is_asked(word, asked) for word in words) >= MIN_ASKED_WORDS and _has_new_digits(clause, asked)


def _kind_behind(clause: Clause, language: Language, question: str) -> str | None:
    """The kind of what follows on "the passages describe X": "but not Y" refuses, a few words say more of X."""
    if language.contrasts(clause):
        return "silent"
    words = clause.words
    asked, stop = asked_words(question), word_set("stop")
    short = len(words) <= MAX_WORDS_OF_A_VALUE or not any(word not in stop and _is_asked(word, asked) for word in words)
    return "aside" if short and (word_set("copulas") | word_set("having")).isdisjoint(words) else None


def _kind(clause: Clause, known: str | None, language: Language, question: str) -> str:
    asked = asked_words(question)
    if clause.plain.strip() in word_set("no"):
        return "no"
    if known is None:
        other = _kind_without_pattern(clause, language, asked)
        return "vague" if other == "other" and language.is_vague(clause) else other
    says_more = {
        "only": lambda: _gives_number(clause, question),
        "flat": lambda: _has_new_digits(clause, asked),
        "silent": lambda: _answers_no(clause, language, question),
        "about": lambda: _states_value(clause, question),
        "aside": lambda: _states_value(clause, question),
    }
    kind = "guess" if known in says_more and says_more[known]() else known
    return "silent" if kind == "only" else kind


def _kind_without_pattern(clause: Clause, language: Language, asked: frozenset[str]) -> str:
    words = clause.words
    if all(_is_asked(word, asked) for word in words):
        return "aside"
    names = language.has_capitals and _has_new_names(clause, asked)
    digits = _has_new_digits(clause, asked)
    if clause.label and clause.first and not names and not digits:
        return "aside"
    if len(words) <= MAX_WORDS_OF_A_VALUE and (clause.first or names or digits):
        return "guess"
    if _says_what_is_asked(words, asked):
        return "guess"
    listed = (
        language.has_capitals
        and not clause.first
        and not names
        and not digits
        and not any(_is_asked(word, asked) for word in words)
    )
    return "aside" if listed else "other"


def _says_what_is_asked(words: list[str], asked: frozenset[str]) -> bool:
    """Whether words of the question stand on one side of "is", and something else on the other."""
    before, behind = _around_copula(words)
    if not before or not behind or behind[0] in word_set("denying"):
        return False
    sides = [all(_is_asked(word, asked) for word in side) and not word_set("stop").issuperset(side)
             for side in (before, behind)]  # fmt: skip
    return sides[0] != sides[1]


def _answers_no(clause: Clause, language: Language, question: str) -> bool:
    """Whether a clause denies what the question asks in its own words: "The plan does not include support"."""
    if language.spaced:
        words = set(clause.words) - word_set("auxiliaries")
        asked = asked_words(question)
        return bool(words - word_set("stop")) and all(_is_asked(word, asked) for word in words)
    characters, asked_text = clause.plain.replace(" ", ""), question.casefold()
    pairs = {characters[index : index + 2] for index in range(len(characters) - 1)}
    return bool(pairs) and sum(pair in asked_text for pair in pairs) >= MIN_SHARED_PAIRS * len(pairs)


def _states_value(clause: Clause, question: str) -> bool:
    """Whether a clause says of what is asked for that it is something: "as of 2023 the CEO was John Smith"."""
    subject, value = _around_copula(clause.words)
    asked_for = next((word for word in words_of(question) if word not in word_set("stop")), None)
    is_said = asked_for in subject and value and value[0] not in word_set("denying")
    return bool(is_said) and _has_new_names(clause, asked_words(question))


def _is_bare(clause: Clause, question: str) -> bool:
    """Whether a clause says no more than that nothing is known: "I do not know", not "I do not know the street"."""
    asked = asked_words(question)
    return sum(not _is_asked(word, asked) for word in clause.words) <= MAX_BARE_WORDS


def _around_copula(words: list[str]) -> tuple[set[str], list[str]]:
    """The words before and behind the first "is"; nothing behind where there is none."""
    at = next((index for index, word in enumerate(words) if word in word_set("copulas")), len(words))
    return set(words[:at]), words[at + 1 :]


def _is_asked(word: str, asked: frozenset[str]) -> bool:
    """Whether the question holds the word, in this or another form, or any sentence may hold it."""
    stem = word.removesuffix("'s").removesuffix("s")
    forms = (word, stem, f"{stem}s", f"{stem}es", word.removesuffix("d"), word.removesuffix("ed"))
    return word in word_set("stop") or not asked.isdisjoint(forms)


def _has_new_names(clause: Clause, asked: frozenset[str]) -> bool:
    """Whether a clause has words with a capital that the question has not; at the start of a sentence one is none."""
    names = []
    for place, raw in enumerate(clause.text.split()):
        word = raw.strip("'-.!?").casefold()
        if raw[:1].isupper() and not _is_asked(word, asked):
            names.append(place)
    return len(names) > 1 or any(place > 0 or not clause.first for place in names)


def _has_new_digits(clause: Clause, asked: frozenset[str]) -> bool:
    return any(any(map(str.isdigit, word)) and word not in asked for word in clause.words)
