"""Amounts by the words behind and before them: "125 g of sugar", "four of them", "up to 50", "5 euros per day".

An amount per another period than the question's is another amount.
"""

import re
from functools import lru_cache

from evaluation.questions.numbers import Number
from evaluation.questions.units import parse_unit

OF_STUFF = re.compile(r"\b(?P<unit>[^\W\d_]{4,})(?= (?:of|de|di|von) ([^\W\d_]{3,}))", re.IGNORECASE)
STUFF = re.compile(r" (?:of|de|di|von) ([^\W\d_]{3,})", re.IGNORECASE)
NEXT_NUMBER = re.compile(r" ?(?:\d|(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half)\b)")
REST = re.compile(r"\b(?:remaining|other|rest of the|restlichen|übrigen|restants?|restantes?|rimanenti)\s*$")
OF_THEM = re.compile(
    r"(?: \w+)? ?(?:of (?:them|which|whom|these|those)|davon|von ihnen|d'entre eux|de ell[oa]s|di cui|del[ea]s)\b",
    re.IGNORECASE,
)
# How much something holds is given as "up to 50" too.
CAPACITY = re.compile(
    r"\b(?:can|may|could|capacity|hold|holds|fits?|seats?|accommodat\w*|supports?|range|allow\w*|permitted|kann|konnen|darf"
    r"|durfen|fasst|reichweite|peut|peuvent|autonomie|capacite|puede|pueden|caben|capacidad|puo|possono|capienza|pode|podem"
    r"|capacidade|limite)\b"
)
UP_TO = re.compile(
    r"(?:up to|as many as|as much as|a maximum of|at most|no more than|bis zu|maximal|hochstens|jusqu a|jusqu'a|jusqu"
    r"|au plus|hasta|como maximo|fino a|al massimo|ate|no maximo|om)$"
)
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
    r" ?(?:/|per\b|an?\b|each\b|every\b|pro\b|im\b|par\b|al\b|alla\b|por\b|na\b|в\b|за\b|je\b) ?(?P<period>[^\W\d_]+)"
    r"| (?P<adverb>hourly|daily|weekly|monthly|yearly|annually|täglich|wöchentlich|monatlich|jährlich)\b",
    re.IGNORECASE,
)
BEHIND_AMOUNT = re.compile(rf"(?<=[\w€$£%]){PER.pattern}", re.IGNORECASE)
ASKED = re.compile(
    r"(?:\b(?:per|an?|each|every|pro|im|par|al|alla|por) |/ ?)(?P<period>[^\W\d_]+)"
    r"|\b(?P<adverb>hourly|daily|weekly|monthly|yearly|annual(?:ly)?|monatlich\w*|jährlich\w*|wöchentlich\w*|täglich\w*"
    r"|mensuel\w*|annuel\w*|mensual\w*|anual\w*|mensile|annuale|mensal)\b",
    re.IGNORECASE,
)


def is_of_other_stuff(number: Number, question: str) -> bool:
    """Whether "125 g of sugar" is given where the question asks for grams of butter."""
    asked = {match[2].casefold() for match in OF_STUFF.finditer(question) if parse_unit(match["unit"])}
    if not any(re.search(rf"\b{re.escape(stuff)}", number.text, re.IGNORECASE) for stuff in asked):
        return False
    given = STUFF.match(number.text, number.end) if asked and number.measure else None
    return given is not None and not re.search(rf"\b{re.escape(given[1])}", question, re.IGNORECASE)


def is_capacity(question: str) -> bool:
    """Whether a question, in plain words, asks how much there may be at most."""
    return CAPACITY.search(question) is not None


def is_per_another(question: str, after: str) -> bool:
    """Whether an amount, by the text right behind it, is one per another period than the one that the question
    names."""
    asked = _asked(question)
    match = PER.match(after) if asked else None
    if match is None:
        return False
    period = BY_WORD.get((match["period"] or match["adverb"]).casefold())
    return period is not None and period not in asked


def without_asked_period(question: str, text: str) -> str:
    """A text without "per day" behind an amount, where the question asks for the amount per day."""
    asked = _asked(question)
    if not asked:
        return text

    def dropped(match: re.Match[str]) -> str:
        period = BY_WORD.get((match["period"] or match["adverb"]).casefold())
        return "" if period in asked else match[0]

    return BEHIND_AMOUNT.sub(dropped, text)


@lru_cache(maxsize=8_192)
def _asked(question: str) -> frozenset[str]:
    found = set()
    for match in ASKED.finditer(question):
        word = (match["period"] or match["adverb"]).casefold()
        found |= {
            period for form, period in BY_WORD.items() if form == word or (len(form) > 4 and word.startswith(form))
        }
    return frozenset(found)
