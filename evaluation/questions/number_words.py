"""Numbers in words, in twelve languages: "twenty-six", "a hundred and forty", "sechsundzwanzig", "soixante-dix".

    find_number_words("It has twenty-six protons.", "en")  # [NumberWords(value=26, start=7, end=17)]

Read are whole numbers below a million million, "half", "a quarter" and the like, and ordinals to 99 in English. A word
that is a number in one language and another word in the next ("once", "due", "sei") is read in its own language only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "ru", "pl", "cs", "sv", "tr")
MULTIPLES = {
    "en": {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    "de": {"hundert": 100, "tausend": 1_000, "million": 10**6, "millionen": 10**6, "milliarde": 10**9,
           "milliarden": 10**9},
    "fr": {"cent": 100, "cents": 100, "mille": 1_000, "million": 10**6, "millions": 10**6, "milliard": 10**9,
           "milliards": 10**9},
    "es": {"mil": 1_000, "millón": 10**6, "millones": 10**6},
    "it": {"mila": 1_000, "mille": 1_000, "milione": 10**6, "milioni": 10**6, "miliardo": 10**9, "miliardi": 10**9},
    "pt": {"mil": 1_000, "milhão": 10**6, "milhões": 10**6, "bilhão": 10**9, "bilhões": 10**9},
    "nl": {"honderd": 100, "duizend": 1_000, "miljoen": 10**6, "miljard": 10**9},
    "ru": {"тысяча": 1_000, "тысячи": 1_000, "тысяч": 1_000, "миллион": 10**6, "миллиона": 10**6, "миллионов": 10**6},
    "pl": {"tysiąc": 1_000, "tysiące": 1_000, "tysięcy": 1_000, "milion": 10**6, "miliony": 10**6, "milionów": 10**6},
    "cs": {"tisíc": 1_000, "tisíce": 1_000, "milion": 10**6, "miliony": 10**6, "milionů": 10**6},
    "sv": {"hundra": 100, "tusen": 1_000, "miljon": 10**6, "miljoner": 10**6},
    "tr": {"yüz": 100, "bin": 1_000, "milyon": 10**6, "milyar": 10**9},
}  # fmt: skip
ENGLISH = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen " \
          "seventeen eighteen nineteen"  # fmt: skip
ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
GERMAN = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn " \
         "siebzehn achtzehn neunzehn"  # fmt: skip
GERMAN_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"
FRENCH = "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept " \
         "dix-huit dix-neuf"  # fmt: skip
SPANISH = "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis " \
          "diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis " \
          "veintisiete veintiocho veintinueve"  # fmt: skip
SPANISH_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa"
SPANISH_HUNDREDS = (
    "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos"
)
ITALIAN = "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici " \
          "sedici diciassette diciotto diciannove"  # fmt: skip
ITALIAN_TENS = "venti trenta quaranta cinquanta sessanta settanta ottanta novanta"
PORTUGUESE = "zero um dois três quatro cinco seis sete oito nove dez onze doze treze quatorze quinze dezesseis " \
             "dezessete dezoito dezenove"  # fmt: skip
PORTUGUESE_TENS = "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa"
PORTUGUESE_HUNDREDS = "cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos"
# By language: zero to nineteen, the tens from twenty, the hundreds from one hundred where they are words of their own;
# strokes part words for the same number.
TABLES = {
    "ru": (
        "ноль/нуль один/одна/одно два/две три четыре пять шесть семь восемь девять десять одиннадцать двенадцать "
        "тринадцать четырнадцать пятнадцать шестнадцать семнадцать восемнадцать девятнадцать",
        "двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто",
        "сто двести триста четыреста пятьсот шестьсот семьсот восемьсот девятьсот",
    ),
    "pl": (
        "zero jeden/jedna/jedno dwa/dwie/dwaj/dwóch trzy/trzech/trzej cztery/czterech pięć/pięciu sześć/sześciu "
        "siedem/siedmiu osiem/ośmiu dziewięć/dziewięciu dziesięć/dziesięciu jedenaście/jedenastu dwanaście/dwunastu "
        "trzynaście/trzynastu czternaście/czternastu piętnaście/piętnastu szesnaście/szesnastu "
        "siedemnaście/siedemnastu osiemnaście/osiemnastu dziewiętnaście/dziewiętnastu",
        "dwadzieścia/dwudziestu trzydzieści/trzydziestu czterdzieści/czterdziestu pięćdziesiąt/pięćdziesięciu "
        "sześćdziesiąt/sześćdziesięciu siedemdziesiąt/siedemdziesięciu osiemdziesiąt/osiemdziesięciu "
        "dziewięćdziesiąt/dziewięćdziesięciu",
        "sto/stu dwieście/dwustu trzysta/trzystu czterysta/czterystu pięćset/pięciuset sześćset/sześciuset "
        "siedemset/siedmiuset osiemset/ośmiuset dziewięćset/dziewięciuset",
    ),
    "cs": (
        "nula jeden/jedna/jedno dva/dvě tři čtyři pět šest sedm osm devět deset jedenáct dvanáct třináct čtrnáct "
        "patnáct šestnáct sedmnáct osmnáct devatenáct",
        "dvacet třicet čtyřicet padesát šedesát sedmdesát osmdesát devadesát",
        "sto",
    ),
    "sv": (
        "noll en/ett två tre fyra fem sex sju åtta nio tio elva tolv tretton fjorton femton sexton sjutton arton "
        "nitton",
        "tjugo trettio fyrtio femtio sextio sjuttio åttio nittio",
        "",
    ),
    "tr": (
        "sıfır bir iki üç dört beş altı yedi sekiz dokuz on",
        "yirmi otuz kırk elli altmış yetmiş seksen doksan",
        "",
    ),
    "nl": (
        "nul een/één twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien "
        "zeventien achttien negentien",
        "twintig dertig veertig vijftig zestig zeventig tachtig negentig",
        "",
    ),
}
JOINED_BY = {
    "en": "and", "de": "und", "fr": "et", "es": "y", "it": "e", "pt": "e", "nl": "en", "ru": "", "pl": "", "cs": "a",
    "sv": "och", "tr": "",
}  # fmt: skip
# Alone these are articles or other words far more often than numbers.
NOT_ALONE = {
    "one", "second", "seconds", "un", "une", "uno", "una", "um", "uma", "ein", "eine", "sei", "neuf", "mil", "cent",
    "een", "en", "ett", "bir", "on", "bin", "один", "одна", "одно", "jeden", "jedna", "jedno",
}  # fmt: skip
PARTS = {
    "half": 2, "third": 3, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
    "thirds": 3, "quarters": 4, "fifths": 5, "sixths": 6, "eighths": 8, "tenths": 10, "hundredth": 100,
}  # fmt: skip
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
GAP = re.compile(r"[ -]+")


@dataclass(frozen=True)
class NumberWords:
    """A number in words, and where in the text it is. `part`: a fraction such as "a quarter"; `sure`: the words cannot
    be anything else ("one" and "second" can)."""

    value: Fraction
    start: int
    end: int
    ordinal: bool = False
    part: bool = False
    sure: bool = True


def find_number_words(text: str, language: str = "en") -> list[NumberWords]:
    """All numbers in words, in their order. Another language than those of LANGUAGES has none."""
    if language not in LANGUAGES or (language == "en" and not _english_words().search(text)):
        return []
    return list(_find(text, language))


@lru_cache(maxsize=1)
def _english_words() -> re.Pattern[str]:
    """The words with which a number can begin: most texts have none, which is seen much faster."""
    starts = [*number_words_of("en"), *MULTIPLES["en"], *PARTS]
    return re.compile(r"\b(?:" + "|".join(sorted(starts, key=len, reverse=True)) + r")\b", re.IGNORECASE)


def _find(text: str, language: str) -> Iterator[NumberWords]:
    words = number_words_of(language)
    run: list[tuple[str, int, int]] = []
    for match in WORD.finditer(text.casefold() if len(text.casefold()) == len(text) else text.lower()):
        for piece in _pieces(match, words, language):
            joined = piece[0] == JOINED_BY[language] or (language == "en" and piece[0] in ("a", "point"))
            known = piece[0] in words or piece[0] in MULTIPLES[language] or (language == "en" and piece[0] in PARTS)
            if run and not GAP.fullmatch(text, run[-1][2], piece[1]):
                yield from _read(run, words, language)
                run = []
            if known or joined:
                run.append(piece)
            else:
                yield from _read(run, words, language)
                run = []
    yield from _read(run, words, language)


def _pieces(match: re.Match[str], words: dict[str, tuple[int, bool]], language: str) -> Iterator[tuple[str, int, int]]:
    """A word as it is where the table has it, else its parts between hyphens."""
    if match[0] in words or "-" not in match[0]:
        yield match[0], match.start(), match.end()
        return
    start = match.start()
    for part in match[0].split("-"):
        yield part, start, start + len(part)
        start += len(part) + 1


def _read(run: list[tuple[str, int, int]], words: dict[str, tuple[int, bool]], language: str) -> Iterator[NumberWords]:
    """The numbers in a run of number words: the longest from the left each time."""
    index = 0
    while index < len(run):
        found = _longest(run[index : index + 30], words, language)
        if found is None:
            index += 1
            continue
        length, value, ordinal, part = found
        sure = length > 1 or run[index][0] not in NOT_ALONE
        yield NumberWords(value, run[index][1], run[index + length - 1][2], ordinal, part, sure)
        index += length


def _longest(
    run: list[tuple[str, int, int]], words: dict[str, tuple[int, bool]], language: str
) -> tuple[int, Fraction, bool, bool] | None:
    multiples, joint = MULTIPLES[language], JOINED_BY[language]
    total, group, length, ordinal = 0, None, 0, False
    for position, (word, _, _) in enumerate(run):
        after = run[position + 1][0] if position + 1 < len(run) else ""
        if word == joint and group is not None and after in words and (language != "en" or group % 100 == 0):
            continue
        if word == "a" and position == 0 and after in multiples:
            group = 1
        elif word in multiples and (group is not None or language != "en"):
            size = multiples[word]
            if size == 100:
                group = (group or 1) * 100
            else:
                total, group = total + (1 if group is None else group) * size, 0
        elif word in words:
            value, ordinal = words[word]
            if (
                group is None
                or (group % 100 == 0 and value < 100)
                or (group % 1000 == 0 and total)
                or (group % 10 == 0 and group % 100 >= (10 if language == "tr" else 20) and value < 10)
            ):
                group = (group or 0) + value
            else:
                break
        else:
            break
        length = position + 1
        if ordinal:
            break
    if language == "en" and (part := _part(run, words)) and part[0] > length:
        return part[0], part[1], False, True
    if language == "en" and length and not ordinal and (more := _decimals(run[length:], words)):
        digits = length + more[0]
        exact = total + (group or 0) + more[1]
        if _scaled(run, digits):
            return digits + 1, exact * multiples[run[digits][0]], False, False
        return digits, exact, False, False
    if language == "en" and length and (more := _quarters(run[length:])) and group is not None:
        size = multiples.get(run[length - 1][0], 1)
        end = length + more[0]
        if _scaled(run, end):
            return end + 1, (total + group + more[1]) * multiples[run[end][0]], False, False
        return end, total + group + more[1] * max(size, 1), False, size == 1
    return (length, Fraction(total + (group or 0)), ordinal, False) if length and group is not None else None


def _scaled(run: list[tuple[str, int, int]], place: int) -> bool:
    return place < len(run) and run[place][0] in MULTIPLES["en"]


def _decimals(run: list[tuple[str, int, int]], words: dict[str, tuple[int, bool]]) -> tuple[int, Fraction] | None:
    """ "point four", "point two five": how many words, and their value."""
    digits = ""
    if run and run[0][0] == "point":
        for word, _, _ in run[1:]:
            value, ordinal = words.get(word, (99, False))
            if value > 9 or ordinal:
                break
            digits += str(value)
    return (len(digits) + 1, Fraction(int(digits), 10 ** len(digits))) if digits else None


def _quarters(run: list[tuple[str, int, int]]) -> tuple[int, Fraction] | None:
    """ "and a quarter", "and a half", "and three quarters"."""
    said = [word for word, _, _ in run[:3]]
    shares = {"and a half": (1, 2), "and a quarter": (1, 4), "and three quarters": (3, 4)}
    share = shares.get(" ".join(said))
    return (3, Fraction(*share)) if share else None


def _part(run: list[tuple[str, int, int]], words: dict[str, tuple[int, bool]]) -> tuple[int, Fraction] | None:
    """ "half", "a quarter", "three quarters"."""
    first = run[0][0]
    if first == "half":
        return 1, Fraction(1, 2)
    if len(run) > 1 and run[1][0] in PARTS and (first == "a" or first in words):
        count = 1 if first == "a" else words[first][0]
        plural = run[1][0].endswith("s")
        return (
            (2, Fraction(count, PARTS[run[1][0]]))
            if plural == (count > 1) and not words.get(first, (0, False))[1]
            else None
        )
    return None


@lru_cache(maxsize=8)
def number_words_of(language: str) -> dict[str, tuple[int, bool]]:
    """Every word for a number below a thousand, and whether it is an ordinal."""
    build = {
        "en": _english, "de": _german, "fr": _french, "es": _spanish, "it": _italian, "pt": _portuguese,
    }  # fmt: skip
    table = build[language]() if language in build else _of_table(language)
    ordinals = {}
    if language == "en":
        ordinals = {word: (number, True) for number, word in enumerate(ORDINALS.split())}
        ordinals |= {f"{word}th": (number, True) for word, number in table.items() if 13 <= number <= 19}
        ordinals |= {f"{word[:-1]}ieth": (number, True) for word, number in table.items() if number >= 20}
    return {word: (number, False) for word, number in table.items()} | ordinals


def _of_table(language: str) -> dict[str, int]:
    """The words of TABLES, and those in which the tens and what is below ten are one word."""
    small, tens, hundreds = ([row.split("/") for row in text.split()] for text in TABLES[language])
    table = {word: number for number, row in enumerate(small) for word in row}
    below = [(number, word) for number, row in enumerate(small[:10]) for word in row if number]
    for ten, row in enumerate(tens, 2):
        table |= dict.fromkeys(row, 10 * ten)
        for number, word in below:
            if language == "sv":
                table[row[0] + word] = 10 * ten + number
            elif language == "nl":
                table[f"{word}{'ën' if word.endswith('e') else 'en'}{row[0]}"] = 10 * ten + number
            elif language == "cs":
                table[f"{CZECH_BEFORE_TENS.get(word, word)}a{row[0]}"] = 10 * ten + number
    table |= {word: 100 * hundred for hundred, row in enumerate(hundreds, 1) for word in row}
    if language == "tr":
        table |= {f"on{word}": 10 + number for number, word in below}
    if language in ("sv", "nl"):
        word, one = ("hundra", "ett") if language == "sv" else ("honderd", "een")
        under = dict(table)
        for number, head in [(1, ""), (1, one), *((number, head) for number, head in below if number > 1)]:
            table |= {f"{head}{word}{rest}": 100 * number + value for rest, value in under.items()}
            if head:
                table[f"{head}{word}"] = 100 * number
    return table


CZECH_BEFORE_TENS = {"jeden": "jedn", "jedna": "jedna", "dva": "dva", "pět": "pět", "čtyři": "čtyři"}


def _english() -> dict[str, int]:
    table = {word: number for number, word in enumerate(ENGLISH.split())} | {"dozen": 12}
    return table | {word: 10 * tens for tens, word in enumerate(ENGLISH_TENS.split(), 2)}


def _german() -> dict[str, int]:
    units = GERMAN.split()
    below = {word: number for number, word in enumerate(units)}
    for tens, word in enumerate(GERMAN_TENS.split(), 2):
        below |= {f"{'ein' if unit == 1 else units[unit]}und{word}": 10 * tens + unit for unit in range(1, 10)} | {
            word: 10 * tens
        }
    table = dict(below) | {"ein": 1, "eine": 1}
    for hundreds in range(1, 10):
        for head in {"ein" if hundreds == 1 else units[hundreds], ""} if hundreds == 1 else {units[hundreds]}:
            table |= {f"{head}hundert{rest}": 100 * hundreds + number for rest, number in below.items()}
            table[f"{head}hundert"] = 100 * hundreds
    table |= {
        f"{word}tausend": 1000 * number for word, number in list(table.items()) if 0 < number < 1000 and word != "eins"
    }
    return table | {word.replace("ß", "ss"): number for word, number in table.items() if "ß" in word}


def _french() -> dict[str, int]:
    units = FRENCH.split()
    table = {word: number for number, word in enumerate(units)}
    for tens, word in ((2, "vingt"), (3, "trente"), (4, "quarante"), (5, "cinquante"), (6, "soixante")):
        table |= {word: 10 * tens, f"{word}-et-un": 10 * tens + 1, f"{word} et un": 10 * tens + 1}
        table |= {f"{word}-{units[unit]}": 10 * tens + unit for unit in range(2, 10)}
    table |= {f"soixante-{units[unit]}": 60 + unit for unit in range(10, 20)} | {"soixante-et-onze": 71}
    table |= {f"quatre-vingt-{units[unit]}": 80 + unit for unit in range(1, 20)} | {"quatre-vingts": 80}
    return table | {"quatre-vingt": 80, "septante": 70, "huitante": 80, "nonante": 90}


def _spanish() -> dict[str, int]:
    table = {word: number for number, word in enumerate(SPANISH.split())} | {"cien": 100}
    table |= {word: 10 * tens for tens, word in enumerate(SPANISH_TENS.split(), 3)}
    return table | {word: 100 * hundreds for hundreds, word in enumerate(SPANISH_HUNDREDS.split(), 1)}


def _italian() -> dict[str, int]:
    units = ITALIAN.split()
    below = {word: number for number, word in enumerate(units)}
    for tens, word in enumerate(ITALIAN_TENS.split(), 2):
        below |= {word: 10 * tens, f"{word}tré": 10 * tens + 3}
        below |= {(word[:-1] if unit in (1, 8) else word) + units[unit]: 10 * tens + unit for unit in range(1, 10)}
    table = dict(below)
    for hundreds in range(1, 10):
        head = "cento" if hundreds == 1 else f"{units[hundreds]}cento"
        table |= {head: 100 * hundreds} | {
            head + rest: 100 * hundreds + number for rest, number in below.items() if number
        }
    table |= {f"mille{word}": 1000 + number for word, number in list(table.items()) if 0 < number < 1000}
    table |= {f"{word}mila": 1000 * number for word, number in list(table.items()) if 1 < number < 1000}
    return table


def _portuguese() -> dict[str, int]:
    table = {word: number for number, word in enumerate(PORTUGUESE.split())} | {
        "cem": 100,
        "dezasseis": 16,
        "catorze": 14,
    }
    table |= {word: 10 * tens for tens, word in enumerate(PORTUGUESE_TENS.split(), 2)}
    return table | {word: 100 * hundreds for hundreds, word in enumerate(PORTUGUESE_HUNDREDS.split(), 1)}
