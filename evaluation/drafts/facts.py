"""Facts that a document states in a fixed form, and the questions that ask for them.

    # Main library                     the title, which every question names
    ## Rooms                           a heading, named with it
    - Phone: 555-0100                  key: value
    - `--loan`: Lend a book.           a term and its description: the question describes, the answer is the term
    - `days`: How long. Default: 28    a setting with its default (statements.py)

    | Room   | Seats |                 tables: the row and the heading name the cell; a long cell describes its row
    |--------|-------|
    | Garden | 40    |

The answer is short and stands word for word in the document. What is not understood is left alone: fewer questions
are better than wrong ones.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from evaluation.drafts.documents import DraftDocument
from evaluation.drafts.draft_files import FACTS, Draft, Span
from evaluation.drafts.markdown import Items, Outline, Paragraph, Table, Text, plain_text
from evaluation.drafts.refusals import MAX_ANSWER_WORDS, is_definition, is_term, opens_with_verb, shows, similar
from evaluation.drafts.statements import Statement, find_statements
from evaluation.drafts.wording import (  # fmt: skip
    be,
    hints_at,
    is_document_in_english,
    is_english,
    is_label,
    is_property,
    lower,
    quote,
    quote_sentence,
    says,
    sentences,
    stands_alone,
)

MAX_VALUE_WORDS, MAX_VALUE_CHARACTERS = 6, 60
MIN_DESCRIPTION_WORDS, MAX_DESCRIPTION_WORDS = 4, 26
MAX_ASKED_WORDS = 20
MIN_ITEMS = 2
MAX_WORDS_OF_A_ROW = 3
MAX_ROWS_OF_A_VALUE = 2
LAST_RANK = 4
VAGUE_TITLES = re.compile(
    r"(?:readme|index|overview|introduction|intro|usage|faq|faqs|home|about|guide|docs|documentation|getting started"
    r"|contents|welcome|notes|reference|configuration|examples?|installation|commands?|options?|settings)\W*",
    re.IGNORECASE,
)
_SKIPPED_FILES = re.compile(
    r"(?:change-?_?logs?|changes|history|news|releases?|release[-_]?notes.*|licen[cs]e.*|summary|_?sidebar|_?navbar|toc"
    r"|.*meeting[-_ ]?(?:notes|minutes).*|.*_minutes|minutes|authors|contributors"
    r"|credits|acknowledge?ments|sponsors|backers|thanks)",
    re.IGNORECASE,
)
_SKIPPED_HEADINGS = re.compile(
    r"(?:change ?log|release notes|(?:table of )?contents|see also|further reading|references|related.*"
    r"|.*\bexamples?\b.*|todo"
    r"|acknowledge?ments|credits|links|resources|(?:additional|more|useful) .*|prerequisites|checklist|history"
    r"|what'?s new.*|v?\d+\.\d+.*|unreleased)",
    re.IGNORECASE,
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATED = re.compile(
    rf"\W*(?:v(?:ersion )?)?\d+\.\d+|\W*\d{{1,4}}[-/.]\d\d?[-/.]\d|.*\b{_MONTH}\.? \d|.*\b\d+ {_MONTH} \d{{4}}",
    re.IGNORECASE,
)  # fmt: skip
_KEY_VALUE = re.compile(
    r"(?P<mark>\*\*|__|)(?P<key>[^\W\d_][^:|*_`<>\[\]\n]{0,40}?)(?::(?P=mark)|(?P=mark):)[ \t]+(?P<value>\S[^\n]*)"
)
_TERM = re.compile(
    r"(?P<label>\*\*[^*\n]+\*\*|__[^_\n]+__|\[?`[^`\n]+`(?:\]\([^)\s]*\))?(?:(?:,| or|/|\|)\s*`[^`\n]+`)*)"
    r"(?:\s*(?:\([^()\n]*\)|\*[^*\n]+\*|_[^_\n]+_|`[^`\n]+`|\[[^\]\n]*\](?!\()))*"
    r"(?P<separator>\s*:|\s+--?|\s*[\u2013\u2014]|\s+=)\s+(?P<rest>\S.*)",
    re.DOTALL,
)
_DESCRIBING = re.compile(
    r"(?:descriptions?|meanings?|definitions?|details?|notes?|comments?|purpose|explanations?|summary|usage|use|effects?"
    r"|what(?: is)?(?: it)?(?: does| means)?|function|behaviou?r|remarks?|responsibilit(?:y|ies)|role|info|about)",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(r"yes|no|true|false|y|n|x", re.IGNORECASE)
# Chinese, Japanese and Korean: a sentence of them is one word between spaces.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
MAX_UNSPACED = 8
# In another language than the question's, only what needs none.
_PLAIN_VALUE = re.compile(r"(?=[^\s]*(?: [^\s]*){0,2}$)(?:`[ -~]+`|[ -~]*\d[ -~]*|[!-~]+@[!-~]+)", re.ASCII)
_TAGS_AROUND = re.compile(r"^(?:\s*</?(?:a|span|b|nobr|em|strong)\b[^>]*>)+|(?:</(?:a|span|b|nobr|em|strong)>\s*)+$")
_NO_FACT = re.compile(
    r"(?:the same.*|not\b.*|nothing\b.*|itself|others?|(?:small|larg|bett|wors|fast|slow|high|low)er"
    r"|n/?a|tbd|tba|todo|unknown|various|varies|none|nil|null|\W+|see\b.*|same .*|as above.*|link|here|more"
    r"|click.*)\.?",
    re.IGNORECASE,
)
_LOOKS_LIKE_A_VALUE = re.compile(r"`[^`]+`|.*\d.*|\S+@\S+\.\w+")


@dataclass(frozen=True)
class Fact:
    """`document.text[start:end]` is the value; the other answers say the same otherwise.

    `rank`: 0 for what the document states as a fact, 1 for descriptions, 2 to 4 for sentences, from the plainest on.
    """

    document: DraftDocument
    question: str
    value: str
    start: int
    answers: tuple[str, ...] = ()
    rank: int = 0

    def as_draft(self, name: str) -> Draft:
        """The question that asks for it. It has no reference: that would be the value once more."""
        return Draft(
            id=name,
            slice=FACTS,
            question=self.question,
            answers=(self.value, *(each for each in self.answers if each != self.value)),
            sources=(self.document.source,),
            approved=None,
            span=Span(source=self.document.source, start=self.start, end=self.start + len(self.value)),
        )


def find_facts(document: DraftDocument, outline: Outline, name: str) -> list[Fact]:
    """The facts of a document, in its order, each once.

    Args:
        name: what questions call the document (`name_documents`).
    """
    if is_skipped(document, outline):
        return []
    facts: dict[tuple[str, str], Fact] = {}
    finder = _Finder(document, outline, name)
    for block in outline.blocks:
        if not any(_SKIPPED_HEADINGS.fullmatch(heading.strip("` ")) for heading in block.headings):
            for fact in finder.find(block):
                facts.setdefault((fact.question.casefold(), fact.value), fact)
    return list(facts.values())


def is_skipped(document: DraftDocument, outline: Outline) -> bool:
    """Lists of changes, of people and of links are no documents to ask about."""
    dated = sum(bool(_DATED.match(each[-1])) for each in outline.headings if each)
    is_log = dated >= 3 and 2 * dated >= len(outline.headings)
    return is_log or _SKIPPED_FILES.fullmatch(PurePosixPath(document.source).stem) is not None


def name_documents(outlines: dict[str, Outline]) -> dict[str, str]:
    """What questions call each document: its title, with its path where the title says little or is another's too."""
    titles = Counter(outline.title.casefold() for outline in outlines.values() if outline.title)
    return {source: _name(source, outline.title, titles) for source, outline in outlines.items()}


