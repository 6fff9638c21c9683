"""Values in scripts that put no spaces between words: Chinese, Japanese, Thai and their like, and Korean."""

import re
import unicodedata

UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
CLAUSE = re.compile(r"[,;:¦\n。!?！？、]|(?:而是|但是|不过|でなく|ではなく|しかし|하지만|아니라)")
END = re.compile(r"[\n。!?！？]")
DENIED = re.compile(
    r"(?:不是|并非|并不是|不叫|不在|不位于|不为|没有|非|不再|而不是|除了|不能是|别|不要|切勿|請勿|请勿|不可|绝不|绝对不)\S{0,6}§"
    r"|§\S{0,3}(?:じゃない|ではない|ではありません|でない|じゃありません|以外|は違|이 아|가 아|은 아|는 아|아닙|아니)"
    r"|(?:ไม่ใช่|ไม่)\s?§|§(?:不是|并不|不对|错|以外)"
)
HEDGED = re.compile(
    r"どちら|どっち|いずれか|之一|其中一|중 하나|可能|也许|或许|大概|かもしれ|たぶん|おそらく|아마|수도 있|อาจ"
    r"|或者|还是|または|あるいは|もしくは|혹은|또는|หรือ"
)
PAST = re.compile(r"曾经|以前|原来|过去|曾是|かつて|昔は|以前は|だった(?!ら)|でした|예전|과거|이었|였습니다|เคย")
MORE = "南北东西東新大小上下中"
LIST = re.compile(r"[、,，/;和与及跟或と・や및과와]")


def is_unspaced(value: str) -> bool:
    """Whether a value is written in such a script."""
    return UNSPACED.search(value) is not None


def read_unspaced(text: str, values: list[str], question: str) -> str:
    """ "right", "wrong" or "unclear", for an answer that is cleaned."""
    text = unicodedata.normalize("NFKC", text)
    for value in sorted((unicodedata.normalize("NFKC", value) for value in values), key=len, reverse=True):
        if value in text:
            return _read(text, value, unicodedata.normalize("NFKC", question))
    return "wrong"


def _read(text: str, value: str, question: str) -> str:
    verdicts = []
    for match in re.finditer(re.escape(value), text):
        before = text[match.start() - 1 : match.start()] if match.start() else ""
        if before and before in MORE and before + value not in question:
            verdicts.append("wrong")
            continue
        if before.isdigit() and value[0].isdigit():
            continue
        start = max((cut.end() for cut in CLAUSE.finditer(text, 0, match.start())), default=0)
        stop = next((cut.start() for cut in CLAUSE.finditer(text, match.end())), len(text))
        clause = f"{text[start : match.start()]}§{text[match.end() : stop]}"
        after = text[match.end() : match.end() + 8]
        if (
            DENIED.search(clause)
            or re.match(r"(?:ではなく|でなく|じゃなく|이 아니라|가 아니라)", after)
            or (PAST.search(clause) and not PAST.search(question))
            or HEDGED.search(clause)
            or (text[match.end() : match.end() + 1] in "?？" and text[match.end() :].strip())
            or _is_listed(text, match.start(), match.end(), value)
        ):
            verdicts.append("wrong")
        else:
            verdicts.append("right")
    return "right" if "right" in verdicts else "wrong"


def _is_listed(text: str, start: int, end: int, value: str) -> bool:
    """Whether the value is one of several of its length, with only a mark or an "and" between them."""
    ends = [match.start() for match in END.finditer(text)]
    left = max((cut + 1 for cut in ends if cut < start), default=0)
    right = min((cut for cut in ends if cut >= end), default=len(text))
    before, after = text[left:start], text[end:right]
    longest = len(value) + 2
    if before and LIST.match(before[-1]) and before[:-1].strip():
        item = re.split(r"[、,，/;和与及跟或と・や是为は]", before[:-1].strip())[-1].strip()
        if 0 < len(item) <= longest:
            return True
    if after and LIST.match(after[0]):
        item = re.split(r"[、,，/;和与及跟或と・や。]", after[1:].strip())[0].strip()
        item = re.sub(r"(?:です|だ|である|입니다)$", "", item)
        return 0 < len(item) <= longest and not re.search(r"[不是的はがに이가]", item)
    return False
