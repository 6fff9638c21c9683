"""What single sentences state: defaults, answers to headings that ask, definitions, and what else a sentence holds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evaluation.drafts.asked_sentences import ask_sentence
from evaluation.drafts.markdown import Items, Paragraph, Text, plain_text
from evaluation.drafts.refusals import is_amount, is_definition, is_subject
from evaluation.drafts.wording import (
    hints_at,
    is_english,
    is_label,
    is_property,
    is_whole_sentence,
    quote_sentence,
    sentences,
)

MAX_WORDS_BELOW_A_NAME = 25
_CODE = r"`(?P<{0}>[^`\n]+)`"
_VALUE = (
    r"(?P<value>`[^`\n]+`|\"[^\"\n]+\"|\d[\d.,]*\d?(?:\s?(?:%|ms|s|seconds?|minutes?|hours?|days?|[KMG]i?B|bytes))?\b"
    r"|(?:true|false)\b)"
)
_DEFAULT = re.compile(
    r"\bdefault(?:s to| value is| is|s?:| value:| value of|\s*=|:\*\*|\*\*:)\s*" + _VALUE, re.IGNORECASE
)
_OWN_DEFAULT = re.compile(
    r"(?:^|\s)" + _CODE.format("name") + r"(?:\s+\([^)]*\))?\s+(?:defaults to|is set by default to|by default is)\s+"
    + _VALUE, re.IGNORECASE,
)  # fmt: skip
_LEADING_NAME = re.compile(r"\s*(?:\*\*|__|\[)?`(?P<name>[^`\n]+)`")
_HEADING_NAME = re.compile(
    r"(?:the )?`(?P<name>[^`<\[\]\n]+)`(?: (?:option|setting|parameter|flag|field|argument))?", re.I
)
_ASKS = re.compile(r"(?:how|what|when|where|who|which|why|can|could|do|does|is|are|should|may|will|must)\b.*\?", re.I)
_DEFINES = re.compile(
    r"(?P<name>\*\*[^*\n]{2,40}\*\*|`[^`\n]{2,40}`|[A-Z][\w.-]*(?: [A-Z][\w.-]*){0,3})(?: \([^)]*\))? (?:is|are) "
    r"(?P<rest>(?:an?|the) [^\n]+)"
)

_NO_NAMES = re.compile(
    r"(?:As|While|Since|Because|If|When|Although|For|In|Like|Unlike|With|Where|Once|After|Before|But|And|Or|So|Also|Then"
    r"|Each|Every|All|Both|Another|Our|Your|His|Her|Its|Their|My)\b"
)
_PROPERTY_OF = re.compile(
    r"The (?P<key>[a-zA-Z]+(?: [a-zA-Z]+){0,2}) of (?P<subject>(?:(?! is )[^,.;:|]){2,40}) is "
    r"(?P<value>(?!(?:now|still|not|also|only|already)\b)\S+(?: (?!(?:and|or|but|yet|because)\b)\S+){0,3})\."
)
_PRONOUNS = {"It", "This", "There", "That", "They", "What", "You", "We", "I", "Here", "Below", "Above", "One", "Some"}
_OPINION = re.compile(
    r"an? (?:good|great|better|best|bad|very|lot|few|bit|little|huge|big|small|key|must|nice|common|really|more|no"
    r"|new|different|important|critical|crucial|essential|valid|useful|simple|whole|single)\b", re.I,
)  # fmt: skip
_ASKS_READER = re.compile(r"(?:do|are|have|did|would|will|can) you\b|(?:want|need|ready)\b", re.I)
_PLACE = r"(?P<value>(?:In|At|On|Under|Below) (?:\S+ ){0,5}\S+?)\."
_AMOUNT = re.compile(r"(?<![\w.])(?P<value>[$\u20ac\u00a3]?\d[\d.,]*%?(?: [a-z]+)?)(?![\w-])")


@dataclass(frozen=True)
class Statement:
    """A question, its answer as it is in the text, other ways to say it, and a word that stands before it."""

    question: str
    value: str
    rank: int
    answers: tuple[str, ...] = ()
    behind: str = ""


def find_statements(text: Text, block: Paragraph | Items, where: str, name: str) -> Iterator[Statement]:
    """What the sentences of a paragraph or of an item state."""
    yield from _defaults(text, block, where)
    plain = plain_text(text.raw)
    if isinstance(block, Paragraph) and block.follows_heading and block.headings and plain:
        yield from _answer(block.headings[-1], plain, name)
    for sentence in (each for part in _parts(text.raw) for each in sentences(plain_text(part))):
        if is_whole_sentence(sentence):
            yield from _definition(sentence, where)
            yield from _property(sentence, where, name)
            for question, value, answers, distance in ask_sentence(sentence):
                yield Statement(_in_place(question, where, name), value, 2 + distance, answers)


def _in_place(question: str, where: str, name: str) -> str:
    """With the document before it, unless its title alone is that and the question names it anyway."""
    title = re.escape(name.strip('"'))
    if where == f"In {name}" and re.search(rf"(?<!\w){title}(?!\w)", question):
        return f"{question[0].upper()}{question[1:]}?"
    return f"{where}, {question}?"


def _property(sentence: str, where: str, name: str) -> Iterator[Statement]:
    match = _PROPERTY_OF.fullmatch(sentence)
    if (
        match
        and is_subject(match["subject"])
        and (is_property(match["key"]) or re.match(r"[A-Z\d`\"]", match["value"]))
    ):
        yield Statement(_in_place(f"what is the {match['key']} of {match['subject']}", where, name), match["value"], 0)


def _parts(raw: str) -> list[str]:
    """A short line without a stop is a title where the next one begins a sentence."""
    return re.split(r"(?<=\n)(?=[A-Z])(?<=[^\n.,:;]\n)" if re.match(r"[^\n]{1,50}\n", raw) else r"(?!)", raw)


def _defaults(text: Text, block: Paragraph | Items, where: str) -> Iterator[Statement]:
    """The default of the name that the text begins with, of the one the sentence is about, or of the heading."""
    for match in _OWN_DEFAULT.finditer(text.raw):
        yield Statement(f"{where}, what is the default of `{match['name']}`?", match["value"], 0, behind="default")
        return
    found = list(_DEFAULT.finditer(text.raw))
    if any(_names_another(text.raw, match.start(), block.headings) for match in found):
        return
    is_short = len(text.raw.split()) <= MAX_WORDS_BELOW_A_NAME
    name = _LEADING_NAME.match(text.raw)
    if name is None and block.headings and is_short and isinstance(block, Paragraph):
        name = _HEADING_NAME.fullmatch(block.headings[-1])
    if len(found) != 1 or not name or (name.string == text.raw and found[0].start() < name.end("name")):
        return
    if name["name"] in ("null", "true", "false", "undefined", "None", "True", "False"):
        return
    yield Statement(f"{where}, what is the default of `{name['name']}`?", found[0]["value"], 0, behind="default")


def _names_another(raw: str, place: int, headings: tuple[str, ...]) -> bool:
    """Whether the sentence, up to the word `default`, names another than what the text begins with or the heading."""
    begin = max(raw.rfind(". ", 0, place) + 2, 0)
    own = _LEADING_NAME.match(raw)
    names = re.findall(r"`([^`\n]+)`", raw[own.end() if own and not begin > own.end() else begin : place])
    known = {own["name"]} if own else {heading.strip("`") for heading in headings[-1:]}
    return bool(set(names) - known) and (begin > 1 or own is None)


def _answer(heading: str, plain: str, name: str) -> Iterator[Statement]:
    """Below a heading that asks: yes or no, a place, a number or the one command in the answer."""
    if not _ASKS.fullmatch(heading) or not is_english(heading):
        return
    question = f"According to {name}, {heading[0].lower() + heading[1:] if heading[1:2].islower() else heading}"
    first = sentences(plain)[0]
    if match := re.match(r"(?P<value>Yes|No)\b(?=[.,!:;]| -| \u2013| \u2014)", first):
        if not _ASKS_READER.match(heading):
            yield Statement(question, match["value"], 0)
    elif match := re.match(r"where\b.*", heading, re.I) and re.fullmatch(_PLACE, first):
        yield Statement(question, match["value"], 0)
    elif re.match(r"how (?:many|much|long|often|old|big|large|far)\b", heading, re.I):
        found = list(_AMOUNT.finditer(first))
        if len(found) == 1 and is_amount(first, found[0]["value"], found[0].start("value")):
            yield Statement(question, found[0]["value"], 0)
    elif re.match(r"how (?:do|can) ", heading, re.I) and len(codes := re.findall(r"`([^`\n]+)`", plain)) == 1:
        yield Statement(question, codes[0], 1)


def _definition(sentence: str, where: str) -> Iterator[Statement]:
    match = _DEFINES.fullmatch(sentence.rstrip("."))
    if not match or not 5 <= len(match["rest"].split()) <= 30:
        return
    name = match["name"].strip("*`")
    if (
        not is_label(name)
        or name in _PRONOUNS
        or _NO_NAMES.match(name)
        or hints_at(match["rest"], name)
        or _OPINION.match(match["rest"])
    ):
        return
    if not is_definition(match["rest"]) or re.search(r"\b(?:and|or) (?:therefore|thus|hence|so)\b", match["rest"]):
        return
    if re.search(r", (?:it|this|so|but|and (?:it|we|you|they))\b", match["rest"]):
        return
    named = f"{where}, what" if not hints_at(where, name) else "What"
    yield Statement(f"{named} is described as {quote_sentence(match['rest'])}?", name, 1)
