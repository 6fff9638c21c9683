"""One spelling for what is written in several: compatibility forms, case, invisible characters, accents.

    folded("Cafe\u0301 ZU\u0308RICH")    ->  "café zürich"
    without_accents("zürich")            ->  "zurich"

A macOS file name, a PDF and a keyboard write the same word with different characters (Unicode Annex 15).
"""

import unicodedata

import regex

_NO_CHARACTER = regex.compile(r"[\x00\p{Cs}]")
# Soft hyphens, joiners, marks of direction, variation selectors, the Arabic tatweel: they change how a word looks. Of
# Hebrew and Arabic also the vowel signs, which most writers leave out.
_INVISIBLE = regex.compile(
    "[\u00ad\u034f\u061c\u0640\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4]"
)
_ACCENT = regex.compile("[\u0300-\u036f]")
_CYRILLIC = regex.compile(r"\p{Cyrillic}")
_UNDECOMPOSED = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})


def readable(text: str) -> str:
    """A text that every tokenizer and store takes: U+FFFD instead of half a surrogate pair, which is no character, and
    of NUL. Halves that belong together become the character that they are."""
    if not _NO_CHARACTER.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def folded(text: str) -> str:
    """A text in lower case, in the composed compatibility form (NFKC), without characters that nobody sees."""
    composed = unicodedata.normalize("NFKC", readable(text))
    # What becomes of the Turkish capital İ is an i with a dot above it.
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", composed).casefold()).replace("i\u0307", "i")


def without_accents(word: str) -> str:
    """A folded word without the marks above and below Latin and Greek letters; of Cyrillic only ё becomes е."""
    if word.isascii():
        return word
    if _CYRILLIC.search(word):
        return word.replace("ё", "е")
    bare = _ACCENT.sub("", unicodedata.normalize("NFD", word))
    return unicodedata.normalize("NFC", bare).translate(_UNDECOMPOSED)
