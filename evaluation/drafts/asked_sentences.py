"""Questions from one sentence that holds one code span or one number.

    The `clean` command removes old files.       Which command removes old files?
    Use `--all` to show hidden files.            What do you use to show hidden files?
    The limit for attachments is 5 MB.           What is the limit for attachments?
    We have four offices in Spain.               How many offices do we have in Spain?

A sentence with a number that has none of these forms is asked for with a gap in it.
"""

import re
from collections.abc import Iterator

from evaluation.drafts.refusals import is_sound_gap, is_subject
from evaluation.drafts.wording import quote_sentence

GAP = "____"
MIN_WORDS, MAX_WORDS = 7, 28
MIN_ASKED_WORDS = 7
MIN_CODE_CHARACTERS = 4
MAX_CODES, MAX_NUMBERS = 3, 3

_VERBS = "use|run|set|call|pass|add|specify|execute|type|enable|enter|choose|select|import|include|define|configure"
_GERUNDS = "using|running|setting|calling|passing|adding|specifying|executing|enabling|with"
_CODE = r"`(?P<code>[^`]+)`"
_NOUN = r"(?: (?P<noun>[a-z][a-z-]+(?: [a-z][a-z-]+)?))"
_SOFTLY = r"(?:(?:you|we) (?:can|may|should|must|need to|have to) |simply |just |also |always |then )*"
_NOUN_VERB = re.compile(
    rf"The {_CODE} (?P<noun>[a-z][a-z-]+(?: [a-z][a-z-]+)?) (?P<rest>(?:(?!is\b|has\b|was\b)[a-z]+[^s\W]s|can|will|must"
    r"|is used|is required|is responsible|has to) .+)"
)
_USE_TO = re.compile(
    rf"{_SOFTLY}(?P<verb>{_VERBS}) (?:the |an? )?{_CODE}{_NOUN}?? (?P<how>in order to|to|if|when|for) (?P<rest>.+)",
    re.I,
)
_TO_USE = re.compile(
    rf"(?P<how>In order to|To|If|When) (?P<rest>[^,]+(?:, [^,]+)?), {_SOFTLY}(?P<verb>{_VERBS}) (?:the |an? )?{_CODE}"
    rf"{_NOUN}?(?P<tail> (?:in|on|at|from|inside) (?:(?! and )[^,])+)?", re.I,
)  # fmt: skip
_BY_USING = re.compile(rf"You can (?:also )?(?P<rest>.+?),? (?:by )?(?P<verb>{_GERUNDS}) (?:the |an? )?{_CODE}{_NOUN}?")
_CODE_VERB = re.compile(
    rf"{_CODE} (?P<rest>(?!\w+ (?:are|is|were|was|can|will|must|should)\b(?! used))"
    r"(?:[a-z]+[^s\W]s|can|is used|will) .+)"
)
_KIND_WORDS = """
    api argument attribute binary block branch class command configuration constant decorator directive directory
    dictionary endpoint environment event exception extension extra field file flag folder format function group header
    helper hook interface key keyword label library macro method middleware mode module name object operator option
    package parameter permission plugin prefix property provider role schema script section service setting status
    subcommand switch table tag template token tool type utility value variable"""