def _name(source: str, title: str | None, titles: Counter[str]) -> str:
    if not title:
        return source
    is_clear = titles[title.casefold()] == 1 and not VAGUE_TITLES.fullmatch(title)
    return quote(title) if is_clear else f"{quote(title)} ({source})"


class _Finder:
    def __init__(self, document: DraftDocument, outline: Outline, name: str) -> None:
        self.document, self.name = document, name
        self.is_english = is_document_in_english(document.text)
        self.repeated = {name for name, number in Counter(each[-1] for each in outline.headings if each).items()
                         if number > 1}  # fmt: skip

    def find(self, block: Paragraph | Items | Table) -> Iterator[Fact]:
        where = self.where(block.headings)
        if isinstance(block, Table):
            yield from self._table(block, where)
            return
        texts = block.items if isinstance(block, Items) else (block.text,)
        yield from self._terms(texts, where)
        yield from self._pairs(block, texts, where)
        for text in texts:
            for statement in find_statements(text, block, where, self.name):
                yield from self._stated(statement, text)

    def where(self, headings: tuple[str, ...]) -> str:
        """`In "Title" under "Heading"`; a heading that comes twice is named with the one above it."""
        if not headings:
            return f"In {self.name}"
        above = f" of {quote(headings[-2])}" if headings[-1] in self.repeated and len(headings) > 1 else ""
        return f"In {self.name} under {quote(headings[-1])}{above}"

    def _fact(
        self, question: str, raw: str, text: Text, rank: int, answers: tuple[str, ...] = (), after: int = 0
    ) -> Iterator[Fact]:
        """The fact, where the text holds the value as it is and the question does not give it away."""
        value = _bare(raw)
        if not self.is_english and (rank > 0 or not _PLAIN_VALUE.fullmatch(raw)):
            return
        whole = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
        found = whole.search(self.document.text, text.start + after, text.end)
        is_short = len(value.split()) <= MAX_ANSWER_WORDS and (", " not in value or ", what are " in question)
        if rank >= LAST_RANK and hints_at(question, value):
            return
        if found and is_short and re.search(r"\w", value) and not says(question, value) and not shows(question, value):
            yield Fact(self.document, question, value, found.start(), answers, rank)

    def _stated(self, statement: Statement, text: Text) -> Iterator[Fact]:
        after = max(0, self.document.text[text.start : text.end].casefold().find(statement.behind))
        yield from self._fact(statement.question, statement.value, text, statement.rank, statement.answers, after)

    def _table(self, table: Table, where: str) -> Iterator[Fact]:
        labels = [plain_text(row[0].raw) for row in table.rows]
        header = [plain_text(cell.raw) for cell in table.header]
        if len(table.rows) < 2 or len(set(map(str.casefold, labels))) < len(labels):
            return
        columns = [Counter(cell.raw for cell in column) for column in zip(*table.rows, strict=False)]
        for label, row in zip(labels, table.rows, strict=True):
            if not is_label(label):
                continue
            for column, cell, counts in zip(header[1:], row[1:], columns[1:], strict=False):
                if _is_described(plain := plain_text(cell.raw), column):
                    several = f"for {quote(column)} " if len(header) > 3 and not _DESCRIBING.fullmatch(column) else ""
                    yield from self._described(label, row[0], plain, where, header[0], several)
                elif _is_value(cell.raw) and (counts[cell.raw] <= MAX_ROWS_OF_A_VALUE or re.search(r"\d", cell.raw)):
                    yield from self._cell(label, header, column, cell, where)

    def _cell(self, label: str, header: list[str], column: str, cell: Text, where: str) -> Iterator[Fact]:
        if not is_label(column, max_words=5) and column not in ("Default", "Type", "Required"):
            if column or len(header) != 2 or header[0]:
                return
            clause = f"what is given as {quote(label)}"
        elif column.lower() in ("required", "optional", "mandatory") and _YES_OR_NO.fullmatch(_bare(cell.raw)):
            clause = f"is {quote(label)} {column.lower()}"
        elif is_property(column):
            clause = f"what {be(column)} the {lower(column)} of {quote(label)}"
        elif not header[0] and is_property(label):
            clause = f"what {be(label)} the {lower(label)} of {quote(column)}"
        elif len(header) == 2 and len(label.split()) > MAX_WORDS_OF_A_ROW:
            # Two lists of remarks side by side have the form of a table too.
            return
        else:
            clause = f"what does the table give as {quote(column)} for {quote(label)}"
        if re.search(r"[:;] ", cell.raw):
            return
        rank = 1 if _YES_OR_NO.fullmatch(_bare(cell.raw)) else 0
        yield from self._fact(f"{where}, {clause}?", cell.raw, cell, rank)

    def _terms(self, texts: tuple[Text, ...], where: str) -> Iterator[Fact]:
        """Lists of terms and descriptions. One alone may be a remark that happens to begin in bold."""
        found = [(text, match) for text in texts if (match := _TERM.match(text.raw.replace(":**", "**:")))]
        if len(found) < MIN_ITEMS or 2 * len(found) < len(texts):
            return
        described_as = [next(iter(sentences(plain_text(match["rest"]))), "") for _, match in found]
        for (text, match), described in zip(found, described_as, strict=True):
            label = plain_text(match["label"]).rstrip(":")
            # What is said of several could be answered with any of them.
            if is_label(label) and sum(similar(described, other) for other in described_as) == 1:
                yield from self._described(label, text, described, where, "")

    def _described(
        self, label: str, text: Text, description: str, where: str, kind: str, level: str = ""
    ) -> Iterator[Fact]:
        described = description.rstrip(".:; ").lstrip("-\u2013\u2014:. ")
        codes = re.findall(r"`([^`]+)`", label) if label.startswith("`") else []
        is_one = (len(codes) < 2 or codes[0].startswith("-")) and not any("|" in code for code in codes)
        if not _describes(described, label) or not is_one or not is_term(label) or not is_definition(described):
            return
        what, verb = _kind(label, kind), opens_with_verb(described)
        if verb and not (codes or kind or re.fullmatch(r"[a-z][\w.-]*", label)):
            return
        question = f"{where}, {what} is described {level}as {quote_sentence(described)}?"
        if verb and verb.endswith("s") and not verb.endswith("ss") and not level:
            if len(described.split()) > MAX_ASKED_WORDS or re.search(r"[:\u2014] ", described):
                return
            question = f"{where}, {what} {verb}{described[len(verb) :]}?"
        value = codes[0] if codes else label
        yield from self._fact(question, value, text, 1, _other_names(codes))

    def _pairs(self, block: Paragraph | Items, texts: tuple[Text, ...], where: str) -> Iterator[Fact]:
        lines = [line for text in texts for line in _lines(self.document.text, text)]
        found = [(line, match) for line in lines if (match := _KEY_VALUE.fullmatch(line.raw))]
        if 2 * len(found) < len(lines):
            return
        for line, match in found:
            key, value = match["key"].strip(), match["value"]
            if is_label(key, max_words=4) and _is_pair(key, value) and not hints_at(_bare(value), key):
                question = f"{where}, what is given as {quote(key)}?"
                yield from self._fact(question, value, line, 0, after=line.raw.index(":") + 1)


