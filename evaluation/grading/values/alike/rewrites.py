"""Signs and turns of phrase that say the same as others: each is rewritten in question and answer alike.

rewritten("plus or minus 50 microns", ("±0.05 mm",))     # "50 microns"
rewritten("in '87", ("1987",))                           # "in 1987"
"""

import re
from fractions import Fraction

from evaluation.grading.values.cues import words
from evaluation.questions.dates import parse_time
from evaluation.questions.numbers import parse_number

PLUS_MINUS = re.compile(r"(?:±|\bplus[ -](?:or[ -])?minus|\bplus/minus|\+/-|\+-|\+ ?/ ?-)\s*", re.IGNORECASE)
RATIO = re.compile(r"\d[\d.,]*:\d[\d.,]*")
RATIO_IN_WORDS = re.compile(r"\b(\d[\d.,]*|one|a) (?:to|in|zu|à|a) (\d[\d.,]*\d|\d)\b", re.IGNORECASE)
SHORT_YEAR = re.compile(r"(?<![\w'])'(\d\d)(?![\w'])")
SHARE_OF_UNIT = re.compile(
    r"\b(?P<share>three[- ]quarters|(?:a |one )?quarter|half|two[- ]thirds|(?:a |one )?third) of an? "
    r"(?P<unit>[a-z]{3,})\b",
    re.IGNORECASE,
)
SHARES = {
    "three quarters": Fraction(3, 4), "quarter": Fraction(1, 4), "half": Fraction(1, 2),
    "two thirds": Fraction(2, 3), "third": Fraction(1, 3),
}  # fmt: skip
ABBREVIATIONS = {
    "ch": "chapter", "sec": "section", "sect": "section", "fig": "figure", "art": "article", "p": "page", "pg": "page",
    "vol": "volume", "no": "number", "kap": "kapitel", "abs": "absatz", "abb": "abbildung", "app": "appendix",
}  # fmt: skip
EXTENSION = re.compile(r"(?<![\w.])\.(?=[a-zA-Z0-9]{2,5}\b)")
SPACED_CODE = re.compile(r"([A-Za-z]{1,4})[ -]?(\d[\w.]*)")
WEEKDAYS = dict(pair.split("=") for pair in words("weekdays"))
WEEKDAY = re.compile(rf"\b({'|'.join(sorted(WEEKDAYS, key=len, reverse=True))})\b\.?", re.IGNORECASE)
OVER = {"twice": 2, "thrice": 3, "zweimal": 2, "dreimal": 3, "einmal": 1}
TIMES_OVER = re.compile(rf"\b(?:{'|'.join(OVER)})\b", re.IGNORECASE)
STREETS = {"St": "street", "Ave": "avenue", "Rd": "road", "Blvd": "boulevard", "Sq": "square", "Ln": "lane",
           "Dr": "drive"}  # fmt: skip
CALL = re.compile(r"[\w.]+\(\)")
ORDINAL_MARK = re.compile(r"(?<=\d)\. ?(?=[ªº])")


def rewritten(text: str, answers: tuple[str, ...]) -> str:
    """A text with these signs and turns in one form, as far as the accepted values make them comparable."""
    if any(PLUS_MINUS.match(answer) for answer in answers):
        text = PLUS_MINUS.sub("", text)
    if any(RATIO.fullmatch(answer.strip()) and not parse_time(answer) for answer in answers):
        text = RATIO_IN_WORDS.sub(lambda ratio: f"{'1' if ratio[1].isalpha() else ratio[1]}:{ratio[2]}", text)
        text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    if years := {answer[2:]: answer for answer in answers if re.fullmatch(r"(?:18|19|20)\d\d", answer)}:
        text = SHORT_YEAR.sub(lambda short: years.get(short[1], short[0]), text)
    if "of a" in text:
        text = SHARE_OF_UNIT.sub(_share, text)
    for short, word in STREETS.items():
        if any(word in answer.casefold() for answer in answers):
            text = re.sub(rf"(?<=\w) {short}\b\.?", f" {word.capitalize()}", text)
    for short, word in ABBREVIATIONS.items():
        if any(word in answer.casefold() for answer in answers):
            text = re.sub(rf"\b{short}\. ?(?=\d)", f"{word} ", text, flags=re.IGNORECASE)
    if any(re.fullmatch(r"[A-Z0-9]{2,5}(?:(?:, | and | or )[A-Z0-9]{2,5})+", answer) for answer in answers):
        text = EXTENSION.sub("", text)
    for answer in answers:
        if re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", answer):
            text = text.replace(f"${{{answer}}}", answer).replace(f"${answer}", answer)
        elif CALL.fullmatch(answer):
            text = re.sub(rf"(?:\b\w+\.)*\b{re.escape(answer[:-2])}\([^()\n]*\)", answer, text)
    for answer in answers:
        if (code := SPACED_CODE.fullmatch(answer)) and not parse_number(answer):
            pattern = rf"(?<![\w.-]){re.escape(code[1])}[ -]?{re.escape(code[2])}(?![\w-]|\.\d)"
            text = re.sub(pattern, answer, text)
    if any(day in answer.casefold() for answer in answers for day in WEEKDAYS.values()):
        text = WEEKDAY.sub(lambda day: WEEKDAYS[day[1].casefold()].capitalize(), text).replace(" + ", " and ")
    if any(TIMES_OVER.search(answer) is None and parse_number(answer) for answer in answers):
        text = TIMES_OVER.sub(lambda times: f"{OVER[times[0].casefold()]} times", text)
    return ORDINAL_MARK.sub("", text)


def _share(match: re.Match[str]) -> str:
    """ "three quarters of an hour" as "45 min", where the unit has smaller ones; else as a decimal number."""
    share = SHARES[re.sub(r"^(?:a|one) ", "", match["share"].casefold().replace("-", " "))]
    number = parse_number(f"1 {match['unit']}")
    if number is None or number.measure is None:
        return match[0]
    if number.measure.dimension == "T" and (minutes := share * number.measure.factor / 60).denominator == 1:
        return f"{minutes} min"
    return match[0] if share.denominator == 3 else f"{float(share)} {match['unit']}"
