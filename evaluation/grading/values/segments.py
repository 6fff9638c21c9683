"""An answer as sentences and clauses, and its words in the form in which they are compared.

    segments("The capital is not Lyon, but Paris.")   # "the capital is not lyon", "paris" behind "but"

A word's `key` is its form without case, accents (of Latin letters) and points between initials; "l'Italie" and "John's"
are two words each. A clause ends at a comma, dash, colon or bracket, and before a word such as "but", "which" or "if".
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache

from evaluation.grading.values.cues import words

WORD = re.compile(
    r"(?:(?<!\w)--?(?=\w)|(?<![\w.])\.(?=\w)|[#@~$\\](?=\w)|(?<![\w/.])/(?=\w))?"
    r"\w+(?:(?:['.@_&]|(?<=\d)[:,](?=\d)|::)\w+)*(?:\+\+|\#|\+(?!\w))?"
)
ELISION = re.compile(r"(l|d|c|qu|n|j|s|m|t|un|dell|all|nell|dall|sull|lorsqu|jusqu|quell)'(?=\w{2})", re.IGNORECASE)
POSSESSIVE = re.compile(r"'s$", re.IGNORECASE)
INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])+")
ABBREVIATIONS = words("abbreviations")
TITLES = ABBREVIATIONS - {"etc", "max", "min", "no", "co", "inc", "ltd", "corp", "jr", "sr"}
VERBS = words("verbs")
BREAKS = words("breaks")
LINKS = words("links")
SUBORDINATE = words("subordinate")
ANDS = words("ands")
NOT_BEFORE_BUT = {"anything", "anywhere", "anyone", "nothing", "all", "none", "nobody", "everything"}
PAST_FORMS = words("past_forms")
AFTER_DEEDS = LINKS | words("after_deeds")
PRONOUNS = words("subjects")
AS_MANY = words("after_as")
AMERICAN = dict(pair.split("=") for pair in words("american"))
ISE = re.compile(r"^(\w{3,})iz(e|ed|es|ing|er|ers|ation|ations)$")
OUR = re.compile(
    r"^(col|fav|hon|harb|lab|neighb|behavi|flav|hum|vap|arm|vig|rum|od)or(s|ed|ing|ite|ites|able|al|hood|y|less|ful)?$"
)
STRIPPED_ACCENTS = dict.fromkeys(range(0x300, 0x370))
UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})


@dataclass(slots=True)
class Token:
    """A word of an answer; `gap` is what stands between it and the one before."""

    text: str
    key: str
    start: int
    end: int
    gap: str
    capital: bool
    alt: str = ""


@dataclass(slots=True)
class Segment:
    """A clause: its words, what it began with ("" for a sentence), and the number of its sentence."""

    tokens: list[Token]
    mark: str
    sentence: int
    asks: bool = False
    bracketed: bool = False
    silent: bool = False
    """It asks, or says again what was asked."""
    keys: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)


def tokens_of(text: str) -> list[Token]:
    """The words of a clean text, in their order."""
    shouting = text.upper() == text and text.lower() != text
    tokens: list[Token] = []
    last = 0
    for match in WORD.finditer(text):
        word, start = match[0], match.start()
        while elision := ELISION.match(word):
            tokens.append(_token(word[: elision.end() - 1], start, text[last:start], shouting))
            start, word = start + elision.end(), word[elision.end() :]
            last = start
        possessive = POSSESSIVE.search(word) if len(word) > 2 else None
        head = word[: possessive.start()] if possessive else word
        tokens.append(_token(head, start, text[last:start], shouting))
        last = start + len(head)
        if possessive:
            tokens.append(Token("'s", "'s", last, last + 2, "", False, "'s"))
            last += 2
    return _merged_initials(tokens)


@lru_cache(maxsize=16_384)
def value_tokens(value: str) -> tuple[Token, ...]:
    """The words of an accepted value, which is compared again and again."""
    return tuple(tokens_of(value))


def segments_of(text: str, tokens: list[Token]) -> list[Segment]:
    """The clauses in their order; what stands in brackets is a clause behind the one that it stands in."""
    done: list[Segment] = []
    current, inner = Segment([], "", 0), None
    sentence = 0
    for index, token in enumerate(tokens):
        if index and _ends_sentence(tokens[index - 1], token):
            asks = "?" in token.gap
            done += [part for part in (current, inner) if part is not None and part.tokens]
            _mark_question(done, sentence, asks)
            sentence += 1
            current, inner = Segment([], ":" if ":" in token.gap else "", sentence), None
        elif inner is None and "(" in token.gap:
            inner = Segment([], "(", sentence, bracketed=True)
        elif inner is not None and ")" in token.gap:
            done.append(inner)
            inner = Segment([], "(", sentence, bracketed=True) if "(" in token.gap[token.gap.index(")") :] else None
            if inner is None and (mark := _mark(token.gap)):
                current = _next(done, current, mark, sentence)
        if inner is not None:
            inner.tokens.append(token)
            continue
        if current.tokens and (mark := _boundary(tokens, index, current)):
            current = _next(done, current, mark, sentence)
        current.tokens.append(token)
    done += [part for part in (current, inner) if part is not None and part.tokens]
    _mark_question(done, sentence, bool(tokens) and "?" in text[tokens[-1].end :])
    done.sort(key=lambda part: part.tokens[0].start)
    for part in done:
        part.keys = [token.key for token in part.tokens]
    return done


def fold(word: str) -> str:
    """A word without case, and without accents where its letters are Latin."""
    word = word.casefold()
    if word.isascii():
        return word
    parts = unicodedata.normalize("NFD", word)
    return parts.translate(STRIPPED_ACCENTS) if "a" <= parts[0] <= "z" or parts[0] < "ʰ" else word


@lru_cache(maxsize=65_536)
def spelled(key: str) -> str:
    """A word in British spelling where it is in American: "anodized", "aluminum" and "color" are one with theirs."""
    if len(key) < 4 or not key.isascii():
        return key
    return AMERICAN.get(key) or ISE.sub(r"\1is\2", OUR.sub(r"\1our\2", key))


def _token(word: str, start: int, gap: str, shouting: bool) -> Token:
    key = spelled(fold(word.replace(".", "") if INITIALS.fullmatch(word) else word))
    plain = word.casefold()
    alt = fold(plain.translate(UMLAUTS)) if not plain.isascii() else key
    return Token(word, key, start, start + len(word), gap, word[:1].isupper() and not shouting, alt)


def _merged_initials(tokens: list[Token]) -> list[Token]:
    merged: list[Token] = []
    for token in tokens:
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.capital and token.capital
            and len(token.key) == 1 and token.key.isalpha()
            and last.text.isupper() and last.key.isalpha() and len(last.key) <= 3
            and (len(last.key) == 1 or "." in last.text)
            and token.gap in (".", ". ", " ")
        ):  # fmt: skip
            last.text, last.key, last.alt, last.end = (
                f"{last.text}.{token.text}",
                last.key + token.key,
                last.alt + token.alt,
                token.end,
            )
        else:
            merged.append(token)
    return merged


def _ends_sentence(last: Token, token: Token) -> bool:
    gap = token.gap
    if "\n" in gap:
        return True
    if "." in gap and last.key in ABBREVIATIONS and "?" not in gap and "!" not in gap:
        return False
    if (
        gap.startswith(".")
        and last.capital
        and token.capital
        and ".." not in gap
        and token.key not in PRONOUNS
        and (len(last.key) == 1 or ("." in last.text and INITIALS.fullmatch(last.text)))
    ):
        return False
    if ".." in gap and not token.capital:
        return False
    return (any(mark in gap for mark in ".!?") and (" " in gap or "\t" in gap)) or any(mark in gap for mark in "。…؟।")


def _boundary(tokens: list[Token], index: int, current: Segment) -> str:
    token, last = tokens[index], tokens[index - 1]
    if mark := _mark(token.gap):
        return mark
    key = token.key
    if key in BREAKS:
        every = any(token.key in ("every", "all", "any", "each") for token in current.tokens[-3:])
        bare = every and not any(token.key in VERBS for token in current.tokens)
        return "" if key == "but" and (last.key in NOT_BEFORE_BUT or bare) else key
    if key == "not" and last.key not in VERBS and last.key not in ("'s", "or", "not", "also"):
        return key
    if key in SUBORDINATE and len(current) > 1 and _verb_near(tokens, index + 1):
        return key
    if key == "as" and index + 1 < len(tokens) and tokens[index + 1].key in AS_MANY:
        return key
    if key in ANDS and _is_gapped(tokens, index, current):
        return key
    if key in ANDS and any(each.key in VERBS for each in current.tokens) and _verb_near(tokens, index):
        return key
    if (
        key in ANDS
        and _goes_on(tokens, index)
        and any(
            each.key in VERBS or each.key in PAST_FORMS or _is_deed(each, after)
            for each, after in zip(current.tokens, [*current.tokens[1:], token], strict=True)
        )
    ):
        return key
    return ""


def _is_gapped(tokens: list[Token], index: int, current: Segment) -> bool:
    """Whether a clause without its verb begins: "the cables come from Tessaro and the sensors from Brugg"."""
    links = {token.key for token in current.tokens} & LINKS
    after = tokens[index + 1 : index + 6]
    place = next((number for number, token in enumerate(after) if token.key in links), 0)
    return (place == 1 and not after[0].capital and after[0].key not in links) or (
        place > 0 and after[0].key in ("the", "a", "an", "die", "der", "das", "les", "le", "la", "los", "las", "el")
    )


def _goes_on(tokens: list[Token], index: int) -> bool:
    """Whether another deed follows: "and leaves from Kiel", "and was finished in 1975"."""
    after = tokens[index + 1 : index + 4]
    if len(after) == 3 and after[0].capital and after[1].gap == " ":
        return _is_deed(after[1], after[2])
    return bool(after) and (after[0].key in VERBS or (len(after) > 1 and _is_deed(after[0], after[1])))


def _is_deed(token: Token, after: Token) -> bool:
    """Whether a word may be a verb by its ending and by what follows: "arrives at", "sells it"."""
    key = token.key
    shaped = key in PAST_FORMS or (len(key) > 3 and token.text.islower() and key.endswith(("s", "ed")))
    return shaped and (after.key in AFTER_DEEDS or after.text[0].isdigit()) and not _mark(after.gap)


def _verb_near(tokens: list[Token], index: int) -> bool:
    for each in tokens[index + 1 : index + 5]:
        if _mark(each.gap) or any(mark in each.gap for mark in ".!?\n"):
            return False
        if each.key in VERBS or each.key in ("'s", "it's"):
            return True
    return False


def _mark(gap: str) -> str:
    for mark in ":¦;,、،":
        if mark in gap:
            return "," if mark in "、،" else mark
    return ("," if ".." in gap else "") or ("=" if "=" in gap else "")


def _next(done: list[Segment], current: Segment, mark: str, sentence: int) -> Segment:
    if current.tokens:
        done.append(current)
    return Segment([], mark, sentence)


def _mark_question(done: list[Segment], sentence: int, asks: bool) -> None:
    if asks:
        for part in done:
            if part.sentence == sentence:
                part.asks = True
