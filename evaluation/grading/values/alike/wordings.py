"""Other wordings of an accepted value, and of an answer, that say the same for the question asked.

wordings("Which form do I need?", "Form R-12")      # ["R-12"]: the question has the noun
reworded(question, "APP_LOG=debug")                 # "APP_LOG": the question asks for a variable
"""

import re
from fractions import Fraction
from functools import lru_cache

from evaluation.grading.values.alike.short_names import BEFORE_NAME
from evaluation.grading.values.mentions import COMPANY_FORMS
from evaluation.grading.values.profile import BARE_ARTICLES, CODE_LIKE, TITLES, WHO
from evaluation.questions.dates import parse_date, parse_time
from evaluation.questions.numbers import parse_number
from evaluation.questions.question import Question

NOUN = re.compile(r"(?P<noun>[^\W\d_]{3,}) (?P<rest>\S+)")
BOUND = re.compile(
    r"(?:within|up to|at most|no more than|not more than|no later than|a maximum of|maximum|max\.?|every|"
    r"until|bis zu|bis|"
    r"höchstens|innerhalb von|alle|jusqu'à|dans les|au plus|tous les|toutes les|hasta|cada|como máximo|entro|fino a|"
    r"ogni|"
    r"até|a cada|binnen|elke) (?P<rest>.+)",
    re.IGNORECASE,
)
ASKS_BOUND = re.compile(
    r"\b(?:max\w*|most|limit|until|deadline|within|how (?:long|often|soon|many|much|far|fast)|"
    r"latest|höchst\w*|bis wann|"
    r"wie (?:lange|oft)|jusqu\w*|combien|délai|hasta|cuánto|plazo|entro|fino|até|prazo|hoe (?:lang|vaak))\b",
    re.IGNORECASE,
)
LEADING = re.compile(
    r"(?:de la|de l'|à la|à l'|du|des|de|au|aux|avec(?: (?:le|la|les|du|des|de la|un|une))?|le|la|les|l'|un|une|"
    r"an (?:den|die|das)|mit(?: (?:dem|der|den|einem|einer))?|beim?|im|am|zum|zur|der|die|das|den|dem|"
    r"ein|eine|einen|einem|"
    r"einer|el|los|las|al|a la|del|con(?: (?:el|la|los|las|un|una))?|en (?:el|la)|il|lo|gli|alla?|allo|"
    r"dal|dalla|nel|nella|"
    r"o|os|as|ao|à|no|na|do|da|com|het|een|met(?: een)?|"
    r"bij (?:de|het)|to the|at the|in the|on the|with an?|by)(?: |(?<='))"
    r"(?P<rest>.{3,})"
)
FROM_TO = re.compile(r"([A-ZÀ-Ý][^\W\d_]+)(?:\s?[-–]\s?| (?:to|through|until|bis|à|a) )([A-ZÀ-Ý][^\W\d_]+)")
INNER = {"in", "on", "out", "off", "at", "under", "not", "without", "below", "above", "being"}
HOLD = re.compile(r"\b(?:press|push|click|tap|keep pressing) and hold\b(?: down)?", re.IGNORECASE)
PRESS_HOLD = re.compile(
    r"\b(?:press|push|click|tap) ((?:the |your )?[\w -]{1,40}?),? and (?:then )?"
    r"(?:keep|hold)(?: (?:it|them|both))?(?: down| pressed)?\b",
    re.IGNORECASE,
)
VARIABLE = re.compile(r"\b(?:variable|setting|option|flag|parameter|key|env\w*)\b", re.IGNORECASE)
ASSIGNED = re.compile(r"(?<![\w=])(--?[\w-]{2,}|[A-Za-z_][\w.]*)=[^\s=,;]+?(?=[.,;]?(?:\s|$))")
VERSION = re.compile(r"\b(?:version|release)\b", re.IGNORECASE)
VERSIONED = re.compile(r"\b(?:v|version |release |python |java |node |windows )(?=\d)", re.IGNORECASE)
ARTICLE = re.compile(r"\bart\. ?(?=\d)", re.IGNORECASE)
PER = re.compile(r"\b(?:per|a|an|each|every) (?P<noun>day|week|month|year|hour|minute|second|person|night|seat|page)\b")
CENTS = re.compile(
    r"\b(?P<value>\d{1,3})\s?(?:cents?|ct\.?|¢|pence|rappen|centimes?|céntimos?|centesimi|cêntimos?)(?!\w)",
    re.IGNORECASE,
)
MIN_WORDS, MAX_WORDS = 3, 4
CYRILLIC_NAME = re.compile(r"[А-ЯЁ][а-яё]+ [А-ЯЁ][а-яё]+")
MONEY = {"EUR": "€", "USD": "$", "GBP": "£", "CHF": "CHF", "BRL": "reais"}
WITH_CENTS = re.compile(
    r"\b(?P<whole>\d+) (?P<unit>euros?|dollars?|pounds?|reais|real|francs?|franken|dólares|dollari)"
    r"(?:,? (?:and|et|y|e|und) | )(?P<cents>\d{1,2}) ?(?:cents?|ct|pence|p|centimes?|céntimos?|centavos?|centesimi"
    r"|cêntimos?|rappen)(?!\w)",
    re.IGNORECASE,
)


