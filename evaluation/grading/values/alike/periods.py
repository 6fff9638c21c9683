"""Amounts per day, month or year: an amount per another period than the question's is another amount.

is_per_another("What is the limit per minute?", " per second")     # True
"""

import re
from functools import lru_cache

PERIODS = {
    "second": "second seconds sec s sekunde seconde segundo secondo секунду",
    "minute": "minute minutes min minuto минуту",
    "hour": "hour hours hourly h hr stunde stündlich heure hora ora час",
    "day": "day days daily tag täglich jour quotidien día diario giorno dia день",
    "week": "week weeks weekly woche wöchentlich semaine hebdomadaire semana semanal settimana неделю",
    "month": "month months monthly monat monatlich mois mensuel mes mensual mese mensile mês mensal месяц",
    "year": "year years yearly annual annually annum jahr jährlich an annuel año anual anno annuale ano год",
}
BY_WORD = {word: period for period, words in PERIODS.items() for word in words.split()}
PER = re.compile(
    r"^ ?(?:/|per\b|an?\b|each\b|every\b|pro\b|im\b|par\b|al\b|alla\b|por\b|na\b|в\b|за\b|je\b) ?(?P<period>[^\W\d_]+)"
    r"|^ (?P<adverb>hourly|daily|weekly|monthly|yearly|annually|täglich|wöchentlich|monatlich|jährlich)\b",
    re.IGNORECASE,
)
ASKED = re.compile(
    r"(?:\b(?:per|an?|each|every|pro|im|par|al|alla|por) |/ ?)(?P<period>[^\W\d_]+)"
    r"|\b(?P<adverb>hourly|daily|weekly|monthly|yearly|annual(?:ly)?|monatlich\w*|jährlich\w*|wöchentlich\w*|täglich\w*"
    r"|mensuel\w*|annuel\w*|mensual\w*|anual\w*|mensile|annuale|mensal)\b",
    re.IGNORECASE,
)


def is_per_another(question: str, after: str) -> bool:
    """Whether an amount, by the text right behind it, is one per another period than the one that the question
    names."""
    asked = _asked(question)
    match = PER.match(after) if asked else None
    if match is None:
        return False
    period = BY_WORD.get((match["period"] or match["adverb"]).casefold())
    return period is not None and period not in asked


@lru_cache(maxsize=8_192)
def _asked(question: str) -> frozenset[str]:
    found = set()
    for match in ASKED.finditer(question):
        word = (match["period"] or match["adverb"]).casefold()
        found |= {
            period for form, period in BY_WORD.items() if form == word or (len(form) > 4 and word.startswith(form))
        }
    return frozenset(found)
