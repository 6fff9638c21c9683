"""Long words -> the parts by which other forms of them are found, without a dictionary.

    word_parts("verpflegungspauschale", "de")
    # ("verpflegungspauschale", "verpfle", "gungspauschale", "verpflegungs", "pauschale", ...)

A compound is cut in two at each place where it may be hyphenated, since the border of two words always is one. Most of
these parts are no words. They do no harm: nobody asks for them, and a document and a question get the same ones. Of a
long Russian word its first letters are kept too, since many stems change before their endings.
"""

from functools import cache, lru_cache
from typing import Any

HYPHENATED = {"de": "de_DE", "nl": "nl_NL", "sv": "sv", "da": "da_DK", "nb": "nb_NO", "hu": "hu_HU"}
"""Languages that write compounds as one word, with the name of their hyphenation patterns (LibreOffice's)."""
MIN_LETTERS = 9
MIN_PART = 4
BEGINNINGS = frozenset({"ru"})
MIN_WITH_BEGINNING, BEGINNING = 8, 6


@lru_cache(maxsize=100_000)
def word_parts(word: str, language: str) -> tuple[str, ...]:
    """The word, and where it is long its parts: those of a compound, or its beginning."""
    if language in BEGINNINGS and len(word) >= MIN_WITH_BEGINNING:
        return (word, word[:BEGINNING])
    if language not in HYPHENATED or len(word) < MIN_LETTERS:
        return (word,)
    cuts = [cut for cut in _patterns(language).positions(word) if MIN_PART <= cut <= len(word) - MIN_PART]
    return (word, *(part for cut in cuts for part in (word[:cut], word[cut:])))


@cache
def _patterns(language: str) -> Any:
    import pyphen

    return pyphen.Pyphen(lang=HYPHENATED[language], left=3, right=3)