def _other_names(codes: list[str]) -> tuple[str, ...]:
    """Of `--format (-f)` and `--file=<path>` the option alone; of `-f`, `--force` the others."""
    bare = [code.split(" (")[0].split("=")[0].split(" ")[0] if code.startswith("-") else code for code in codes]
    return tuple(dict.fromkeys([*codes[1:], *bare]))


def _lines(document: str, text: Text) -> Iterator[Text]:
    """The lines of a text, without marks of a list before them."""
    for match in re.finditer(r"[^\r\n]+", document[text.start : text.end]):
        raw = re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+|\s+$", "", match[0])
        end = text.start + match.start() + len(match[0].rstrip())
        yield Text(raw.strip(), end - len(raw), end)


def _bare(raw: str) -> str:
    """Without the marks around the whole of it; those within it stay."""
    raw = _TAGS_AROUND.sub("", raw)
    text = raw.strip().rstrip(".,;") if not raw.strip().endswith((".m.", "etc.")) else raw.strip()
    for pattern in (r"\*\*(?P<in>[^*]+)\*\*", r"__(?P<in>[^_]+)__", r"\*(?P<in>[^*]+)\*", r"``? ?(?P<in>[^`]+?) ?``?",
                    r"_(?P<in>[^_]+)_", r"\[(?P<in>[^\[\]]+)\]", r"\"(?P<in>[^\"]+)\""):  # fmt: skip
        if match := re.fullmatch(pattern, text):
            text = match["in"].strip()
    return text


