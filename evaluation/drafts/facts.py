"""Facts that a document states in a fixed form, and the questions that ask for them.

    ---                          front matter: the subject is the document
    owner: Facilities
    ---
    # Main library               the subject of what follows
    Opens: 9 a.m.                key: value
    - **Phone:** 555-0100        bullets, with or without emphasis
    The floor of Map room is 2.  "The KEY of SUBJECT is VALUE."

    | Room   | Seats |           tables: the first column is the subject, the other headings are keys
    |--------|-------|
    | Garden | 40    |

What is longer than a value, holds a link or stands in a code block is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from evaluation.drafts.documents import DraftDocument
from evaluation.drafts.draft_files import Draft, Span

MAX_KEY_WORDS = 6
MAX_VALUE_WORDS = 10
SLICE = "facts"
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_PAIR = re.compile(
    r"\s*(?:[-*+]\s+)?(?P<mark>\*\*|__|)(?P<key>[^\W\d_][^:|*_`<>]*?)(?::(?P=mark)|(?P=mark):)\s+(?P<value>\S.*)"
)
_SENTENCE = re.compile(r"\bThe (?P<key>[^.:;|]+?) of (?P<subject>[^.:;|]+?) is (?P<value>[^|;]+?)\.(?=\s|$)")
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_CELL = re.compile(r"(?<=\|)[^|]*(?=\|)")
_AROUND_A_VALUE = " \t*_`\"'"
_NO_VALUE = re.compile(r"\]\(|https?://|[|<>{}]")


@dataclass(frozen=True)
class Fact:
    """`document.text[start:end]` is the value."""

    document: DraftDocument
    subject: str
    key: str
    value: str
    start: int

    @property
    def question(self) -> str:
        return f"What is the {self.key} of {self.subject}?"

    def as_draft(self, name: str) -> Draft:
        """The question that asks for it."""
        return Draft(
            id=name,
            slice=SLICE,
            question=self.question,
            answers=(self.value,),
            reference=f"The {self.key} of {self.subject} is {self.value}.",
            sources=(self.document.source,),
            approved=None,
            span=Span(source=self.document.source, start=self.start, end=self.start + len(self.value)),
        )


def find_facts(document: DraftDocument) -> list[Fact]:
    """The facts of a document, in its order, each once."""
    facts: dict[tuple[str, str], Fact] = {}
    for fact in _facts(document):
        if fact is not None:
            facts.setdefault((fact.question.casefold(), fact.value), fact)
    return list(facts.values())


def _facts(document: DraftDocument) -> Iterator[Fact | None]:
    subject, fenced = _title(document), False
    headings: list[str] = []
    for start, line, in_front_matter in _lines(document.text):
        if _FENCE.match(line):
            fenced = not fenced
        if fenced or _FENCE.match(line):
            headings = []
        elif not in_front_matter and (heading := _HEADING.match(line)):
            subject = heading[1].strip(_AROUND_A_VALUE)
        elif line.count("|") >= 2:
            cells = _cells(line, start)
            if _RULE.match(line):
                continue
            if headings:
                yield from _row(document, headings, cells)
            headings = headings or [text for text, _ in cells]
            continue
        elif pair := _PAIR.match(line):
            yield _fact(document, subject, pair["key"], pair["value"], start + pair.start("value"))
        else:
            for match in _SENTENCE.finditer(line):
                yield _fact(document, match["subject"], match["key"], match["value"], start + match.start("value"))
        headings = []


def _lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Each line with the number of its first character, and whether it belongs to the front matter."""
    start, front_matter = 0, text.startswith("---")
    for number, line in enumerate(text.splitlines(keepends=True)):
        ends = front_matter and number > 0 and line.strip() in ("---", "...")
        yield start, line.rstrip("\r\n"), front_matter
        front_matter = front_matter and not ends
        start += len(line)


def _title(document: DraftDocument) -> str:
    """The first heading, else what the front matter calls `title`, else the file's name."""
    heading = re.search(r"^#\s+(.+?)\s*#*\s*$", document.text, re.MULTILINE)
    title = re.search(r"\A---\n(?:.*\n)*?title:\s*(.+?)\s*\n", document.text)
    named = heading or title
    return named[1].strip(_AROUND_A_VALUE) if named else PurePosixPath(document.source).stem.replace("-", " ")


def _cells(line: str, start: int) -> list[tuple[str, int]]:
    """The cells of a table's row and where they begin; the bars at its ends may be left out."""
    before = "" if line.lstrip().startswith("|") else "|"
    full = before + line + ("" if line.rstrip().endswith("|") else "|")
    return [(cell[0], start + cell.start() - len(before)) for cell in _CELL.finditer(full)]


def _row(document: DraftDocument, headings: list[str], cells: list[tuple[str, int]]) -> Iterator[Fact | None]:
    if len(cells) == len(headings):
        for heading, (value, start) in zip(headings[1:], cells[1:], strict=True):
            yield _fact(document, cells[0][0], heading, value, start)


def _fact(document: DraftDocument, subject: str, key: str, value: str, start: int) -> Fact | None:
    """None where one of the three is not what a question can be made of."""
    left = value.lstrip(_AROUND_A_VALUE)
    start, value = start + len(value) - len(left), left.rstrip(_AROUND_A_VALUE)
    subject, key = subject.strip(_AROUND_A_VALUE), key.strip(_AROUND_A_VALUE)
    if not (re.search(r"\w", value) and re.search(r"\w", subject) and re.search(r"\w", key)):
        return None
    if len(key.split()) > MAX_KEY_WORDS or len(value.split()) > MAX_VALUE_WORDS:
        return None
    if any(_NO_VALUE.search(text) for text in (subject, key, value)) or key.lower() == "title":
        return None
    return Fact(document, subject, _lower(key), value, start)


def _lower(key: str) -> str:
    """ "Opening hours" in small letters; "ISBN" and "HTTP status" stay."""
    return " ".join(word.lower() if word[1:].islower() or len(word) == 1 else word for word in key.split())
