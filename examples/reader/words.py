"""Invented words, names and values, drawn so widely that a real name is only one more string.

Everything takes a `random.Random`, so that a seed fixes every passage.
"""

# ruff: noqa: SIM905  (word lists read better as text)
from __future__ import annotations

from collections.abc import Callable
from random import Random

_ONSETS = (
    "b c d f g h j k l m n p r s t v w y z bl br ch cl cr dr fl fr gh gl gr kh kr kn ph pl pr qu rh sc sh sk sl sm "
    "sn sp st str sw th tr ts tw wh wr x zh"
).split() + [""] * 8
_NUCLEI = "a e i o u a e i o u a e i o u a e i o u ai au ea ee ei eo ia ie io iu oa oe oi oo ou ua ue ui y".split()
_CODAS = (
    "b c ck d f g h k l ld ll lm ls m mb n nd ng nk ns nt p r rd rg rk rm rn rs rt s sh sk ss st t th v x z"
).split()
_CODAS = [*_CODAS, *[""] * 36]
_ENDINGS = "ia land stan um ium ine on en an ese ish ic ism er or in a o y ania burg ton ville esia ar al".split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ACCENTS = {
    "a": "áàâäãåāă",
    "e": "éèêëēęě",
    "i": "íìîïīı",
    "o": "óòôöõøōő",
    "u": "úùûüūů",
    "c": "çćč",
    "n": "ñńň",
    "s": "śšşș",
    "z": "źžż",
    "y": "ýÿ",
    "l": "ł",
    "t": "ťț",
    "d": "ďđ",
    "g": "ğ",
    "r": "ř",
}
_SCRIPTS = (
    (0x0410, 0x044F),
    (0x03B1, 0x03C9),
    (0x0627, 0x064A),
    (0x05D0, 0x05EA),
    (0x0905, 0x0939),
    (0x0E01, 0x0E2E),
    (0x3042, 0x3093),
    (0x30A2, 0x30F3),
    (0x4E00, 0x9FA0),
    (0xAC00, 0xD7A0),
    (0x1200, 0x1357),
    (0x10D0, 0x10F0),
)
COMMON = (
    "north south east west new old great upper lower central saint island islands republic kingdom states federal "
    "democratic people union united river lake mountain bay port city county valley coast field house hill "
    "dollar pound crown mark real sign group order code name number status method part unit line type model "
    "red green blue white black yellow gold silver light dark long short high low big small first second third "
    "open closed not found bad request error content service gateway time accepted moved only required "
    "solid liquid gas metal noble common rare early late modern ancient classical language creole standard "
    "convertible commonwealth emirate principality territory former provinces outer inner southern northern"
).split()
_JOINERS = ("of", "the", "and", "de", "la", "du", "of the", "&", "da", "el")


def word(rng: Random) -> str:
    """One invented lower-case word: mostly syllables, sometimes plain random letters."""
    draw = rng.random()
    if draw < 0.12:
        made = "".join(rng.choices(_LETTERS, k=rng.randint(2, 9)))
    else:
        made = "".join(_syllable(rng) for _ in range(rng.choice((1, 1, 2, 2, 2, 3))))
        if draw > 0.75:
            made += rng.choice(_ENDINGS)
    return _accented(rng, made) if rng.random() < 0.05 else made


def _syllable(rng: Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS)


def name(rng: Random) -> str:
    """The name of a thing: one to four words, a code, or words with a number."""
    draw = rng.random()
    if draw < 0.5:
        return _title_word(rng)
    if draw < 0.72:
        return f"{_title_word(rng)} {_title_word(rng)}"
    if draw < 0.80:
        return f"{_title_word(rng)} {_plain_or_title(rng)} {_title_word(rng)}"
    if draw < 0.84:
        return f"{_title_word(rng)} {rng.choice(_JOINERS)} {_title_word(rng)}"
    if draw < 0.87:
        return f"{_title_word(rng)} {rng.choice(_JOINERS)} {_title_word(rng)} {_title_word(rng)}"
    if draw < 0.89:
        return f"{_title_word(rng)}{rng.choice('-’' + chr(39))}{_title_word(rng)}"
    if draw < 0.90:
        return f"{_title_word(rng)}, {_title_word(rng)} {rng.choice((_title_word(rng), 'of', 'of the'))}"
    if draw < 0.91:
        return f"{_title_word(rng)} ({rng.choice((word, _title_word))(rng)})"
    if draw < 0.97:
        return f"{rng.choice((code, _title_word, _title_word))(rng)} {_plain_or_title(rng)} {number(rng)}"
    return f"{code(rng)}{rng.choice(('', '-', ' '))}{number(rng)}"


def similar_name(rng: Random, other: str) -> str:
    """A name that shares words with `other`, as "North Vel" does with "South Vel", or has another number."""
    parts = other.split(" ")
    if parts[-1].isdigit():
        digits = list(parts[-1])
        digits[rng.randrange(len(digits))] = rng.choice("0123456789")
        return " ".join([*parts[:-1], "".join(digits) if rng.random() < 0.7 else number(rng)])
    spot = rng.randrange(len(parts))
    if rng.random() < 0.4:  # Thorium, Thulium
        kept = parts[spot][: rng.randint(1, max(1, len(parts[spot]) - 1))]
        return " ".join([*parts[:spot], kept + word(rng)[: rng.randint(1, 5)], *parts[spot + 1 :]])
    draw = rng.random()
    if len(parts) == 1 or draw < 0.35:
        return f"{_title_word(rng)} {other}" if draw < 0.2 else f"{other} {_title_word(rng)}"
    return " ".join([*parts[:spot], _title_word(rng), *parts[spot + 1 :]])


