"""Corrections of real standards: what used to be true was trained on, what is true now stands in the documents.

Every row names who made the change. The currencies are computed from CLDR's own history; the other rows are written
down here from the publications that they name.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from datetime import date

import pycountry
from babel.core import get_global

from examples.quickstart.facts import ENGLISH, TODAY, Entity, currencies_on

BEFORE = date(1998, 12, 31)
"""The day whose currencies count as the old ones: the eve of the euro."""
CLDR = "CLDR currency history of territories, as packaged in Babel"
NEW_NAME = ("AT", "BE", "DE", "EC", "ES", "FI", "FR", "GR", "HR", "IE", "IT", "NL", "PT", "SR", "SV", "TJ")
NEW_CODE = ("AF", "AZ", "BY", "GH", "MR", "MZ", "RO", "SL", "TR", "VE", "ZM")


@dataclass(frozen=True)
class Change:
    """The `key` of `name` was `old` until the year `since`, and is `new` from then on, as `authority` says."""

    name: str
    key: str
    old: str
    new: str
    since: int
    authority: str


def _iupac(name: str, old: str, new: str, year: int) -> Change:
    return Change(name, "atomic weight", old, new, year, f"IUPAC standard atomic weights, revision of {year}")


def _phrase(code: int, old: str, new: str, year: int, rfc: int) -> Change:
    return Change(f"HTTP status {code}", "reason phrase", old, new, year, f"RFC {rfc}, {year}")


def _rfc(code: int, old: str) -> Change:
    name = f"HTTP status {code}"
    return Change(name, "defining document", old, "RFC 9110", 2022, f"RFC 9110, 2022, obsoletes {old}")


def _official(name: str, old: str, new: str, year: int) -> Change:
    return Change(name, "official name", old, new, year, f"ISO 3166-1, name as changed in {year}")


PUBLISHED = (
    _iupac("Argon", "39.948", "39.95", 2017),
    _iupac("Cadmium", "112.411", "112.414", 2013),
    _iupac("Gadolinium", "157.25", "157.249", 2024),
    _iupac("Hafnium", "178.49", "178.486", 2019),
    _iupac("Mercury", "200.59", "200.592", 2011),
    _iupac("Molybdenum", "95.96", "95.95", 2013),
    _iupac("Selenium", "78.96", "78.971", 2013),
    _iupac("Ytterbium", "173.054", "173.045", 2015),
    _iupac("Zirconium", "91.224", "91.222", 2024),
    _phrase(302, "Moved Temporarily", "Found", 1999, 2616),
    _phrase(413, "Request Entity Too Large", "Content Too Large", 2022, 9110),
    _phrase(422, "Unprocessable Entity", "Unprocessable Content", 2022, 9110),
    _rfc(304, "RFC 7232"),
    _rfc(401, "RFC 7235"),
    _rfc(404, "RFC 7231"),
    _official("Bolivia", "Republic of Bolivia", "Plurinational State of Bolivia", 2009),
    _official("Eswatini", "Kingdom of Swaziland", "Kingdom of Eswatini", 2018),
    _official("Nepal", "Kingdom of Nepal", "Federal Democratic Republic of Nepal", 2008),
    _official("Türkiye", "Republic of Turkey", "Republic of Türkiye", 2022),
    Change("Sudan", "numeric code", "736", "729", 2011, "UN M49, new code when South Sudan became independent"),
)


def changes() -> list[Change]:
    """All corrections, in a fixed order."""
    return [*_currencies(), *_codes(), *PUBLISHED]


def corrected(entities: list[Entity], corrections: list[Change]) -> list[Entity]:
    """`entities` with the new values. Raises KeyError where a correction names no fact of theirs."""
    by_name = {entity.name: entity for entity in entities}
    for change in corrections:
        entity = by_name[change.name]
        if change.key not in entity.facts:
            raise KeyError(f"{change.name} has no {change.key}")
        by_name[change.name] = replace(entity, facts=entity.facts | {change.key: change.new})
    return list(by_name.values())


def as_row(change: Change) -> dict[str, str | int]:
    """The line of data/changes.jsonl."""
    return asdict(change)


def _currencies() -> list[Change]:
    """Currencies that were replaced: a new one, or the same name with a new code after zeros were struck off."""
    found = []
    for territory in sorted([*NEW_NAME, *NEW_CODE]):
        [old], [new] = currencies_on(territory, BEFORE), currencies_on(territory, TODAY)
        since = _year_of_start(territory, new)
        name = ENGLISH.territories[territory]
        if territory in NEW_CODE:
            found.append(Change(name, "currency code", old, new, since, CLDR))
        else:
            found.append(Change(name, "currency", _plain(old), _plain(new), since, CLDR))
    return found


def _year_of_start(territory: str, currency: str) -> int:
    starts = [row[1] for row in get_global("territory_currencies")[territory] if row[0] == currency]
    return int(starts[0][0])


def _plain(currency: str) -> str:
    """The English name without its years: CLDR writes "Tajikistani Ruble" but "Afghan Afghani (1927–2002)"."""
    return re.sub(r" \(.*\)", "", ENGLISH.currencies[currency])


def _codes() -> list[Change]:
    """Codes that were withdrawn for another one."""
    aliases = get_global("language_aliases")
    year = int(pycountry.historic_countries.lookup("TP").withdrawal_date[:4])
    iso_639 = "ISO 639, code withdrawn in 1989; CLDR language aliases, as packaged in Babel"
    return [
        Change("Timor-Leste", "alpha-2 code", "TP", "TL", year, "ISO 3166-3, as packaged in pycountry"),
        *(
            Change(ENGLISH.languages[aliases[old]], "alpha-2 code", old, aliases[old], 1989, iso_639)
            for old in ("in", "iw")
        ),
    ]