_KINDS = frozenset(_KIND_WORDS.split())
_NUMBER = re.compile(
    r"(?<![\w.#/`$€£:~–-])(?P<number>[$€£]?\d+(?:[,.]\d+)*(?:%|\+|(?:[KMGT]i?B|ms|px|km|kg|am|pm|k)\b)?)"
    r"(?![\w/`:°'’–]|[.-]\w|-,| (?:or|to|and) \d)"
)
_SPELLED = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12,
}  # fmt: skip
_ANY_NUMBER = re.compile(rf"\b(?:{'|'.join(_SPELLED)})\b|\d[\d.,]*", re.IGNORECASE)
_NAME = re.compile(
    r"(?<=\b[a-z])(?P<before>[a-z'’-]* )"
    r"(?P<name>[A-Z][\w&'-]*[a-z](?<![A-Z]s)(?: [A-Z][\w&'-]+){0,3})(?![\w’'+]| [(A-Z])"
)
_POINTS_BACK = re.compile(
    r"(?:\S+ ){0,4}(?:it|they|them|its|their|one|ones)\b"
    r"|.*\b(?:do so|done so|check|although|luckily|notice|head over)\b",
    re.IGNORECASE,
)
_SPELLED_NUMBER = re.compile(rf"\b(?P<number>{'|'.join(_SPELLED)})\b(?= (?:[a-z-]+ )?[a-z]+s\b)", re.IGNORECASE)
_NUMBERED = re.compile(
    r"\b(?:step|version|versions|v|chapter|figure|section|issue|rfc|pep|part|item|rule|no\.?|level|type|python|java|node"
    r"|number|#|[A-Z][a-z]+, ?)\s*$|\b(?:\d+|one|two|three|four) (?:or|to|and) $", re.I,
)  # fmt: skip
_N = rf"(?P<number>[$€£]?\d[\d,.]*%?|{'|'.join(_SPELLED)})"
_NOUNS = r"(?P<nouns>(?:[a-z-]+ ){0,2}[a-z]+s)"
_IS_NUMBER = re.compile(
    r"(?P<subject>(?:The|Our|Your) (?:(?! is | are | was | were |,).)+) (?P<be>is|are|was|were) "
    rf"(?:set to |limited to |capped at |currently )?"
    rf"(?P<value>{_N}(?: (?!(?:and|or|but|to|for|as|if|when|yet)\b)[a-z]+){{0,3}})", re.IGNORECASE,
)  # fmt: skip
_THERE_ARE = re.compile(rf"There (?P<be>are|were) {_N} {_NOUNS}(?P<rest>(?: [^,:]+)?)", re.IGNORECASE)
_HAVE = re.compile(
    r"(?P<subject>We|You|(?:All |Full-time |New )?[Ee]mployees|Users|Teams) (?:(?P<modal>can|must|should|will) )?"
    rf"(?P<verb>have|get|need|offer|receive|earn|accrue|use|provide|take|pay|support|host|hold|keep) {_N} {_NOUNS}"
    r"(?P<rest>(?: (?:of|for|in|on|at|per|to|with|each|every|from|during)\b[^,:]*)?)"
)
# "25 days of leave per year": days of leave are counted.
_OF_KIND = re.compile(r" of [a-z]+(?: [a-z]+)?(?= (?:for|in|on|at|per|to|with|each|every|from|during)\b|$)")
_HAS = re.compile(
    rf"(?P<subject>(?:The|Our|Each|Every|An?) [^,]{{3,40}}?|[A-Z]\w+) has {_N} {_NOUNS}"
    r"(?P<rest>(?: (?:of|for|in|on|at|per|to|with)\b[^,:]*)?)"
)


def ask_sentence(sentence: str) -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """What a sentence can be asked for: the question without its document, the answer, other ways to say the answer,
    and how far the question is from plain English (0 to 2)."""
    if not MIN_WORDS <= len(sentence.split()) <= MAX_WORDS or re.search(r"https?:|[|{}<>\[\]]|\.\.\.|\u2026", sentence):
        return
    plain = sentence.rstrip(".")
    if plain.count("(") != plain.count(")"):
        return
    codes = list(dict.fromkeys(re.findall(r"`[^`]+`", plain)))
    if len(codes) <= MAX_CODES and (asked := _ask_code(plain)):
        yield *asked, (), 0
        return
    numbers = [each for each in _NUMBER.finditer(plain) if not _NUMBERED.search(plain[: each.start()])]
    numbers += _SPELLED_NUMBER.finditer(plain)
    if not codes and numbers and len(_ANY_NUMBER.findall(plain)) <= MAX_NUMBERS:
        yield from _ask_number(plain, numbers)
    elif not _POINTS_BACK.match(plain):
        yield from _ask_gap(plain, codes)


def _ask_gap(plain: str, codes: list[str]) -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """A gap for the one longest code span, or for the only name."""
    longest = max(codes, key=len, default="")
    names = list(_NAME.finditer(plain))
    if len(longest) > MIN_CODE_CHARACTERS and len(codes) <= MAX_CODES and plain.count(longest) == 1:
        start, end, value = plain.index(longest), plain.index(longest) + len(longest), longest
    elif not codes and len(names) == 1:
        start, end, value = *names[0].span("name"), names[0]["name"]
    else:
        return
    gapped = f"{plain[:start]}{GAP}{plain[end:]}."
    if start and len(gapped.split()) > MIN_WORDS + 1 and is_sound_gap(plain[:start], value, plain[end:]):
        yield f"{'what' if codes else 'which name'} is missing from {quote_sentence(gapped)}", value, (), 2


