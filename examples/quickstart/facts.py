"""Facts of real reference data, read from packages: what each document of the quickstart states.

- countries: codes and official names from pycountry (ISO 3166-1); everyday names and currencies from Babel (CLDR)
- elements: periodictable (IUPAC standard atomic weights)
- languages: codes and scopes from pycountry (ISO 639); everyday and native names and scripts from Babel (CLDR)
- currencies: codes from pycountry (ISO 4217); everyday names and countries from Babel (CLDR)
- HTTP status codes: http.HTTPStatus; documents and sections from RFC 9110 and IANA's registry
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from http import HTTPStatus

import periodictable
import pycountry
from babel import Locale
from babel.core import UnknownLocaleError, get_global
from babel.numbers import get_territory_currencies

from examples.quickstart.wordings import slug


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TODAY = date(2025, 7, 1)
"""The day whose currencies the documents state: fixed, so that the documents do not depend on when they are made."""
ENGLISH = Locale("en")

# Territories with an official name in pycountry that are no countries of their own, or whose standing is disputed.
NO_COUNTRY = _words("BQ CW HK MO MP NU PS SX TW VG VI")
# pycountry gives these no official name; the others without one are left out.
NO_OFFICIAL_NAME = _words("AE AU CA IE JM JP KR NZ RO UA")
# Bulgaria took the euro in 2026, which Babel 2.18 does not know yet.
OUTDATED_CURRENCY = frozenset({"BG"})
OTHER_SCRIPTS = _words("ar el fa he hi hy ja ka ko ru sr ta th uk")
CURRENCIES = _words(
    "ALL AMD AOA BDT BHD BIF BRL BWP BZD CAD CNY COP CZK DOP EGP ETB FJD GEL GTQ HUF ISK JOD JPY KES KHR KWD KZT LKR "
    "MNT MWK MXN MYR NGN NPR OMR PEN PHP PKR PLN QAR SAR SEK THB TND UAH UGX UYU VND"
)
# ISO 4217 list one: every other currency in CURRENCIES has two.
MINOR_UNITS = dict.fromkeys(_words("BIF ISK JPY UGX VND"), "0") | dict.fromkeys(_words("BHD JOD KWD OMR TND"), "3")
NUM_ELEMENTS = 92
NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)
# Their density in the package is that of the liquid.
GASES = _words("H He N O F Ne Cl Ar Kr Xe")
CLASSES = {1: "informational", 2: "success", 3: "redirection", 4: "client error", 5: "server error"}
# RFC 9110, section 15.C.N, in the order of the sections; None: a code that is not in use.
RFC_9110 = {
    2: (100, 101),
    3: (200, 201, 202, 203, 204, 205, 206),
    4: (300, 301, 302, 303, 304, 305, None, 307, 308),
    5: (*range(400, 418), None, 421, 422, 426),
    6: (500, 501, 502, 503, 504, 505),
}
# IANA, HTTP Status Code Registry: the reference of each code that RFC 9110 does not define.
OTHER_RFCS = {
    103: 8297, 207: 4918, 208: 5842, 423: 4918, 424: 4918, 425: 8470, 428: 6585, 429: 6585, 431: 6585, 451: 7725,
    507: 4918, 508: 5842, 511: 6585,
}  # fmt: skip

_CLEAN = re.compile(r"[^\W\d_][\w'-]*(?: [^\W\d_][\w'-]*)*")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff '-]+")


@dataclass(frozen=True)
class Entity:
    """One topic and one document. `kind` is its folder; `facts` maps keys to values, in the document's order."""

    kind: str
    name: str
    facts: dict[str, str] = field(hash=False)

    @property
    def source(self) -> str:
        """The document's path below docs/."""
        return f"{self.kind}/{slug(self.name)}.md"


def collect() -> list[Entity]:
    """All entities, by kind and name, as the packages state them; nothing is corrected here."""
    kinds = (countries(), elements(), languages(), currencies(), http_codes())
    found = [entity for kind in kinds for entity in sorted(kind, key=lambda entity: entity.source)]
    names = [entity.name for entity in found]
    return [entity for entity in found if len(entity.facts) >= 3 and names.count(entity.name) == 1]


def countries() -> Iterator[Entity]:
    """Countries whose everyday name is plain words."""
    for country in pycountry.countries:
        name = ENGLISH.territories.get(country.alpha_2, "")
        if country.alpha_2 in NO_COUNTRY or not _CLEAN.fullmatch(name):
            continue
        if not (hasattr(country, "official_name") or country.alpha_2 in NO_OFFICIAL_NAME):
            continue
        facts = {"alpha-2 code": country.alpha_2, "alpha-3 code": country.alpha_3, "numeric code": country.numeric}
        official = getattr(country, "official_name", "")
        if official != name and len(official.split()) <= 6 and _CLEAN.fullmatch(official) and official[0].isupper():
            facts["official name"] = official
        tender = currencies_on(country.alpha_2, TODAY)
        if len(tender) == 1 and country.alpha_2 not in OUTDATED_CURRENCY:
            facts |= {"currency": ENGLISH.currencies[tender[0]], "currency code": tender[0]}
        yield Entity("countries", name, facts)


