"""Dates and times of day in a text, in the orders and languages in which people write them.

    find_dates("It began on March 5th, 2024.")  # [Date(year=2024, month=3, day=5, start=12, end=27)]
    find_times("from 2:30 pm on")               # [Time(minutes=870, start=5, end=12)]

A date in digits alone is read by year first (2024-03-05) or, with points, by day first (05.03.2024). With strokes it is
ambiguous where day and month could be exchanged: then `exchanged` holds the other reading.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

MONTHS = (
    "january jan januar jänner janvier enero ene gennaio gen janeiro januari stycznia января январь",
    "february feb februar février febrero febbraio fevereiro februari lutego февраля февраль",
    "march mar märz mars marzo março maart marca марта март",
    "april apr avril abril aprile abr kwietnia апреля апрель",
    "may mai mayo maggio maio mei maja мая май",
    "june jun juni juin junio giugno junho czerwca июня июнь",
    "july jul juli juillet julio luglio julho lipca июля июль",
    "august aug août agosto ago augustus sierpnia августа август",
    "september sept sep septembre septiembre settembre setembro września сентября сентябрь",
    "october oct oktober okt octobre octubre ottobre outubro out października октября октябрь",
    "november nov novembre noviembre novembro listopada ноября ноябрь",
    "december dec dezember dez décembre diciembre dicembre dezembro grudnia декабря декабрь",
)
BY_NAME = {name: number for number, names in enumerate(MONTHS, 1) for name in names.split()}
DAY_NAMES = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
    " sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third twenty-fourth"
    " twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
)
DAYS = {name: number for number, name in enumerate(DAY_NAMES.split(), 1)}
DAY = "|".join(sorted(DAYS, key=len, reverse=True))
MONTH = "|".join(sorted(BY_NAME, key=len, reverse=True))
OF = r"(?:\s+|\s*,\s*|\.\s*|\s+(?:of|de|del|di|do|d')\s+)"
DATE = re.compile(
    rf"""
      \b(?P<y1>\d{{4}})(?P<sep>[-/.])(?P<m1>\d{{1,2}})(?P=sep)(?P<d1>\d{{1,2}})(?![\d]|[-/.]\d)
    | \b(?P<d2>\d{{1,2}})(?P<sep2>[-/.])(?P<m2>\d{{1,2}})(?P=sep2)(?P<y2>\d{{4}}|\d\d)(?![\d]|[-/.]\d)
    | (?P<y3>\d{{4}})年(?:(?P<m3>\d{{1,2}})月(?:(?P<d3>\d{{1,2}})[日号號])?)?
    | \b(?P<d4>\d{{1,2}}|{DAY})(?:st|nd|rd|th|er|º|°|\.|ª)?(?:{OF}|(?<=\d)-?)(?:day\s+of\s+)?(?P<m4>{MONTH})\b\.?
      (?:(?:{OF}|-)(?P<y4>\d{{4}})\b(?:\s*(?:года\b|году\b|г\.|r\.|roku\b))?)?
    | \b(?P<m5>{MONTH})\b\.?\s+(?:the\s+)?(?P<d5>\d{{1,2}}|{DAY})(?:st|nd|rd|th)?\b(?![.,]\d|:)
      (?:\s*,?\s+(?:of\s+)?(?P<y5>\d{{4}})\b)?
    | (?:(?<=\bam\ )|(?<=\bbis\ )|(?<=\bvom\ )|(?<=\bzum\ )|(?<=\bab\ )|(?<=\bden\ )|(?<=\bdem\ ))
      (?P<d9>0?[1-9]|[12]\d|3[01])\.\ ?(?P<m9>0?[1-9]|1[0-2])\.(?!\ ?\d)
    | (?<![\d/.-])(?P<m7>0?[1-9]|1[0-2])[/.](?P<y7>(?:19|20)\d\d)(?![\d/-]|\.\d)
    | (?<![\d/.-])(?P<y8>(?:19|20)\d\d)-(?P<m8>0[1-9]|1[0-2])(?![\d/.-])
    | \b(?P<m6>{MONTH})\b\.?{OF}(?P<y6>\d{{4}})\b(?:\s*(?:года\b|г\.))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Most texts hold no date: that is seen much faster than that the pattern fits nowhere.
