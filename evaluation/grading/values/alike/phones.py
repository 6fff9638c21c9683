"""Telephone numbers, which are one number however their digits are grouped.

    read_phone("Call +44 (0)20-7946 0018.", ["020 7946 0018"])   # "right"

A number with the country's code and one without it are the same where the digits behind code and leading zero are.
"""

import re

PHONE = re.compile(r"(?<![\w.,/-])(?:\+|00)?\(?\d[\d \u00a0()/.\-]{5,22}\d(?![\w]|[.,]\d)")
AMERICAN = re.compile(r"(?:1[-. ])?\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}")
NATIONAL_ZERO = re.compile(r"\(0\)")
MIN_DIGITS, MAX_DIGITS = 7, 15


def is_phone(value: str) -> bool:
    """Whether a value is a telephone number: international, or in groups behind a leading zero or bracket."""
    text = value.strip()
    grouped = text[:1] == "(" or (text[:1] == "0" and re.search(r"[ \-/]", text) is not None)
    grouped = grouped or AMERICAN.fullmatch(text) is not None
    return (text[:1] == "+" or grouped) and PHONE.fullmatch(text) is not None and _digits(text) is not None


def read_phone(text: str, values: list[str]) -> str:
    """ "right" where an answer gives one of these numbers and no other, "wrong" where it gives others alone, "unclear"
    where it gives both, and "" where it gives none."""
    given = [digits for match in PHONE.finditer(text) if (digits := _digits(match[0]))]
    wanted = [digits for value in values if (digits := _digits(value))]
    right = [any(_same(one, other) for other in wanted) for one in given]
    if not given:
        return ""
    return "right" if all(right) else "unclear" if any(right) else "wrong"


def _digits(text: str) -> str | None:
    """The digits, behind a "+" where the country's code is given; None where they are too few or too many."""
    text = NATIONAL_ZERO.sub("", text)
    digits = re.sub(r"\D", "", text)
    if not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        return None
    if text.lstrip("( ")[:1] == "+":
        return "+" + digits
    return "+" + digits[2:] if digits.startswith("00") else digits


def _same(one: str, other: str) -> bool:
    if "+" not in (one[0], other[0]) and one.removeprefix("1") == other.removeprefix("1"):
        return True
    if one[0] == other[0] == "+" or "+" not in (one[0], other[0]):
        return one == other
    national, international = sorted((one, other), key=lambda digits: digits[0] == "+")
    rest = national.removeprefix("0")
    return international.endswith(rest) and 1 <= len(international) - 1 - len(rest) <= 3