def _ask_code(plain: str) -> tuple[str, str] | None:
    """The question and the code span that it asks for."""
    if (match := _NOUN_VERB.fullmatch(plain)) and _is_kind(match["noun"]):
        asked = f"which {match['noun']} {match['rest']}"
    elif (match := _USE_TO.fullmatch(plain)) and _is_kind(match["noun"]):
        asked = f"{_which(match['noun'])} do you {match['verb'].lower()} {match['how']} {match['rest']}"
    elif (match := _TO_USE.fullmatch(plain)) and _is_kind(match["noun"]):
        end = f"{match['tail'] or ''} {match['how'].lower()} {match['rest']}"
        asked = f"{_which(match['noun'])} do you {match['verb'].lower()}{end}"
    elif (match := _BY_USING.fullmatch(plain)) and _is_kind(match["noun"]):
        asked = f"{_which(match['noun'])} can you use to {match['rest']}"
    elif match := _CODE_VERB.fullmatch(plain):
        asked = f"what {match['rest']}"
    else:
        return None
    # Too little is left, or the question points at what was said before it.
    is_vague = len(asked.split()) < MIN_ASKED_WORDS or re.search(
        r"\b(?:it|they|them|otherwise|lot|we|our|us|now|still|already|yet|instead|remains?|continues?"
        r"|do so|more common|equivalent|alternative"
        r"|implies|imply|suggests?)\b|[;\u2014]|: |\bthat$|,? and `|, and (?:the|an?|you|this) ",
        asked,
    )
    # A second clause behind ", and" says more than is asked; two commas and more are a list.
    has_another_clause = ", and " in asked and asked.count(",") < 2
    return (
        None
        if is_vague or has_another_clause or len(match["code"]) < 2 or f"`{match['code']}`" in asked
        else (asked, f"`{match['code']}`")
    )


def _is_kind(noun: str | None) -> bool:
    return noun is None or noun.split()[-1] in _KINDS


def _which(noun: str | None) -> str:
    return f"which {noun}" if noun else "what"


def _ask_number(plain: str, numbers: list[re.Match[str]]) -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """One question for the sentence: for an amount of money or a share before others."""
    number = next((each for each in numbers if re.search(r"[$€£%]", each["number"])), numbers[-1])
    value = number["number"]
    if (match := _only(_IS_NUMBER, plain)) and is_subject(match["subject"]):
        subject = match["subject"][0].lower() + match["subject"][1:]
        yield f"what {match['be'].lower()} {subject}", match["value"], _in_digits(match["value"]), 0
        return
    other = _in_digits(value)
    if match := _only(_THERE_ARE, plain):
        yield f"how many {match['nouns']} {match['be']} there{match['rest']}", value, other, 0
    elif match := _only(_HAVE, plain):
        subject = match["subject"][0].lower() + match["subject"][1:]
        rest, kind = match["rest"], _OF_KIND.match(match["rest"])
        nouns, rest = (match["nouns"] + kind[0], rest[kind.end() :]) if kind else (match["nouns"], rest)
        yield f"how many {nouns} {match['modal'] or 'do'} {subject} {match['verb']}{rest}", value, other, 0
    elif match := _only(_HAS, plain):
        subject = match["subject"]
        subject = subject[0].lower() + subject[1:] if " " in subject else subject
        yield f"how many {match['nouns']} does {subject} have{match['rest']}", value, other, 0
    elif len(plain.split()) > MIN_WORDS and len(re.findall(rf"(?<!\w){re.escape(value)}(?!\w)", plain)) == 1:
        before, after = plain[: number.start("number")], plain[number.end("number") :]
        if not is_sound_gap(before, value, after):
            return
        gapped = f"{before}{GAP}{after}."
        yield f"which number is missing from {quote_sentence(gapped)}", value, other, 1


def _only(form: re.Pattern[str], plain: str) -> re.Match[str] | None:
    return form.fullmatch(plain) if len(_ANY_NUMBER.findall(plain)) == 1 else None


def _in_digits(value: str) -> tuple[str, ...]:
    first, _, rest = value.partition(" ")
    return (f"{_SPELLED[first.lower()]} {rest}".strip(),) if first.lower() in _SPELLED else ()
