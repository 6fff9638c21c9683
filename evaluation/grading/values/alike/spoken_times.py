"""Times of day as people say them in French, Spanish, Italian and Portuguese.

    spoken_times("À huit heures moins le quart", "fr")       # [Time(minutes=465, start=2, end=28, other=1185)]
    spoken_times("quinze para as oito da noite", "pt")       # [Time(minutes=1185, start=0, end=28)]

Those in digits, and those in English and German words, are found by evaluation/questions/dates.py.
"""

import re
from functools import lru_cache

from evaluation.questions.dates import Time
from evaluation.questions.number_words import number_words_of

# By language, ways to say a time, and whether the minutes are before the hour; HOUR, NOON and PART are words.
WAYS: dict[str, tuple[tuple[str, bool], ...]] = {
    "fr": (
        ("HOUR heures?(?: (?:et )?PART)?", False), ("HOUR heures? moins PART", True),
        ("NOON(?: (?:et )?PART)?", False), ("NOON moins PART", True),
    ),
    "es": (
        ("las? HOUR(?: y PART)?", False), ("las? HOUR menos PART", True), ("HOUR y PART", False), ("NOON", False),
    ),
    "it": (
        ("(?:le|alle|dalle|all') ?HOUR(?: e PART)?", False), ("(?:le|alle) HOUR meno PART", True),
        ("HOUR e PART", False), ("NOON(?: e PART)?", False),
    ),
    "pt": (
        ("PART para (?:as|a|o|à) HOUR", True), ("PART para (?:a|o) NOON", True), ("HOUR horas?(?: e PART)?", False),
        ("(?:às|as|à) HOUR(?: e PART)?", False), ("HOUR e PART", False), ("NOON(?: e PART)?", False),
    ),
}  # fmt: skip
NOONS = {
    "fr": {"midi": 12, "minuit": 0}, "es": {"mediodía": 12, "medianoche": 0},
    "it": {"mezzogiorno": 12, "mezzanotte": 0}, "pt": {"meio-dia": 12, "meia-noite": 0},
}  # fmt: skip
ONE = {"fr": {"une": 1}, "es": {"una": 1}, "it": {"una": 1}, "pt": {"uma": 1, "duas": 2}}
PARTS = {
    "fr": {"demie": 30, "demi": 30, "quart": 15, "le quart": 15}, "es": {"media": 30, "cuarto": 15},
    "it": {"mezza": 30, "mezzo": 30, "un quarto": 15}, "pt": {"meia": 30, "um quarto": 15},
}  # fmt: skip
MORNING = {
    "fr": "du matin", "es": "de la mañana|de la madrugada", "it": "di mattina|del mattino|di notte",
    "pt": "da manhã|da madrugada",
}  # fmt: skip
EVENING = {
    "fr": "de l'après-midi|du soir", "es": "de la tarde|de la noche", "it": "del pomeriggio|di sera|della sera",
    "pt": "da tarde|da noite",
}  # fmt: skip


def spoken_times(text: str, language: str) -> list[Time]:
    """The times of day in words in a text, in their order; none for another language."""
    found: list[Time] = []
    for way, minutes_before in _ways(language) if language in WAYS else ():
        found += [_time(match, language, minutes_before) for match in way.finditer(text.casefold())]
    longest = sorted(found, key=lambda time: time.start - time.end)
    kept: list[Time] = []
    for time in longest:
        if not any(time.start < other.end and other.start < time.end for other in kept):
            kept.append(time)
    return sorted(kept, key=lambda time: time.start)


def _time(match: re.Match[str], language: str, minutes_before: bool) -> Time:
    hours, parts = _words(language)
    said = match.groupdict()
    noon, part = said.get("noon"), parts[said["part"]] if said.get("part") else 0
    hour = NOONS[language][noon] if noon else hours[said["hour"]]
    minutes = (hour * 60 + (-part if minutes_before else part)) % 1440
    if said["late"] or said["early"]:
        return Time(minutes % 720 + (720 if said["late"] else 0), match.start(), match.end())
    either = noon is None and hour <= 12
    return Time(minutes, match.start(), match.end(), other=(minutes + 720) % 1440 if either else None)


@lru_cache(maxsize=4)
def _ways(language: str) -> list[tuple[re.Pattern[str], bool]]:
    hours, parts = _words(language)
    words = {"HOUR": hours, "NOON": NOONS[language], "PART": parts}
    named = {
        name: f"(?P<{name.lower()}>{'|'.join(map(re.escape, sorted(table, key=len, reverse=True)))})"
        for name, table in words.items()
    }
    day = rf"(?:,? (?:(?P<early>{MORNING[language]})|(?P<late>{EVENING[language]})))?"
    return [
        (
            re.compile(
                rf"(?<![\w-]){re.sub('HOUR|NOON|PART', lambda word: named[word[0]], way)}(?![\w-]|[:.h]\d){day}"
            ),
            before,
        )
        for way, before in WAYS[language]
    ]


@lru_cache(maxsize=4)
def _words(language: str) -> tuple[dict[str, int], dict[str, int]]:
    """What the words for an hour are worth, and those for minutes."""
    table = {word: number for word, (number, ordinal) in number_words_of(language).items() if not ordinal}
    digits = {str(number): number for number in range(60)}
    hours = {word: number for word, number in (table | ONE[language] | digits).items() if 1 <= number <= 24}
    return hours, {word: number for word, number in (table | PARTS[language] | digits).items() if 1 <= number < 60}
