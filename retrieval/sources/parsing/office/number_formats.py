"""A number or a date of a sheet as its format shows it (ECMA-376, part 1, 18.8.30 and 18.8.31).

What is rare (fractions, exponents, conditions) is shown as the plain number.
"""

import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache

Shown = bool | int | float | str | date | datetime | time | timedelta

_PIECES = re.compile(r'"([^"]*)"|\\(.)|_(.)|\*(.)|\[([^\]]*)\]|(.)', re.DOTALL)
_RARE = re.compile(r"[/Ee?]")
_DATE_PARTS = re.compile(
    r'"([^"]*)"|\\(.)|\[(h+|m+|s+)\]|\[[^\]]*\]|_.|\*.|(AM/PM|A/P|y+|m+|d+|h+|s+(?:\.0+)?|.)', re.IGNORECASE | re.DOTALL
)
# Formats that Excel shows by the settings of the machine.
_BY_LOCALE = {"mm-dd-yy": "yyyy-mm-dd", "m/d/yy h:mm": "yyyy-mm-dd h:mm"}
_MAX_INTEGER = 1e21


def show(value: Shown, number_format: str) -> str:
    """A value as the sheet shows it.

    Args:
        value: as openpyxl gives it; days and times are those of `datetime`.
        number_format: the format's code, such as `0.00%`.
    """
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str):
        return value
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, date | time):
        return _show_date(value, number_format)
    return _show_number(value, number_format)


def plain(number: int | float) -> str:
    """A number as a sheet keeps it, in 15 digits."""
    if isinstance(number, int) or (number.is_integer() and abs(number) < _MAX_INTEGER):
        return str(int(number))
    return f"{number:.15g}"


def _show_number(number: int | float, number_format: str) -> str:
    sections = _sections(number_format)
    section, shown = sections[0], number
    if number < 0 and len(sections) > 1:
        section, shown = sections[1], -number
    elif number == 0 and len(sections) > 2:
        section = sections[2]
    prefix, digits, suffix = _divided(section)
    if digits is None:
        # Nothing but text: a dash for nought. Where a number would be hidden, it is shown.
        return prefix if prefix.strip() and number == 0 else plain(number)
    if digits == "General" or _RARE.search(digits):
        return f"{prefix}{plain(shown)}{suffix}".strip()
    return f"{prefix}{_placed(shown, digits, suffix.count('%') + prefix.count('%'))}{suffix}".strip()


@lru_cache(1000)
def _sections(number_format: str) -> list[str]:
    """The formats for positive and negative numbers, nought and text; a semicolon in quotes divides nothing."""
    sections = re.findall(r'((?:"[^"]*"|\\.|[^;])*)(?:;|$)', number_format or "General")
    return sections[: max(1, len(sections) - 1)]


@lru_cache(1000)
def _divided(section: str) -> tuple[str, str | None, str]:
    """The text before the digits, their places, and the text behind; None where there are no digits."""
    before, digits, behind = "", "", ""
    for quoted, escaped, _, _, bracketed, character in _PIECES.findall(section.replace("General", "\0")):
        text = quoted or escaped
        if bracketed:
            if bracketed[0] in "<>=":
                return "", "General", ""
            text = bracketed[1:].partition("-")[0] if bracketed[0] == "$" else ""
        if character and (character in "0#?,./\0" or (character in "Ee" and digits)):
            digits += behind + character if digits else character
            behind = ""
        elif digits:
            behind += text or character
        else:
            before += text or character
    if "\0" in digits:
        return before, "General", behind
    return before, digits or None, behind


def _placed(number: int | float, places: str, num_percents: int) -> str:
    whole, _, fraction = places.partition(".")
    scaled = number * 100**num_percents / 1000 ** (len(places) - len(places.rstrip(",")))
    most, least = sum(each in "0#" for each in fraction), fraction.count("0")
    if abs(scaled) >= _MAX_INTEGER:
        return plain(number)
    # Sheets round halves away from nought, on the 15 digits that they show.
    text = f"{_rounded(scaled, most):.{most}f}"
    left, _, right = text.lstrip("-").partition(".")
    while len(right) > least and right.endswith("0"):
        right = right[:-1]
    filled = _filled("" if left == "0" and "0" not in whole and right else left, whole)
    sign = "-" if text.startswith("-") and text.strip("-0.") else ""
    return sign + filled + (f".{right}" if right else "")


