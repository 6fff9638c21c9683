"""Units of measurement: which are the same, and what one is in another, exactly.

    parse_unit("km/h")               # dimension "L T^-1", 5/18 of a metre per second
    parse_unit("kilometers per hour") == parse_unit("km/h")

Read are SI units with their prefixes, binary prefixes, the spelled names in six languages, what has an exact definition
(inch, pound, day, percent), and currencies. Case counts where it tells units apart: mW is not MW and Gb is not GB. An
all-lower-case "gb" is read as bytes. Factors are fractions, so that a conversion is exact or none.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

PREFIXES = {
    "p": -12, "n": -9, "µ": -6, "u": -6, "m": -3, "c": -2, "d": -1, "h": 2, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12,
    "P": 15,
}  # fmt: skip
PREFIX_NAMES = {
    "pico": -12, "nano": -9, "micro": -6, "mikro": -6, "milli": -3, "mili": -3, "centi": -2, "zenti": -2, "dezi": -1,
    "deci": -1, "hecto": 2, "hekto": 2, "kilo": 3, "quilo": 3, "chilo": 3, "kiló": 3, "mega": 6, "méga": 6, "giga": 9,
    "tera": 12, "téra": 12, "peta": 15, "кило": 3, "милли": -3, "санти": -2, "мега": 6, "гига": 9,
}  # fmt: skip
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}
BINARY_NAMES = {"kibi": 10, "mebi": 20, "gibi": 30, "tebi": 40, "pebi": 50}
# Symbol: dimensions, factor to the base of the dimension, prefixes in use.
SYMBOLS: dict[str, tuple[str, Fraction | int | str, str]] = {
    "m": ("L", 1, "kcdmµun"), "g": ("M", "1/1000", "kmµun"), "s": ("T", 1, "mµun"), "A": ("A", 1, "mµuk"),
    "K": ("K", 1, "m"), "mol": ("mol", 1, "mµuk"), "cd": ("cd", 1, ""), "Hz": ("Hz", 1, "kMGT"), "N": ("N", 1, "kmM"),
    "Pa": ("Pa", 1, "hkMG"), "Nm": ("L N", 1, "kmM"),
    "J": ("J", 1, "mkMG"), "W": ("J T^-1", 1, "mkMGTµu"), "V": ("V", 1, "mkµuM"),
    "F": ("F", 1, "mµunp"), "Ω": ("Ω", 1, "mkM"), "ohm": ("Ω", 1, ""), "lm": ("lm", 1, ""), "lx": ("lx", 1, ""),
    "Sv": ("Sv", 1, "mµu"), "Gy": ("Gy", 1, "m"), "l": ("L^3", "1/1000", "mcdhµu"), "L": ("L^3", "1/1000", "mcdhµu"),
    "B": ("bit", 8, "kKMGTP"), "b": ("bit", 1, "kKMGTP"), "bit": ("bit", 1, "kKMGT"), "bps": ("T^-1 bit", 1, "kKMGT"),
    "eV": ("eV", 1, "kMG"), "Wh": ("J", 3600, "mkMGT"), "Ah": ("Ah", 1, "mk"), "VA": ("VA", 1, "kM"),
    "bar": ("Pa", 100_000, "m"), "cal": ("J", "4184/1000", "k"), "t": ("M", 1000, "kM"), "ha": ("L^2", 10_000, ""),
    "dB": ("dB", 1, ""), "px": ("px", 1, ""), "rpm": ("rpm", 1, ""), "fps": ("fps", 1, ""), "dpi": ("dpi", 1, ""),
    "min": ("T", 60, ""), "h": ("T", 3600, ""), "hr": ("T", 3600, ""), "hrs": ("T", 3600, ""), "d": ("T", 86400, ""),
    "wk": ("T", 604_800, ""), "sec": ("T", 1, ""), "secs": ("T", 1, ""), "mins": ("T", 60, ""), "yr": ("month", 12, ""),
    "yrs": ("month", 12, ""), "mo": ("month", 1, ""), "in": ("L", "254/10000", ""), "ft": ("L", "3048/10000", ""),
    "yd": ("L", "9144/10000", ""), "mi": ("L", "1609344/1000", ""), "nmi": ("L", 1852, ""), "hp": ("hp", 1, ""),
    "psi": ("psi", 1, ""), "ac": ("L^2", "40468564224/10000000", ""), "atm": ("Pa", 101_325, ""),
    "lb": ("M", "45359237/100000000", ""), "lbs": ("M", "45359237/100000000", ""), "oz": ("oz", 1, ""),
    "mph": ("L T^-1", "1609344/3600000", ""), "kph": ("L T^-1", "1000/3600", ""), "kmh": ("L T^-1", "1000/3600", ""),
    "kn": ("L T^-1", "1852/3600", ""), "%": ("1", "1/100", ""), "‰": ("1", "1/1000", ""), "pct": ("1", "1/100", ""),
    "ppm": ("1", "1/1000000", ""), "°": ("°", 1, ""), "°C": ("°C", 1, ""), "°F": ("°F", 1, ""), "deg": ("°", 1, ""),
    "′": ("L", "3048/10000", ""), "″": ("L", "254/10000", ""), "sqm": ("L^2", 1, ""), "cc": ("L^3", "1/1000000", ""),
    "$": ("USD", 1, ""), "US$": ("USD", 1, ""), "USD": ("USD", 1, ""), "€": ("EUR", 1, ""), "EUR": ("EUR", 1, ""),
    "£": ("GBP", 1, ""), "GBP": ("GBP", 1, ""), "¥": ("JPY", 1, ""), "R$": ("BRL", 1, ""), "BRL": ("BRL", 1, ""),
    "元": ("CNY", 1, ""), "CNY": ("CNY", 1, ""), "RMB": ("CNY", 1, ""), "₩": ("KRW", 1, ""), "KRW": ("KRW", 1, ""),
    "zł": ("PLN", 1, ""), "PLN": ("PLN", 1, ""), "₽": ("RUB", 1, ""), "RUB": ("RUB", 1, ""), "руб": ("RUB", 1, ""),
    "JPY": ("JPY", 1, ""), "CHF": ("CHF", 1, ""),
    "₹": ("INR", 1, ""), "INR": ("INR", 1, ""), "км": ("L", 1000, ""), "м": ("L", 1, ""), "см": ("L", "1/100", ""),
    "мм": ("L", "1/1000", ""), "кг": ("M", 1, ""), "г": ("M", "1/1000", ""), "мг": ("M", "1/1000000", ""),
    "т": ("M", 1000, ""), "л": ("L^3", "1/1000", ""), "мл": ("L^3", "1/1000000", ""), "га": ("L^2", 10_000, ""),
    "сек": ("T", 1, ""), "кВт": ("J T^-1", 1000, ""), "Вт": ("J T^-1", 1, ""), "ч": ("T", 3600, ""),
    "мин": ("T", 60, ""),
}  # fmt: skip
# Spelled names, as in the dictionary: the symbol each stands for. Plurals are found by their endings.
NAMES = {
    "m": "metre meter mètre metro metri метр", "g": "gram gramm gramme gramo grammo grama грамм",
    "s": "second sekunde seconde segundo secondo секунда", "l": "litre liter litro литр",
    "min": "minute minuto минута", "h": "hour stunde heure hora ora час", "d": "day tag jour día dia giorno день",
    "wk": "week woche semaine semana settimana неделя", "mo": "month monat mois mes mese mês месяц meses",
    "yr": "year jahr an année año anno ano год", "B": "byte octet", "bit": "bit", "W": "watt ватт",
    "V": "volt volts вольт", "A": "ampere amp ampère", "J": "joule", "Hz": "hertz герц", "Pa": "pascal", "N": "newton",
    "K": "kelvin", "Ω": "ohm", "eV": "electronvolt", "t": "tonne tons tonnellata tonelada тонна", "in": "inch inches",
    "ft": "foot feet", "yd": "yard", "mi": "mile milla meile", "lb": "pound", "oz": "ounce", "ha": "hectare hektar",
    "%": "percent percentage prozent procent процент", "kn": "knot",
    "hp": "horsepower pferdestärke", "ac": "acre", "bar": "bar", "cal": "calorie kalorie",
    "°": "degree grad degré grado grau градус", "$": "dollar dólar", "€": "euro", "¥": "yen",
    "R$": "real reais", "₽": "рубль рубля рублей", "zł": "złoty złote złotych", "CHF": "franken",
    "Wh": "watt-hour watthour wattstunde", "dB": "decibel", "px": "pixel", "kg": "kilo kilos", "nmi": "",
    "µm": "micron", "mol": "mole", "cd": "candela", "lm": "lumen", "lx": "lux", "rpm": "", "mph": "",
}  # fmt: skip
PHRASES = {
    "degrees celsius": "°C", "degree celsius": "°C", "celsius": "°C", "grad celsius": "°C", "degrés celsius": "°C",
    "grados celsius": "°C", "gradi celsius": "°C", "graus celsius": "°C", "degrees c": "°C", "deg c": "°C",
    "градусов цельсия": "°C", "° celsius": "°C", "° fahrenheit": "°F", "centigrade": "°C", "degrees centigrade": "°C",
    "degrees fahrenheit": "°F", "fahrenheit": "°F", "degrees f": "°F", "grad fahrenheit": "°F", "deg f": "°F",
    "per cent": "%", "pour cent": "%", "por ciento": "%", "per cento": "%", "por cento": "%", "pro cent": "%",
    "us dollars": "$", "us dollar": "$", "u.s. dollars": "$", "pounds sterling": "£", "pound sterling": "£",
    "swiss francs": "CHF", "revolutions per minute": "rpm", "frames per second": "fps", "parts per million": "ppm",
    "pounds per square inch": "psi", "kt": "kn", "kts": "kn", "kilowatt hour": "kWh",
    "kilowatt hours": "kWh", "kilowatt-hour": "kWh", "kilowatt-hours": "kWh", "megawatt hours": "MWh",
    "watt hours": "Wh", "brake horsepower": "hp", "bhp": "hp",
    "megawatt-hours": "MWh", "gigawatt hours": "GWh", "gigawatt-hours": "GWh",
    "nautical miles": "nmi", "nautical mile": "nmi", "procent": "%", "miles per hour": "mph",
    "percentage points": "%pt", "percentage point": "%pt", "процентов": "%", "процента": "%",
}  # fmt: skip
# "pounds" is money or weight: with £ or lb, whichever the other number has.
POUNDS = {"pound", "pounds", "quid"}
POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "quadrat": 2, "kubik": 3}
# Behind the unit, as the Romance languages have them: "mètres carrés".
POWERS_BEHIND = dict.fromkeys(
    ["carré", "carrés", "cuadrado", "cuadrados", "quadrato", "quadrati", "quadrado", "quadrados"], 2
) | (dict.fromkeys(["cube", "cubes", "cúbico", "cúbicos", "cubo", "cubi"], 3))
PER = re.compile(
    r"\s*/\s*|\s+(?:per|pro|par|por|al|на|each)\s+(?:an?\s+|one\s+)?"
    r"|(?<=[a-zé]) a (?=day|week|month|year|hour|minute|second)"
)
FACTOR = re.compile(r"(?P<base>.+?)(?:\^?(?P<power>-?\d))?")
PLURALS = ("", "s", "n", "en", "e", "es", "i", "ов", "а", "ы", "ей", "и")


@dataclass(frozen=True)
class Unit:
    """A unit: what it measures, and how much of the base unit it is."""

    dimension: str
    factor: Fraction

    def comparable(self, other: "Unit") -> bool:
        """Whether amounts in both can be compared: the same dimension, or two scales of temperature."""
        return self.dimension == other.dimension or {self.dimension, other.dimension} <= TEMPERATURES

    def to_base(self, value: Fraction) -> Fraction:
        """An amount in the base unit; temperatures in kelvin."""
        if self.dimension == "°C":
            return value + Fraction(27315, 100)
        if self.dimension == "°F":
            return (value + Fraction(45967, 100)) * Fraction(5, 9)
        return value * self.factor


TEMPERATURES = {"°C", "°F", "K"}


@lru_cache(maxsize=16_384)
def parse_unit(text: str) -> Unit | None:
    """The unit that a text names, as a symbol or spelled out; None where it names none, or could name two."""
    text = " ".join(text.split())
    if found := _simple(text):
        return found
    numerator, *denominators = PER.split(text)
    if not numerator.strip() or len(denominators) > 2:
        return None
    dimensions: dict[str, int] = {}
    factor = Fraction(1)
    for part, sign in [(numerator, 1), *((each, -1) for each in denominators)]:
        for piece in re.split(r"\s*[·*]\s*", part.strip()):
            powered = _with_power(piece)
            if powered is None:
                return None
            unit, power = powered
            factor *= unit.factor ** (sign * power)
            for base, exponent in _exponents(unit.dimension):
                dimensions[base] = dimensions.get(base, 0) + sign * power * exponent
    named = [base if power == 1 else f"{base}^{power}" for base, power in sorted(dimensions.items()) if power]
    return Unit(" ".join(named) or "1", factor)


def pounds(text: str) -> bool:
    """Whether a unit is the word "pounds", which is money or weight."""
    return text.casefold() in POUNDS


def _exponents(dimension: str) -> list[tuple[str, int]]:
    pairs = (base.partition("^") for base in dimension.split() if base != "1")
    return [(base, int(power or 1)) for base, _, power in pairs]


def _with_power(text: str) -> tuple[Unit, int] | None:
    first, _, rest = text.partition(" ")
    if rest and first.casefold() in POWERS:
        unit = _simple(rest)
        return (unit, POWERS[first.casefold()]) if unit else None
    for name, power in (("quadrat", 2), ("kubik", 3)):
        if text.casefold().startswith(name) and (unit := _simple(text[len(name) :])):
            return unit, power
    head, _, last = text.rpartition(" ")
    if head and last.casefold() in POWERS_BEHIND and (unit := _simple(head)):
        return unit, POWERS_BEHIND[last.casefold()]
    match = FACTOR.fullmatch(text)
    unit = _simple(match["base"]) if match else None
    return (unit, int(match["power"] or 1)) if match and unit else None


def _simple(text: str) -> Unit | None:
    folded = text.casefold()
    symbol = PHRASES.get(folded, text)
    if symbol == "%pt":
        return Unit("percentage point", Fraction(1))
    tables = _symbols()
    return tables[0].get(symbol) or tables[1].get(folded) or tables[2].get(folded)


@lru_cache(maxsize=1)
def _symbols() -> tuple[dict[str, Unit], dict[str, Unit], dict[str, Unit]]:
    """By symbol as written, by spelled name, and by symbol in any case where only one unit has it."""
    written: dict[str, Unit] = {}
    for symbol, (dimension, factor, prefixes) in SYMBOLS.items():
        written[symbol] = Unit(dimension, Fraction(factor))
        for prefix in prefixes:
            written[prefix + symbol] = Unit(dimension, Fraction(factor) * Fraction(10) ** PREFIXES[prefix])
        if symbol in ("B", "b", "bit"):
            for prefix, power in BINARY.items():
                written[prefix + symbol] = Unit(dimension, Fraction(factor) * 2**power)
    names: dict[str, Unit] = {}
    for symbol, listed in NAMES.items():
        for name in listed.split():
            for plural in PLURALS:
                _add_name(names, name + plural, written[symbol])
                if name[-1] in "eoaяа":
                    _add_name(names, name[:-1] + plural, written[symbol])
    folded: dict[str, set[Unit]] = {}
    for symbol, unit in written.items():
        folded.setdefault(symbol.casefold(), set()).add(unit)
    alone = {symbol: next(iter(units)) for symbol, units in folded.items() if len(units) == 1 and len(symbol) > 1}
    alone |= {f"{prefix}b": written[f"{prefix.upper()}B"] for prefix in "kmgtp"}
    alone |= {"c": written["°C"], "f": written["°F"]}
    return written, names, alone


# What the endings would make of a name, and is another word.
NOT_A_NAME = {"die", "dies", "dien", "den", "ann", "anne", "annes", "ane", "men", "mese", "hor", "pies", "ton"}


def _add_name(names: dict[str, Unit], name: str, unit: Unit) -> None:
    if (len(name) < 3 and name != "an") or name in NOT_A_NAME:
        return
    names.setdefault(name, unit)
    if unit.dimension in ("L", "M", "T", "L^3", "bit", "J T^-1", "V", "A", "J", "Hz", "Pa", "N", "Ω", "eV"):
        for prefix, power in PREFIX_NAMES.items():
            names.setdefault(prefix + name, Unit(unit.dimension, unit.factor * Fraction(10) ** power))
    if unit.dimension == "bit":
        for prefix, power in BINARY_NAMES.items():
            names.setdefault(prefix + name, Unit(unit.dimension, unit.factor * 2**power))
