"""Numbers, units, number words, dates and times, each in the ways in which people write them."""

from fractions import Fraction

import pytest

from evaluation.questions.dates import find_dates, find_times
from evaluation.questions.number_words import find_number_words
from evaluation.questions.numbers import find_numbers, parse_number, same_amount
from evaluation.questions.units import parse_unit


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("1,526,000", "en", 1_526_000),
        ("1 526 000", "en", 1_526_000),
        ("1'526'000", "en", 1_526_000),
        ("1.526.000", "de", 1_526_000),
        ("1.500", "de", 1_500),
        ("1.500", "en", "3/2"),
        ("1,500", "en", 1_500),
        ("12,5", "en", "25/2"),
        ("1 234,5", "fr", "2469/2"),
        ("1.234,5", "en", "2469/2"),
        ("1,234.5", "de", "2469/2"),
        ("1_234.5", "en", "2469/2"),
        ("3.844 × 10⁵", "en", 384_400),
        ("10⁶", "en", 1_000_000),
        ("½", "en", "1/2"),
        ("2½", "en", "5/2"),
        ("1/8", "en", "1/8"),
        ("1.5M", "en", 1_500_000),
        ("minus 7", "en", -7),
        ("−7", "en", -7),
        ("٣", "en", 3),
        ("3,5 Mio.", "de", 3_500_000),
        ("three and a half", "en", "7/2"),
    ],
)
def test_a_number_is_read(text: str, language: str, value: int | str) -> None:
    assert [number.value for number in find_numbers(text, language)] == [Fraction(value)]


@pytest.mark.parametrize(
    "text", ["1.2.3", "192.168.1.1", "H2O", "ISO-9001", "v1.26", "26x27", "26²", "26e99999", "9" * 5_000]
)
def test_what_only_looks_like_a_number_is_none(text: str) -> None:
    assert find_numbers(text) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 km", "5000 metres"),
        ("90 min", "1 h 30 min"),
        ("1.5 hours", "an hour and a half"),
        ("2 years", "24 months"),
        ("60 km/h", "60 kilometres per hour"),
        ("5 MW", "5000 kW"),
        ("16 GB", "16 gigabytes"),
        ("16 GB", "16 gb"),
        ("10 Gb/s", "10 gigabits per second"),
        ("12 km²", "12 square kilometres"),
        ("4.469 g/cm3", "4.469 grams per cubic centimetre"),
        ("20 °C", "68 °F"),
        ("20 °C", "293.15 K"),
        ("12.5 %", "12.5 per cent"),
        ("€5", "5 euros"),
        ("6 ft", "72 inches"),
        ("4 kg", "4 Kilogramm"),
    ],
)
def test_the_same_amount_in_two_units(one: str, other: str) -> None:
    accepted, given = parse_number(one), find_numbers(other)[0]
    assert accepted is not None and same_amount(given, accepted) == accepted.value


@pytest.mark.parametrize(
    ("one", "other"), [("mW", "MW"), ("Gb", "GB"), ("GB", "GiB"), ("km", "mi"), ("$", "€"), ("%", "‰")]
)
def test_two_units_are_not_the_same(one: str, other: str) -> None:
    assert parse_unit(one) != parse_unit(other)


@pytest.mark.parametrize("text", ["mw", "is", "the", "of", "apples", "", "/", "km/", "m^", "a/b/c/d"])
def test_what_is_no_unit(text: str) -> None:
    assert parse_unit(text) is None


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("one hundred and forty", "en", 140),
        ("a hundred and four", "en", 104),
        ("two million five hundred thousand", "en", 2_500_000),
        ("twenty-first", "en", 21),
        ("three quarters", "en", "3/4"),
        ("sechsundzwanzig", "de", 26),
        ("einhundertvierzig", "de", 140),
        ("soixante-dix-sept", "fr", 77),
        ("deux cent quarante", "fr", 240),
        ("treinta y seis", "es", 36),
        ("ventisei", "it", 26),
        ("cento e quarenta", "pt", 140),
    ],
)
def test_a_number_in_words(text: str, language: str, value: int | str) -> None:
    assert [number.value for number in find_number_words(text, language)] == [Fraction(value)]


def test_a_word_of_one_language_is_no_number_in_another() -> None:
    assert find_number_words("once due sei", "en") == []
    assert find_number_words("twenty", "ja") == []


@pytest.mark.parametrize(
    "text",
    ["2024-03-05", "5 March 2024", "March 5th, 2024", "the fifth of March 2024", "5. März 2024", "le 5 mars 2024",
     "05.03.2024",     "5 de marzo de 2024", "2024年3月5日", "Mar. 5, 2024", "5 марта 2024"],
)  # fmt: skip
def test_a_date_in_any_order(text: str) -> None:
    date = find_dates(text)[0]
    assert (date.year, date.month, date.day, date.exchanged) == (2024, 3, 5, False)


def test_a_date_that_may_be_read_in_two_ways() -> None:
    assert find_dates("05/03/2024")[0].exchanged
    assert [(date.month, date.day) for date in find_dates("13/03/2024 and 03/13/2024")] == [(3, 13), (3, 13)]
    assert find_dates("40/40/2024") == []


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("2:30 pm", 870), ("14:30", 870), ("14h30", 870), ("14.30 Uhr", 870), ("noon", 720), ("12 am", 0)],
)
def test_a_time_of_day(text: str, minutes: int) -> None:
    assert [time.minutes for time in find_times(text)] == [minutes]