def currencies_on(territory: str, day: date) -> list[str]:
    """Codes of the legal tender of `territory` on `day` (CLDR)."""
    return list(get_territory_currencies(territory, day, day, tender=True))


def elements() -> Iterator[Entity]:
    """The elements that have a standard atomic weight, up to uranium."""
    for number in range(1, NUM_ELEMENTS + 1):
        element = periodictable.elements[number]
        # Where there is no standard weight the package has the mass number of one isotope.
        if element.mass == int(element.mass):
            continue
        facts = {"chemical symbol": element.symbol, "atomic number": str(number)}
        facts["atomic weight"] = decimals(element.mass)
        if element.density and element.symbol not in GASES:
            facts["density"] = f"{decimals(element.density)} g/cm3"
        period = next(i for i, gas in enumerate(NOBLE_GASES) if number <= gas)
        facts |= {"group": group} if (group := _group(number, period)) else {}
        yield Entity("elements", element.name.capitalize(), facts | {"period": str(period)})


def decimals(number: float) -> str:
    """At most three decimals, halves rounded up as in a printed table, without zeros at the end."""
    rounded = Decimal(str(number)).quantize(Decimal("0.001"), ROUND_HALF_UP)
    return f"{rounded:f}".rstrip("0").rstrip(".")


def _group(number: int, period: int) -> str:
    """The IUPAC group 1 to 18; empty for the f-block, which has none."""
    place, left = number - NOBLE_GASES[period - 1], NOBLE_GASES[period] - number
    if number in (1, 2):
        return {1: "1", 2: "18"}[number]
    if place <= 2:
        return str(place)
    if period >= 6 and left >= 15:
        return ""
    return str(18 - left)


def languages() -> Iterator[Entity]:
    """Languages with a two-letter code whose own name differs from the English one, most of them in Latin script."""
    for language in pycountry.languages:
        code = getattr(language, "alpha_2", "")
        name = ENGLISH.languages.get(code, "")
        script = get_global("likely_subtags").get(code, "__").split("_")[1]
        native = _native_name(code)
        if not _CLEAN.fullmatch(name) or not native or not (script == "Latn" or code in OTHER_SCRIPTS):
            continue
        if native.casefold() == name.casefold() or (script == "Latn" and not _LATIN.fullmatch(native)):
            continue
        facts = {"alpha-2 code": code, "alpha-3 code": language.alpha_3}
        if bibliographic := getattr(language, "bibliographic", ""):
            facts["bibliographic code"] = bibliographic
        if script == "Latn":
            facts["native name"] = native
        facts |= {"script": ENGLISH.scripts[script], "scope": {"I": "individual", "M": "macrolanguage"}[language.scope]}
        yield Entity("languages", name, facts)


def _native_name(code: str) -> str:
    """What the language calls itself; empty where CLDR has no data in that language."""
    try:
        return Locale(code).languages.get(code, "") if code else ""
    except UnknownLocaleError:
        return ""


def currencies() -> Iterator[Entity]:
    """Some currencies that exactly one territory uses, or that one mainly uses."""
    users = _users()
    for code in CURRENCIES:
        numeric = pycountry.currencies.lookup(code).numeric
        facts = {"alphabetic code": code, "numeric code": numeric, "minor unit": MINOR_UNITS.get(code, "2")}
        if len(users[code]) == 1:
            facts["country"] = ENGLISH.territories[users[code][0]]
        yield Entity("currencies", ENGLISH.currencies[code], facts)


def _users() -> dict[str, list[str]]:
    """Territories by the currency that is their legal tender."""
    users: dict[str, list[str]] = defaultdict(list)
    for territory in (code for code in map(str, ENGLISH.territories) if len(code) == 2):
        for currency in currencies_on(territory, TODAY):
            users[currency].append(territory)
    return users


def http_codes() -> Iterator[Entity]:
    """The status codes that RFC 9110 or a document in IANA's registry defines."""
    sections = {code: f"15.{c}.{n}" for c, codes in RFC_9110.items() for n, code in enumerate(codes, 1) if code}
    for status in HTTPStatus:
        code = int(status)
        if code not in sections and code not in OTHER_RFCS:
            continue
        rfc = 9110 if code in sections else OTHER_RFCS[code]
        facts = {"reason phrase": status.phrase, "class": CLASSES[code // 100], "defining document": f"RFC {rfc}"}
        yield Entity("http", f"HTTP status {code}", facts | ({"section": sections[code]} if code in sections else {}))
