"""Signs and turns of phrase that say the same as others: each is rewritten in question and answer alike.

rewritten("plus or minus 50 microns", ("±0.05 mm",))     # "50 microns"
rewritten("in '87", ("1987",))                           # "in 1987"
"""

import re
from fractions import Fraction

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
