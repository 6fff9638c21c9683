"""Numbers in a text: their values and units.

Read are digits with a sign and a decimal point or comma, thousands in groups ("1,526,000", "1 526 000", "1.526.000"),
powers of ten ("1.5e6", "1.5 × 10^6", "10⁶"), fractions ("1/8", "½", "2 1/2"), the words hundred to trillion and their
short forms behind a number ("1.5 million", "1.5M"), and numbers in words (number_words.py). A unit may follow ("26 km",
"26 kilometres per hour", "26%") or a currency sign come before it. Not read is what only looks like a number ("1.2.3",
"H2O", "ISO-9001").

A comma or a point before exactly three digits separates thousands or decimals: "1,500" is 1500, and "1.500" is 1.5,
but for a language that writes a decimal comma. `exchanged` then holds the other reading.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from evaluation.questions.languages import WITH_DECIMAL_COMMA
from evaluation.questions.number_words import find_number_words
from evaluation.questions.units import Unit, parse_unit, pounds
from evaluation.questions.words import plain_characters

MAX_DIGITS = 200
SCALES = {
    "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "tausend": 3, "mio": 6, "millionen": 6,
    "mrd": 9, "milliarde": 9, "milliarden": 9, "mille": 3, "millions": 6, "milliard": 9, "milliards": 9, "mil": 3,
    "millones": 6, "millón": 6, "mila": 3, "milioni": 6, "milione": 6, "miliardi": 9, "miliardo": 9, "milhões": 6,
    "milhão": 6, "bilhões": 9, "bilhão": 9, "mn": 6, "bn": 9, "тысяч": 3, "тыс": 3, "млн": 6, "миллионов": 6,
    "миллиона": 6, "миллион": 6, "млрд": 9, "万": 4, "萬": 4, "億": 8, "亿": 8, "千": 3, "百": 2,
}  # fmt: skip
ATTACHED = {"k": 3, "K": 3, "M": 6, "B": 9, "bn": 9, "mn": 6, "m": 6, "Mio": 6}
# Scripts that put no space between a number and the words around it.
UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
UNSPACED_NAMES = {
    "day": "天 日間 日 일 วัน", "h": "小时 小時 時間 시간 ชั่วโมง", "min": "分钟 分鐘 分間 分 분 นาที", "s": "秒 초",
    "week": "周 週間 주", "month": "个月 個月 か月 ヶ月 カ月 개월 เดือน", "year": "年 년 ปี",
    "km": "公里 千米 キロメートル",
    "m": "米 メートル 미터", "kg": "公斤 千克 キログラム", "g": "克 グラム", "l": "升 リットル",
    "m^2": "平方米 平方公尺 平方メートル 平米 제곱미터", "km^2": "平方公里 平方千米 平方キロメートル 平方キロ",
    "m^3": "立方米 立方公尺 立方メートル", "ha": "公顷 公頃 ヘクタール",
    "cm": "厘米 公分 センチメートル センチ 센티미터",
    "mm": "毫米 公釐 ミリメートル ミリ 밀리미터", "ml": "毫升 ミリリットル", "t": "吨 噸 トン", "mg": "毫克 ミリグラム",
    "€": "欧元 ユーロ 유로", "$": "美元 ドル 달러", "元": "元 块 塊 人民币", "₩": "원 ウォン", "°C": "摄氏度 攝氏度",
    "¥": "円 日元", "°": "度",
}  # fmt: skip
UNSPACED_UNITS = {name: unit for unit, names in UNSPACED_NAMES.items() for name in names.split()}
UNSPACED_UNIT = re.compile(r"\s?(" + "|".join(sorted(UNSPACED_UNITS, key=len, reverse=True)) + ")")
UNSPACED_NOUN = re.compile(rf"[{UNSPACED}]")
LATIN_UNIT = re.compile(rf" ?([A-Za-zµΩ°%/]+)(?=[{UNSPACED}])")
MINUS = r"(?:minus|moins|menos|meno|минус|negative)\s+"
CURRENCY = r"(?:US\$|R\$|[$€£¥₹]|(?:USD|EUR|GBP|CHF)\s)\s?"
NUMBER = re.compile(
    rf"""
    (?<!\^) (?<![^\W{UNSPACED}]) (?<![^\W\d_][-.]) (?<!\d[.,])      # not within a word, a version or a power
    (?P<words_sign> {MINUS} )? (?P<sign> (?<!\w)[-+](?=[\d$€£.]) )? (?P<currency> {CURRENCY} )?
    (?P<sign2> -(?=\d) )?
    (?:
        (?P<whole>\d+\s)? (?P<over>\d{{1,4}})/(?P<under>\d{{1,4}}) (?![/\d.,]\d|\d)
      | 10\^(?P<power>[-+]?\d{{1,3}}) (?!\d)
      | (?P<mantissa> \d+(?:[,.'_ ]\d+)* | \.\d+(?!\.\d) )
        (?: (?: e | \s?[x×*·]\s?10\^ ) (?P<exponent>[-+]?\d{{1,3}}) (?!\d) )?
    )
    (?! \^ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
SCALE = re.compile(
    rf"(?P<space>\s?)(?P<word>{'|'.join(sorted(SCALES, key=len, reverse=True))})s?\b\.?(?:\s+(?:de|di)\b)?", re.I
)
SCALE_CJK = re.compile("[万萬億亿千百]")
SHORT = re.compile(r"(?:k|K|M|B|bn|mn|m)(?![\w])")
ORDINAL = re.compile(r"(?:st|nd|rd|th|º|ª|er|ème|e)(?!\w)")
UNIT_WORDS = re.compile(
    r"(?:[-\s]?)((?:[^\W\d_]|[%‰°$€£¥₹])(?:[^\W\d_]|[%°/·′″.$-]|(?<=[^\W\d_])\d(?!\d)|\^-?\d){0,24}"
    r"(?: (?:[^\W\d_]|[°/])(?:[^\W\d_]|[°/]|\^-?\d){0,24}){0,3})"
)
ONE_UNIT = re.compile(r"\b(?P<half>half )?(?:an?|one) (?P<unit>[a-z]{3,}) ?(?P<more>and a half\b)?", re.IGNORECASE)
HALF_MORE = re.compile(r"\s+and\s+a\s+half\b", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """A number in a text: its value, the unit behind it ("" without one), and where in the text it is.

    `measure`: the unit, where it is a known one. `noun`: the word behind a number without a known unit.
    """

    value: Fraction
    unit: str
    text: str
    start: int
    end: int = 0
    measure: Unit | None = None
    noun: str = ""
    exchanged: Fraction | None = None
    ordinal: bool = False
    part: bool = False
    in_words: bool = False
    sure: bool = True
    padded: bool = False


def find_numbers(text: str, language: str = "en") -> list[Number]:
    """All numbers in a text, in their order.

    Args:
        language: of the question, as two letters: for number words and decimal commas.
    """
    return scan_numbers(plain_characters(text), language)


def scan_numbers(plain: str, language: str = "en") -> list[Number]:
    """The same for a text whose characters are plain already: positions are those in this text."""
    found: list[Number] = []
    position = 0
    while match := NUMBER.search(plain, position):
        number = _number(match, plain, language)
        if number is None:
            position = match.end() if match.end() > match.start() else match.end() + 1
        else:
            found.append(number)
            position = max(number.end, match.end())
    taken = [(number.start, number.end) for number in found]
    for words in find_number_words(plain, language):
        if not any(start < words.end and words.start < end for start, end in taken):
            number = Number(
                words.value, "", plain, words.start, words.end,
                ordinal=words.ordinal, part=words.part, in_words=True, sure=words.sure,
            )  # fmt: skip
            found.append(number if words.ordinal else _with_minus(_with_unit(_and_a_half(number, plain), plain), plain))
    if "half" in plain:
        found = _half_units(plain, found)
    found.sort(key=lambda number: number.start)
    return _compounds(
        [number for last, number in zip([None, *found], found, strict=False) if not last or number.start >= last.end]
    )


@lru_cache(maxsize=16_384)
def parse_number(text: str, language: str = "en") -> Number | None:
    """The number that an accepted answer consists of, with its unit; None where it is more or less than that."""
    plain = plain_characters(text).strip()
    numbers = scan_numbers(plain, language)
    if len(numbers) != 1 or numbers[0].start != 0 or not numbers[0].sure:
        return None
    number = numbers[0]
    rest = plain[number.end :].strip()
    if not rest:
        return number
    one_word = re.fullmatch(r"[^\W\d_]+", rest) is not None and not number.measure
    return replace(number, unit=rest, noun=rest.casefold(), end=len(plain)) if one_word else None


@lru_cache(maxsize=4_096)
def numbers_of(passage: str) -> tuple[Number, ...]:
    """All numbers in a passage, which many answers cite."""
    return tuple(find_numbers(passage))


def _half_units(plain: str, found: list[Number]) -> list[Number]:
    """ "half an hour" and "an hour and a half" in place of the numbers found in them."""
    for match in ONE_UNIT.finditer(plain):
        measure = parse_unit(match["unit"])
        if measure is not None and (match["half"] or match["more"]):
            value = Fraction(1, 2) if match["half"] else Fraction(3, 2)
            found = [number for number in found if number.end <= match.start() or number.start >= match.end()]
            found.append(Number(value, match["unit"], plain, match.start(), match.end(), measure, in_words=True))
    return found


def _number(match: re.Match[str], plain: str, language: str) -> Number | None:
    read = _read_value(match, language)
    if read is None:
        return None
    value, exchanged = read
    end = match.end()
    power = 0
    if match["mantissa"]:
        power, end = _scale(match, plain, end)
    if plain[end : end + 1].isdigit():
        return None
    factor = Fraction(10) ** power * (-1 if _is_negative(match) else 1)
    value, exchanged = value * factor, None if exchanged is None else exchanged * factor
    digits = match["mantissa"] or ""
    padded = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    number = Number(value, "", plain, match.start(), end, None, "", exchanged, padded=padded, part=bool(match["under"]))
    if digits.isdigit() and (ordinal := ORDINAL.match(plain, end)):
        return replace(number, end=ordinal.end(), ordinal=True)
    if match["currency"]:
        unit = match["currency"].strip()
        return replace(number, unit=unit, measure=parse_unit(unit))
    if match["under"] and (scale := SCALE.match(plain, end)):
        scaled = value * Fraction(10) ** SCALES[scale["word"].casefold()]
        return _with_unit(replace(number, value=scaled, end=scale.end(), part=False), plain)
    if power == 0 and match["mantissa"] and (more := HALF_MORE.match(plain, end)):
        number = replace(number, value=value + Fraction(1, 2), end=more.end())
    number = _with_unit(number, plain)
    follows = plain[number.end : number.end + 1]
    attached = (follows.isalnum() and not UNSPACED_NOUN.match(follows)) or follows == "_"
    if not number.measure and not attached and UNSPACED_NOUN.search(number.noun):
        number = _before_unspaced(number, plain)
    return None if not number.measure and attached else number


def _before_unspaced(number: Number, plain: str) -> Number:
    """The number with a unit in Latin letters that a word without spaces follows: "3,000 mAhです"."""
    match = LATIN_UNIT.match(plain, number.end)
    measure = parse_unit(match[1]) if match else None
    return replace(number, unit=match[1], measure=measure, noun="", end=match.end()) if match and measure else number


def _read_value(match: re.Match[str], language: str) -> tuple[Fraction, Fraction | None] | None:
    if match["under"]:
        if int(match["under"]) == 0:
            return None
        return Fraction(int(match["whole"] or 0)) + Fraction(int(match["over"]), int(match["under"])), None
    if match["power"]:
        return Fraction(10) ** int(match["power"]), None
    read = read_digits(match["mantissa"], language in WITH_DECIMAL_COMMA)
    if read is None or not match["exponent"]:
        return read
    factor = Fraction(10) ** int(match["exponent"])
    return read[0] * factor, None if read[1] is None else read[1] * factor


def read_digits(text: str, decimal_comma: bool) -> tuple[Fraction, Fraction | None] | None:
    """The value of digits with separators, and the other reading of a separator before three digits; None where the
    separators fit no number, as in a version or an address."""
    if len(text) > MAX_DIGITS:
        return None
    text = text.replace("_", "")
    for gap in (" ", "'"):
        if gap in text:
            head, *groups = text.split(gap)
            last, *fraction = re.split("[.,]", groups[-1], maxsplit=1)
            if len(head) > 3 or not head.isdigit() or any(len(group) != 3 for group in [*groups[:-1], last]):
                return None
            text = "".join([head, *groups[:-1], last]) + ("." + fraction[0] if fraction else "")
            return (Fraction(text), None) if text.count(".") <= 1 and "," not in text else None
    commas, points = text.count(","), text.count(".")
    if commas and points:
        decimal, thousands = (",", ".") if text.rindex(",") > text.rindex(".") else (".", ",")
        whole, _, fraction_digits = text.rpartition(decimal)
        return (
            (Fraction(whole.replace(thousands, "") + "." + fraction_digits), None)
            if (decimal not in whole and _in_groups(whole, thousands))
            else None
        )
    if not commas and not points:
        return Fraction(text), None
    mark = "," if commas else "."
    if commas + points > 1:
        grouped = _in_groups(text, mark) and (mark == "," or (decimal_comma and len(text.split(mark)[0]) <= 3))
        grouped = grouped or (mark == "." and _in_groups(text, mark) and points == 2 and text.endswith("000"))
        return (Fraction(text.replace(mark, "")), None) if grouped else None
    whole, _, decimals = text.partition(mark)
    as_decimal = Fraction(f"{whole or 0}.{decimals}")
    if len(decimals) != 3 or not 1 <= len(whole) <= 3 or whole == "0":
        return as_decimal, None
    as_thousands = Fraction(whole + decimals)
    is_decimal = (mark == ",") == decimal_comma
    if mark == "," and not decimal_comma:
        return as_thousands, None
    return (as_decimal, as_thousands) if is_decimal else (as_thousands, as_decimal)


def _in_groups(text: str, mark: str) -> bool:
    head, *groups = text.split(mark)
    return (
        1 <= len(head) <= 3
        and all(len(group) in ((2, 3) if mark == "," else (3,)) for group in groups[:-1])
        and (not groups or len(groups[-1]) == 3)
    )


def _is_negative(match: re.Match[str]) -> bool:
    return bool(match["words_sign"] or match["sign2"] or (match["sign"] or "").strip() == "-")


def _scale(match: re.Match[str], plain: str, end: int) -> tuple[int, int]:
    """The power of ten behind a number, and where it ends."""
    if cjk := SCALE_CJK.match(plain, end):
        return SCALES[cjk[0]], cjk.end()
    if word := SCALE.match(plain, end):
        return SCALES[word["word"].casefold()], word.end() - (
            1 if word[0].endswith(".") and not plain[word.end() :].strip() else 0
        )
    short = SHORT.match(plain, end)
    if short is None:
        return 0, end
    amount = match["currency"] is not None
    if short[0] in ("m", "B") and not amount and not (short[0] == "B" and "." in match["mantissa"]):
        return 0, end
    return ATTACHED[short[0]], short.end()


def _and_a_half(number: Number, plain: str) -> Number:
    more = HALF_MORE.match(plain, number.end)
    return (
        replace(number, value=number.value + Fraction(1, 2), end=more.end(), sure=True)
        if more and not number.part
        else number
    )


def _with_minus(number: Number, plain: str) -> Number:
    before = re.search(f"(?<!\\w){MINUS}$", plain[max(0, number.start - 12) : number.start], re.IGNORECASE)
    return replace(number, value=-number.value, start=number.start - len(before[0])) if before else number


def _with_unit(number: Number, plain: str) -> Number:
    """The number with the longest known unit that follows it, or else the word that does."""
    if UNSPACED_NOUN.match(plain[number.end : number.end + 2].strip()):
        if name := UNSPACED_UNIT.match(plain, number.end):
            measure = parse_unit(UNSPACED_UNITS[name[1]])
            return replace(number, unit=name[1], measure=measure, end=name.end(), sure=True)
        return number
    match = UNIT_WORDS.match(plain, number.end)
    if match is None:
        return number
    words = match[1].split(" ")
    for length in range(len(words), 0, -1):
        text = " ".join(words[:length])
        for candidate in dict.fromkeys((text, text.rstrip(".-/"), text.partition("-")[0])):
            unit = parse_unit(candidate) if candidate else None
            if unit is None or not _is_a_unit_here(candidate, match, plain):
                continue
            return replace(number, unit=candidate, measure=unit, end=match.start(1) + len(candidate), sure=True)
    spaced = match.start(1) > number.end
    return replace(number, noun=words[0].rstrip(".-/").casefold()) if spaced else number


def _is_a_unit_here(candidate: str, match: re.Match[str], plain: str) -> bool:
    """A word that is a unit and something else ("in", "a", "h") is one only where nothing of that else can follow."""
    after = plain[match.start(1) + len(candidate) :]
    if after[:1].isalnum():
        return False
    spaced = match.start(1) > match.start()
    if candidate in ("in", "an", "d", "m", "t", "b", "l", "A", "mi", "mo", "pt") and spaced:
        return not re.match(r"\s+\w", after) or candidate in ("m", "t", "l", "mi")
    return True


def _compounds(numbers: list[Number]) -> list[Number]:
    """Numbers with "1 h 30 min" and "5 ft 3 in" as one."""
    joined: list[Number] = []
    for number in numbers:
        last = joined[-1] if joined else None
        if (
            last
            and last.measure
            and number.measure
            and last.measure.dimension == number.measure.dimension
            and (
                last.measure.factor > number.measure.factor
                and number.measure.dimension in ("T", "L", "M", "month")
                and re.fullmatch(
                    r"\s*(?:,?\s*and\s+|und\s+|et\s+|y\s+|e\s+|,\s*)?", number.text[last.end : number.start]
                )
                and number.value > 0
                and number.value * number.measure.factor < last.measure.factor
            )
        ):
            value = last.value + number.value * number.measure.factor / last.measure.factor
            joined[-1] = replace(last, value=value, end=number.end)
        else:
            joined.append(number)
    return joined


def same_amount(number: Number, accepted: Number) -> Fraction | None:
    """The number's value in the accepted one's unit; None where the units cannot be compared."""
    if accepted.measure is None:
        return number.value
    if number.measure is None:
        return number.value
    if number.measure == accepted.measure:
        return number.value
    given = number.measure
    is_pounds = pounds(number.unit) or pounds(accepted.unit)
    if is_pounds and {given.dimension, accepted.measure.dimension} == {"M", "GBP"}:
        return number.value
    if not given.comparable(accepted.measure):
        return None
    base = given.to_base(number.value)
    if accepted.measure.dimension == "°C":
        return base - Fraction(27315, 100)
    if accepted.measure.dimension == "°F":
        return base * Fraction(9, 5) - Fraction(45967, 100)
    return base / accepted.measure.factor