def _is_value(raw: str) -> bool:
    """Short, in words that can be compared, and neither a link nor a picture nor a blank to fill."""
    value = _bare(raw)
    if not value or len(value.split()) > MAX_VALUE_WORDS or len(value) > MAX_VALUE_CHARACTERS:
        return False
    is_code = raw.strip().startswith("`") and raw.strip() == f"`{value}`"
    if re.search(r"`\s+`|`.*\(|\).*`", raw) and not is_code:
        return False  # several, or one with a remark
    if not is_code and (_NO_FACT.fullmatch(value) or re.search(r"\]\(|\]\[|\[\^|https?:|[<>{}|\\?]|:\w+:|!\[", value)):
        return False
    if len(_UNSPACED.findall(value)) > MAX_UNSPACED:
        return False
    return re.search(r"[^\W_]", value) is not None and value.count("`") % 2 == 0 and "**" not in value


def _is_pair(key: str, value: str) -> bool:
    """A list of links or of remarks has the same form: the value has to look like one, or the key like a property's."""
    if not _is_value(value) or "; " in value:
        return False
    bare = _bare(value)
    return (is_property(key) and not bare.startswith("is ")) or (
        _LOOKS_LIKE_A_VALUE.fullmatch(value) is not None and len(bare.split()) <= 4
    )


def _is_described(plain: str, column: str) -> bool:
    is_long = len(plain.split()) > MAX_VALUE_WORDS
    return is_long or (bool(_DESCRIBING.fullmatch(column)) and len(plain.split()) >= MIN_DESCRIPTION_WORDS)


def _describes(description: str, label: str) -> bool:
    words = description.split()
    if not MIN_DESCRIPTION_WORDS <= len(words) <= MAX_DESCRIPTION_WORDS or not stands_alone(description):
        return False
    if not is_english(description) or description.endswith(("?", ":", ",")) or re.search(r"https?:|\$\{", description):
        return False
    if re.match(r"(?:is|are)\b", description):
        return False
    return not hints_at(description, label) and description.count("`") % 2 == 0


def _kind(label: str, column: str) -> str:
    if label.startswith(("`-", "-")):
        return "which option"
    noun = column.lower().strip("` ")
    if re.fullmatch(r"[a-z]+(?: [a-z]+)?", noun) and not noun.endswith("s") and is_label(column):
        return f"which {noun}"
    return "what"
