"""Chinese and Japanese amounts, dates and times in the form in which digits write them.

    western("三千二百平方米")     # "3200平方米"
    western("午後10時15分発")     # " 22:15 発"
    western("百分之三十")         # "30%"

Accepted values and answers are both rewritten, and only where one of the values is an amount, a date or a time: "一" is
also a part of many words.
"""

import re
import unicodedata

from evaluation.questions.dates import parse_date, parse_time
from evaluation.questions.numbers import parse_number
from evaluation.questions.question import Question

EASTERN = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
TENS = {"十": 10, "百": 100, "千": 1_000}
MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
NUMERALS = "".join([*DIGITS, *TENS, *MYRIADS])
# A single numeral is a number before a counter only; several together are one anywhere.
COUNTER = (
    r"(?=(?:平方|立方)?(?:米|公尺|公里|公斤|公顷|克|斤|吨|升|毫|厘|里|度|元|块|塊|円|圆|圓|美元|欧元|年|月|日|号|號|天|小时|小時|時間|点|點|"
    r"時|分|秒|周|週|个|個|名|人|位|次|回|册|冊|本|枚|台|件|层|層|楼|階|歳|岁|歲|倍|メートル|キロ|グラム|リットル|ヘクタール|ユーロ|ドル|パーセント|割|か月|ヶ月))"
)
NUMERAL = re.compile(rf"(?<![第\d])(?:[{NUMERALS}]{{2,}}|[{NUMERALS}]{COUNTER})")
SHARE = re.compile(rf"百分之\s?([{NUMERALS}]+|\d+(?:\.\d+)?)")
PERCENT = re.compile(r"(?<=\d)\s?(?:パーセント|퍼센트)")
PEOPLE = re.compile(r"(?<=\d)\s?(?:个人|個人|名|位)")
LATE = "午後 下午 晚上 晚 夜晚 夜里 夜 夕方 傍晚 오후 저녁"
EARLY = "午前 上午 早上 早晨 清晨 朝 凌晨 오전 새벽"
HALF_DAY = "|".join(sorted([*LATE.split(), *EARLY.split(), "中午"], key=len, reverse=True))
TIME = re.compile(
    rf"(?P<half>{HALF_DAY})?\s?(?P<hour>2[0-4]|[01]?\d)\s?(?:時|时|点|點|시)(?!間|间)钟?(?:(?P<part>半|一刻|三刻|[134]5?刻)"
    r"|\s?(?P<minute>[0-5]?\d)\s?(?:分|분)?)?|(?P<half2>" + HALF_DAY + r")\s?(?P<hour2>1?\d):(?P<minute2>[0-5]\d)"
)
PARTS = {"半": 30, "一刻": 15, "1刻": 15, "三刻": 45, "3刻": 45}
BETWEEN = re.compile(
    r"(?<=[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])[ ・·](?=[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])"
)


def is_eastern(text: str) -> bool:
    """Whether a text has Chinese or Japanese characters."""
    return EASTERN.search(text) is not None


def is_amount(value: str) -> bool:
    """Whether a value, in its western form, is an amount, a date or a time."""
    plain = western(value).strip()
    return bool(parse_number(plain) or parse_date(plain) or parse_time(plain))


def in_one_script(question: Question, text: str) -> tuple[Question, str]:
    """Question and answer with Chinese and Japanese amounts in digits, and names without spaces in them."""
    if any(is_amount(value) for value in question.answers):
        answers = tuple(western(value).strip() if is_amount(value) else value for value in question.answers)
        return question.model_copy(update={"answers": answers}), western(text)
    return question.model_copy(update={"answers": tuple(map(without_gaps, question.answers))}), without_gaps(text)


def western(text: str) -> str:
    """A text with its amounts, shares and times in digits."""
    text = unicodedata.normalize("NFKC", text)
    text = SHARE.sub(lambda share: f"{_value(share[1])}%", text)
    text = NUMERAL.sub(lambda numeral: str(_value(numeral[0])), text)
    return TIME.sub(_time, PEOPLE.sub("人", PERCENT.sub("%", text)))


def without_gaps(text: str) -> str:
    """A text without spaces and points between two such characters: "高橋 美咲" is "高橋美咲"."""
    return BETWEEN.sub("", unicodedata.normalize("NFKC", text))


def _value(numeral: str) -> int | str:
    """The number that numerals write, by place value ("二〇二五") or with tens and hundreds."""
    if numeral[0].isdigit():
        return numeral
    if all(character in DIGITS for character in numeral):
        return int("".join(str(DIGITS[character]) for character in numeral))
    total = group = digit = 0
    for character in numeral:
        if character in DIGITS:
            digit = DIGITS[character]
        elif character in TENS:
            group, digit = group + (digit or 1) * TENS[character], 0
        else:
            total, group, digit = total + (group + digit or 1) * MYRIADS[character], 0, 0
    return total + group + digit


def _time(match: re.Match[str]) -> str:
    half, hour = match["half"] or match["half2"] or "", int(match["hour"] or match["hour2"])
    minute = PARTS.get(match["part"] or "", 0) + int(match["minute"] or match["minute2"] or 0)
    if half in LATE.split() and hour < 12:
        hour += 12
    if half in EARLY.split() and hour == 12:
        hour = 0
    return f" {hour}:{minute:02} "