def _rounded(number: float, digits: int) -> float:
    return float(f"{number + (1e-9 if number > 0 else -1e-9) * 10**-digits:.{digits}f}")


def _filled(digits: str, places: str) -> str:
    """The digits before the point, in their places: `00000` fills up with noughts, `000-0000` is divided."""
    pattern = places.rstrip(",")
    if "," in pattern:
        least = sum(each == "0" for each in pattern)
        return f"{int(digits or 0):,}" if len(digits) >= least else digits.rjust(least, "0")
    shown = ""
    first = next((at for at, each in enumerate(pattern) if each in "0#"), 0)
    for at in range(len(pattern) - 1, -1, -1):
        if pattern[at] not in "0#":
            shown = pattern[at] + shown
        elif at == first:
            shown = (digits or ("0" if pattern[at] == "0" else "")) + shown
            digits = ""
        else:
            shown = (digits[-1:] or ("0" if pattern[at] == "0" else "")) + shown
            digits = digits[:-1]
    return shown


def _duration(value: timedelta) -> str:
    seconds = round(value.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _show_date(value: date | time, number_format: str) -> str:
    code = _BY_LOCALE.get(number_format.lower(), number_format)
    parts = _DATE_PARTS.findall(_sections(code)[0].partition(";@")[0])
    names = [part.lower() for _, _, _, part in parts]
    is_12 = any(name in ("am/pm", "a/p") for name in names)
    shown = []
    for at, (quoted, escaped, elapsed, part) in enumerate(parts):
        name = part.lower()
        if name.startswith("m") and _is_minute(names, at):
            name = "minute" if len(name) > 1 else "minute1"
        shown.append(quoted or escaped or _date_part(value, elapsed.lower() or name, part, is_12))
    text = "".join(shown).strip()
    return text if any(character.isdigit() for character in text) else value.isoformat()


def _is_minute(names: list[str], at: int) -> bool:
    """`m` is a month but behind an hour or before a second."""
    before = next((name for name in reversed(names[:at]) if name[:1] in "ymdhs" and name), "")
    after = next((name for name in names[at + 1 :] if name[:1] in "ymdhs" and name), "")
    return before.startswith("h") or after.startswith("s")


def _date_part(value: date | time, name: str, written: str, is_12: bool) -> str:
    day = value if isinstance(value, date) else None
    hours = value.hour if isinstance(value, datetime | time) else 0
    minutes = value.minute if isinstance(value, datetime | time) else 0
    seconds = value.second if isinstance(value, datetime | time) else 0
    if name[:1] == "h":
        hours = (hours % 12 or 12) if is_12 else hours
        return f"{hours:02}" if len(name) > 1 else str(hours)
    if name in ("minute", "minute1"):
        return f"{minutes:02}" if name == "minute" else str(minutes)
    if name[:1] == "s":
        whole, _, places = name.partition(".")
        digits = f"{value.microsecond if isinstance(value, datetime | time) else 0:06}"[: len(places)]
        return f"{seconds:0{len(whole)}}" + (f".{digits}" if digits else "")
    if name in ("am/pm", "a/p"):
        return ("AM" if value.hour < 12 else "PM") if isinstance(value, datetime | time) else ""
    if name[:1] not in ("y", "m", "d"):
        return written
    if day is None:
        return ""
    return {
        "d": str(day.day), "dd": f"{day.day:02}", "ddd": f"{day:%a}", "m": str(day.month), "mm": f"{day.month:02}",
        "mmm": f"{day:%b}", "mmmmm": f"{day:%B}"[0], "yy": f"{day.year % 100:02}", "y": f"{day.year % 100:02}",
    }.get(name, f"{day:%A}" if name[0] == "d" else f"{day:%B}" if name[0] == "m" else str(day.year))  # fmt: skip
