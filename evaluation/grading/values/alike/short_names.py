"""A person's name in full where an answer gives the family name alone, with an initial, or behind a title.

    with_full_names("Who signed?", ("Henrik Solbakken",), "H. Solbakken did.")     # "Henrik Solbakken did."

"Anna Solbakken" and "K. Solbakken" are other people. Only where the question asks for a person.
"""

import re
from functools import lru_cache

TITLES = (
    r"mr|mrs|ms|miss|dr|prof|professor|doctor|sir|dame|lord|lady|captain|coach|president|judge|justice|officer|nurse|sister"
    r"|sergeant|father|rev|reverend|ing|ingegner|ingegnere|herr|frau|doktor|mme|madame|monsieur|maître|sra?|señora?|don|doña"
    r"|senhora?|dona|dott|dottor|signora?|avv|avvocato|inspector|chef|chief|minister|senator|mayor|г-н|г-жа|господин|госпожа"
    r"|mevrouw|mevr|meneer|dhr|mw|pani|pan|fru|herra"
    r"|доктор|профессор|инженер|director|manager|architect|engineer"
)
BEFORE_NAME = re.compile(rf"^(?:(?:{TITLES})\.?(?:-ing\.?)? )+", re.IGNORECASE)
ASKS_PERSON = re.compile(
    r"\b(?:who|whom|whose|wer|wen|wem|wessen|qui|quien|quién|quienes|chi|quem|кто|кого|кому|кем|kto|vem|hvem)\b"
    r"|\b(?:wie heißt|name of the (?:man|woman|person))\b",
    re.IGNORECASE,
)


def with_full_names(question: str, answers: tuple[str, ...], text: str) -> str:
    """The text with short forms of the accepted names in full."""
    if not ASKS_PERSON.search(question):
        return text
    for answer in answers:
        if (patterns := _patterns(answer)) is None:
            continue
        short, other, name = patterns
        if name not in text and not other.search(text):
            text = short.sub(lambda match, name=name: name, text)  # type: ignore[misc]
    return text


@lru_cache(maxsize=8_192)
def _patterns(answer: str) -> tuple[re.Pattern[str], re.Pattern[str], str] | None:
    """A short form of a name, the same family name of another person, and the name in full; None for no such name."""
    name = BEFORE_NAME.sub("", answer)
    words = name.split()
    if not 2 <= len(words) <= 4 or not all(word[:1].isupper() and word.replace("-", "").isalpha() for word in words):
        return None
    first, last = words[0][0], re.escape(words[-1])
    initial = rf"(?:{first}\.[ -]?(?:[^\W\d_]\. ?)*)"
    short = rf"(?<![\w.-])(?:(?:(?i:{TITLES})\.? )+{initial}?|(?:[Ll]['’](?i:{TITLES}) )|{initial})?{last}(?![\w-])"
    known = rf"(?i:{TITLES}|{initial}|the|l)\b"
    other = rf"\b(?!{known})(?!{first}\.)[^\W\d_a-zà-ÿа-я][\w-]*\.? {last}(?![\w-])"
    return re.compile(short), re.compile(other), name