def code(rng: Random) -> str:
    """Two to four capital letters."""
    return "".join(rng.choices(_LETTERS.upper(), k=rng.choice((2, 2, 3, 3, 3, 4))))


def number(rng: Random) -> str:
    """A whole number of one to four digits."""
    return str(rng.randrange(10 ** rng.choice((1, 2, 3, 3, 4))))


def decimal(rng: Random) -> str:
    """A number with one to five decimals, now and then negative."""
    sign = "-" if rng.random() < 0.1 else ""
    return f"{sign}{number(rng)}." + "".join(rng.choices("0123456789", k=rng.randint(1, 5)))


def value(rng: Random, shape: int) -> str:
    """A value of one of `NUM_SHAPES` shapes, so that the facts of one kind of thing look alike."""
    return _SHAPES[shape % NUM_SHAPES](rng)


def similar_value(rng: Random, other: str) -> str:
    """A value that differs from `other` in one letter or digit, or in its end."""
    spot = rng.randrange(len(other))
    if other[spot].isdigit():
        return other[:spot] + rng.choice("0123456789") + other[spot + 1 :]
    if other[spot].isalpha() and other[spot].isascii():
        letter = rng.choice(_LETTERS)
        return other[:spot] + (letter.upper() if other[spot].isupper() else letter) + other[spot + 1 :]
    return other


def related(rng: Random, title: str) -> str:
    """A value made from the name of the thing: "Republic of Vel", "Velian Crown", "VEL"."""
    draw = rng.random()
    if draw < 0.25:
        return f"{_title_word(rng)} {rng.choice(_JOINERS)} {title}"
    if draw < 0.4:
        return f"{_title_word(rng)} {_title_word(rng)} {rng.choice(_JOINERS)} {title}"
    if draw < 0.6:
        return f"{title}{rng.choice(('n', 'an', 'ian', 'i', 'ese', 'ish', ''))} {_title_word(rng)}"
    if draw < 0.65:
        return title
    letters = [letter for letter in title if letter.isalpha()] or ["x"]
    if draw < 0.75:
        return "".join(letters[: rng.randint(1, 3)]).upper()
    tail = rng.choices(letters, k=rng.randint(0, 2))
    made = letters[0] + "".join(tail)
    return rng.choice((made.upper(), made.upper(), made.lower(), made[:1].upper() + made[1:].lower()))


def _phrase(rng: Random) -> str:
    return " ".join(rng.choice((word(rng), rng.choice(COMMON))) for _ in range(rng.randint(1, 3)))


def _official(rng: Random) -> str:
    head = " ".join(_title_word(rng) for _ in range(rng.randint(1, 2)))
    return f"{head} {rng.choice(_JOINERS)} {_title_word(rng)}"


def _title_phrase(rng: Random) -> str:
    return " ".join(_title_word(rng) for _ in range(rng.randint(1, 4)))


def _document(rng: Random) -> str:
    dotted = ".".join(str(rng.randrange(1, 20)) for _ in range(rng.randint(1, 3)))
    return f"{code(rng)} {number(rng)}, {_title_word(rng)} {dotted}"


def _measure(rng: Random) -> str:
    unit = rng.choice((word(rng), "million", "K", "g/cm3", "kg", "percent", "%"))
    return f"{rng.choice((number, decimal))(rng)} {unit}"


def _foreign(rng: Random) -> str:
    low, high = rng.choice(_SCRIPTS)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(2, 5)))


def _digits(rng: Random) -> str:
    return "".join(rng.choices("0123456789", k=rng.randint(1, 6)))


def _symbol(rng: Random) -> str:
    first: str = rng.choice(_LETTERS).upper()
    second: str = rng.choice(["", *_LETTERS])
    return first + second


def _plain_or_title(rng: Random) -> str:
    return rng.choice((rng.choice(COMMON), word(rng), _title_word(rng)))


def _title_word(rng: Random) -> str:
    made = rng.choice(COMMON) if rng.random() < 0.12 else word(rng)
    return made[:1].upper() + made[1:]


def _accented(rng: Random, text: str) -> str:
    letters = list(text)
    for spot in rng.sample(range(len(letters)), k=min(len(letters), rng.choice((1, 1, 2)))):
        letters[spot] = rng.choice(_ACCENTS.get(letters[spot], letters[spot]))
    return "".join(letters)


def _accented_name(rng: Random) -> str:
    return _accented(rng, name(rng))


_SHAPES: tuple[Callable[[Random], str], ...] = (
    code, _digits, decimal, name, name, _phrase, word, _official, _title_phrase, _document, _measure, _foreign, number,
    _symbol, code, _digits, name, _accented_name, decimal, decimal, _measure, _measure, _document,
)  # fmt: skip
NUM_SHAPES = len(_SHAPES)
