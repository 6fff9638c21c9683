"""Which language a text is in, by its commonest words: enough to read number words and decimal commas.

language_of("Wie hoch ist die Gebühr?")  # "de"
"""

import re
from functools import lru_cache

COMMON = {
    "en": "the is are of what which who how when where does do was were many much in for and to it you",
    "de": "der die das ist sind wie welche welcher welches was wer wann wo und von in den dem viele hoch muss wird ein",
    "fr": "le la les est sont quel quelle quels quelles qui combien quand où de du des et en un une dans pour à il",
    "es": "el la los las es son qué cuál cuáles quién cuánto cuántos cuántas cuándo dónde de del y en un una por para",
    "it": "il lo la gli le è sono quale quali chi quanto quanti quante quando dove di del della e in un una per che",
    "pt": "o a os as é são qual quais quem quanto quantos quantas quando onde de do da e em um uma por para que não",
    "nl": "de het een is zijn wat welke wie hoe wanneer waar van en in voor hoeveel",
    "pl": "ilu ma mają jak jest są jaki jaka jakie kto ile kiedy gdzie w na i z do czy",
    "sv": "är vad vilken vilket vem hur när var och i på det den av många",
    "da": "er hvad hvilken hvilket hvem hvor hvornår og i på det den af mange",
    "cs": "kolika má mají je jsou jaký jaká jaké kdo kolik kdy kde v na a z do",
    "tr": "var kaçtır nedir hangi kim kaç ne zaman nerede ve bir mi mı",
    "ru": "что какой какая какое кто сколько когда где в на и как это",
}
TABLE = {language: frozenset(words.split()) for language, words in COMMON.items()}
WITH_DECIMAL_COMMA = frozenset(TABLE) - {"en"}
WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=4_096)
def language_of(text: str) -> str:
    """The language with the most common words in a text, as two letters; "en" where none has more than English."""
    words = [word.casefold() for word in WORD.findall(text)]
    counts = {language: sum(word in common for word in words) for language, common in TABLE.items()}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] > counts["en"] else "en"