def wordings(question: str, value: str) -> list[str]:
    """Shorter and longer wordings of an accepted value."""
    found = []
    if (match := NOUN.fullmatch(value)) and _is_code(match["rest"]) and _asks(question, match["noun"]):
        found.append(match["rest"])
    if (match := BOUND.fullmatch(value)) and ASKS_BOUND.search(question):
        rest = match["rest"]
        if parse_number(rest) or parse_date(rest) or parse_time(rest):
            found.append(rest)
    if (match := LEADING.match(value)) and match.end() == len(value):
        found.append(match["rest"])
    found += _shorter_names(question, value)
    if match := FROM_TO.fullmatch(value):
        found += [f"{match[1]}{by}{match[2]}" for by in (" to ", "-", " through ", " until ", " bis ", " à ", " a ")]
    words = value.split()
    if 2 <= len(words) <= 5 and value.islower() and all(word.isalpha() for word in words):
        inner = next((index for index, word in enumerate(words) if index and word in INNER), len(words) - 1)
        found += [" ".join([*words[:inner], verb, *words[inner:]]) for verb in ("is", "are")]
    if " & " in value:
        found += [value.replace(" & ", f" {word} ") for word in ("and", "und", "et", "y", "e")]
    if (title := BEFORE_NAME.match(value)) and value[title.end() :][:1].isupper():
        found.append(value[title.end() :])
    if CYRILLIC_NAME.fullmatch(value):
        first, last = value.split()
        found.append(f"{last} {first}")
    held = _held(value)
    return [*found, held] if held != value else found


def _shorter_names(question: str, value: str) -> list[str]:
    """A company without its form, and where a person is asked for, a name without what is between first and last."""
    words = value.split()
    if len(words) < MIN_WORDS or not all(word[:1].isupper() for word in words):
        return []
    if words[-1].strip(".").casefold() in COMPANY_FORMS:
        return [" ".join(words[:-1])]
    is_person = WHO.search(question.casefold()) and all(
        re.fullmatch(r"[^\W\d_]+\.?|[^\W\d_]+-[^\W\d_]+", word) for word in words
    )
    if (
        not is_person
        or not MIN_WORDS <= len(words) <= MAX_WORDS
        or words[0].endswith(".")
        or words[0].casefold() in TITLES | BARE_ARTICLES
    ):
        return []
    return [f"{words[0]} {words[-1]}"]


def with_wordings(question: Question) -> Question:
    """The question with the other wordings of its accepted values."""
    if question.kind != "value":
        return question
    more = _more(question.question, question.answers)
    return question.model_copy(update={"answers": (*question.answers, *more)}) if more else question


@lru_cache(maxsize=8_192)
def _more(question: str, answers: tuple[str, ...]) -> tuple[str, ...]:
    more = [each for answer in answers for each in wordings(question, answer) if each not in answers]
    return tuple(dict.fromkeys(more))


def reworded(question: Question, text: str) -> str:
    """An answer, that is cleaned, in the words of the question."""
    for pattern, by in _rules(question.question, question.answers):
        text = pattern.sub(by, text)
    text = WITH_CENTS.sub(lambda sum_: f"{sum_['whole']}.{int(sum_['cents']):02} {sum_['unit']}", text)
    if (money := _money(question.answers)) and (MONEY[money] not in text):
        text = CENTS.sub(lambda cents: f"{float(Fraction(int(cents['value']), 100)):.2f} {MONEY[money]}", text)
    return _held(text) if " hold" in text or " keep" in text else text


@lru_cache(maxsize=8_192)
def _rules(question: str, answers: tuple[str, ...]) -> list[tuple[re.Pattern[str], str]]:
    rules = []
    if VARIABLE.search(question) and not any("=" in answer for answer in answers):
        rules.append((ASSIGNED, r"\1"))
    if VERSION.search(question) and all(answer[:1].isdigit() for answer in answers):
        rules.append((VERSIONED, ""))
    for match in PER.finditer(question):
        if not any(match["noun"] in answer for answer in answers):
            rules.append(
                (re.compile(rf"(?<=[\w%€$£]) ?(?:per|a|an|each|every|/) ?{match['noun']}\b", re.IGNORECASE), "")
            )
    if "article" in question.casefold():
        rules.append((ARTICLE, "article "))
    return rules


@lru_cache(maxsize=8_192)
def _money(answers: tuple[str, ...]) -> str:
    """The currency of an accepted amount that has cents; "" without one."""
    for answer in answers:
        number = parse_number(answer)
        if number and number.measure and number.measure.dimension in MONEY and number.value.denominator > 1:
            return number.measure.dimension
    return ""


def _held(text: str) -> str:
    return PRESS_HOLD.sub(r"hold \1", HOLD.sub("hold", text))


def _is_code(word: str) -> bool:
    return CODE_LIKE.fullmatch(word) is not None or word.isdigit() or (len(word) == 1 and word.isupper())


def _asks(question: str, noun: str) -> bool:
    return re.search(rf"\b{re.escape(noun)}s?\b", question, re.IGNORECASE) is not None
