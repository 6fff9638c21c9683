"""Words in another case, in languages that write the case into the word: "из алюминия" for "алюминий"."""

import re
from functools import lru_cache

CYRILLIC = re.compile(r"[а-яё]{4,}")
ENDING = re.compile(r"(?:[аеёиоуыэюяйь]|[аеиоыуюя][гмх]о?|[аыи]ми|[оеё][йв]|ях|ам|ям)$")


def same_word(one: str, other: str) -> bool:
    """Whether two words in small letters are forms of one, in a language that writes its cases into the words."""
    if not CYRILLIC.fullmatch(one) or not CYRILLIC.fullmatch(other):
        return False
    return _root(one) == _root(other)


@lru_cache(maxsize=16_384)
def _root(word: str) -> str:
    while len(word) > 4 and (match := ENDING.search(word)) and match.start() >= 3:
        word = word[: match.start()]
    return word