MAY_HOLD_A_DATE = re.compile(
    r"\d[-/.]\d|年|\b(?:" + "|".join(sorted({name[:3] for name in BY_NAME})) + ")", re.IGNORECASE
)
ZONES = {"z": "utc", "gmt": "utc", "ut": "utc", "mez": "cet", "mesz": "cest"}
ZONE = "pacific|eastern|central|mountain|utc|gmt|z|cet|cest|mez|mesz|bst|est|edt|cst|cdt|mst|mdt|pst|pdt|jst|ist|aest"
TIME = re.compile(
    rf"""
    (?<![\w.:])(?:
        (?P<h1>[01]?\d|2[0-4])(?P<sep>[:.]|\s?h\s?)(?P<m1>[0-5]\d)(?::[0-5]\d)?(?!\d|[.:]\d)
        \s*(?P<half1>[ap]\.?\s?m\b\.?)?(?P<mark1>\s*(?:uhr|hrs?|h|o'clock)\b)?(?:\s*(?P<zone1>{ZONE})\b)?
      | (?P<h2>[01]?\d|2[0-4])\s*(?:(?P<half2>[ap]\.?\s?m\b\.?)|(?P<mark2>uhr|o'clock|h(?=\s*$))\b)
      | (?P<h3>[01]\d|2[0-3])(?P<m3>[0-5]\d)\s?(?:(?P<zone2>{ZONE})\b|hrs?\b|hours\b)
      | (?P<word>noon|midnight|midday)
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)


HOURS = {
    name: hour
    for names in (
        "one two three four five six seven eight nine ten eleven twelve",
        "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
        "1 2 3 4 5 6 7 8 9 10 11 12",
    )
    for hour, name in enumerate(names.split(), 1)
}
MINUTES = {"five": 5, "ten": 10, "twenty": 20, "twenty-five": 25, "quarter": 15, "half": 30, "5": 5, "10": 10, "20": 20}
HOUR = "|".join(sorted(HOURS, key=len, reverse=True))
MAY_HOLD_WORDS = re.compile(r"\b(?:past|to|half|halb|viertel|dreiviertel|o'clock|in the|[ap]\.m)\b", re.IGNORECASE)
# "five to ten minutes" is a range of minutes, and "5 to 10" one of numbers.
COUNTED = (
    r"\s*(?:%|°|[$€£])|\s+(?:(?:second|sec|minute|min|hour|day|week|month|year|euro|dollar|pound|item|time|mete?r|mile)s?"
    r"|percent|per cent|people|persons|kg|km|cm|mm|m|g|l|ml)\b"
)
TIME_IN_WORDS = re.compile(
    rf"""
    (?<![\w-])(?:
        (?:a\s+)?(?P<part>half|quarter|twenty-five|twenty|ten|five|[1-5]?\d(?=\s+minutes\s+(?:past|to))|(?:20|10|5)(?=(?:\s+minutes)?\s+past))(?:\s+minutes)?\s+(?P<side>past|to)\s+
        (?P<h1>{HOUR})(?!{COUNTED})
      | half\s+(?P<h2>{HOUR})
        (?!\s+(?:of|a|the|per|percent|hours?|minutes?|days?|years?|million|thousand|hundred|dozen)\b)
      | halb\s+(?P<h3>{HOUR})
      | (?P<h5>{HOUR})(?=\s+o'clock|\s+in\s+the\s+(?:morning|afternoon|evening)\b|\s*[ap]\.m\b)(?<!\d)
      | (?P<h6>[1-9]|1[0-2])(?=\s+in\s+the\s+(?:morning|afternoon|evening)\b)
      | (?P<de>viertel|dreiviertel)(?:\s+(?P<de_side>vor|nach))?\s+(?P<h4>{HOUR})
    )(?![\w.:]\w|\w|-\w)
    (?:\s*o'clock)? (?:\s*(?:(?P<half>[ap]\.?\s?m\b\.?)
        |(?P<day>in\s+the\s+(?:morning|afternoon|evening)|at\s+night)))?
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Date:
    """A date or a part of one, and where in the text it is."""

    year: int | None
    month: int | None
    day: int | None
    start: int = 0
    end: int = 0
    exchanged: bool = False
    """Day and month may be the other way round."""
    asked_end: bool = False
    """It is the end of a range that was asked for."""

    def gives(self, accepted: "Date") -> bool:
        """Whether this date says all that the accepted one says."""
        pairs = ((self.year, accepted.year), (self.month, accepted.month), (self.day, accepted.day))
        return all(wanted is None or given == wanted for given, wanted in pairs)

    def other(self) -> "Date":
        """The same date with day and month exchanged."""
        return replace(self, month=self.day, day=self.month)


@dataclass(frozen=True)
class Time:
    """A time of day in minutes from midnight, and where in the text it is."""

    minutes: int
    start: int
    end: int
    other: int | None = None
    """The same twelve hours earlier or later, where the words leave that open: "half past five"."""
    zone: str = ""
    """The time zone that is named with it, in small letters: "utc"."""
    asked_end: bool = False
    """It is the end of a range that was asked for."""

    def gives(self, accepted: "Time") -> bool:
        """Whether this may be the accepted time, in no other time zone."""
        same = accepted.minutes in (self.minutes, self.other) or self.minutes == accepted.other
        return same and (not self.zone or not accepted.zone or self.zone == accepted.zone)


def find_dates(text: str) -> list[Date]:
    """All dates in a text, in their order. A month alone or a year alone is none."""
    if not MAY_HOLD_A_DATE.search(text):
        return []
    return [date for match in DATE.finditer(text) if (date := _date(match)) is not None]


def find_times(text: str) -> list[Time]:
    """All times of day in a text. Hours and minutes with a point need "am", "pm" or "Uhr" behind them."""
    found = [time for match in TIME.finditer(text) if (time := _time(match)) is not None]
    if not MAY_HOLD_WORDS.search(text):
        return found
    said = [_time_in_words(match) for match in TIME_IN_WORDS.finditer(text)]
    found = [time for time in found if not any(word.start <= time.start < word.end for word in said)]
    return sorted([*found, *said], key=lambda time: time.start)


@lru_cache(maxsize=16_384)
def parse_date(text: str) -> Date | None:
    """The date that a text consists of; None where it is more or less than that."""
    text = text.strip().rstrip(".")
    dates = find_dates(text)
    return dates[0] if len(dates) == 1 and (dates[0].start, dates[0].end) == (0, len(text)) else None


@lru_cache(maxsize=16_384)
def parse_time(text: str) -> Time | None:
    """The time of day that a text consists of; None where it is more or less than that."""
    text = text.strip()
    times = find_times(text)
    return times[0] if len(times) == 1 and (times[0].start, times[0].end) == (0, len(text)) else None


def _date(match: re.Match[str]) -> Date | None:
    found = match.groupdict()
    number = next(key[1] for key in ("y1", "d2", "y3", "d4", "m5", "m6", "m7", "y8", "d9") if found[key] is not None)
    year, month, day = (_part(found.get(f"{part}{number}")) for part in "ymd")
    if number == "2" and len(found["y2"] or "") == 2:
        year = None if year is None else year + (2000 if year < 70 else 1900)
    exchanged = False
    if number == "2" and month is not None and day is not None and found["sep2"] != ".":
        if month > 12:
            month, day = day, month
        else:
            exchanged = day <= 12 and day != month
    if (month is not None and not 1 <= month <= 12) or (day is not None and not 1 <= day <= 31):
        return None
    return Date(year, month, day, match.start(), match.end(), exchanged)


def _part(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.casefold()
    return int(text) if text.isdigit() else DAYS.get(text) or BY_NAME[text]


def _time_in_words(match: re.Match[str]) -> Time:
    """ "half past five", "quarter to seven", "halb sechs", "Viertel nach acht"."""
    if match["h1"]:
        said = match["part"].casefold()
        part = int(said) if said.isdigit() else MINUTES[said]
        minutes = HOURS[match["h1"].casefold()] * 60 + (part if match["side"].casefold() == "past" else -part)
    elif match["h5"] or match["h6"]:
        minutes = HOURS[(match["h5"] or match["h6"]).casefold()] * 60
    elif match["h2"] or match["h3"]:
        minutes = HOURS[(match["h2"] or match["h3"]).casefold()] * 60 + (30 if match["h2"] else -30)
    else:
        whole = match["de"].casefold() == "dreiviertel"
        offset = {"vor": -15, "nach": 15}.get((match["de_side"] or "").casefold(), -15 if whole else -45)
        minutes = HOURS[match["h4"].casefold()] * 60 + offset
    minutes %= 720
    said = (match["half"] or match["day"] or "").casefold()
    if said:
        late = said[0] == "p" or "noon" in said or "evening" in said or "night" in said
        return Time(minutes + (720 if late else 0), match.start(), match.end())
    return Time(minutes, match.start(), match.end(), other=minutes + 720)


def _time(match: re.Match[str]) -> Time | None:
    if match["word"]:
        return Time(0 if match["word"].casefold() == "midnight" else 720, match.start(), match.end())
    if match["h3"]:
        minutes = int(match["h3"]) * 60 + int(match["m3"])
        return Time(minutes, match.start(), match.end(), zone=_zone(match["zone2"]))
    half, mark = match["half1"] or match["half2"], match["mark1"] or match["mark2"]
    if match["sep"] == "." and not (half or mark):
        return None
    hour = int(match["h1"] or match["h2"])
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    return Time(hour * 60 + int(match["m1"] or 0), match.start(), match.end(), zone=_zone(match["zone1"]))


def _zone(text: str | None) -> str:
    zone = (text or "").casefold()
    return ZONES.get(zone, zone)
