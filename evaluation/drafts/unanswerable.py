"""Questions that the documents do not answer, made from what they say of others of the same kind.

    ### `host`                       `host` has a default, `port` has none:
    Default: `localhost`             "What is the default of `port`?" is a question that cannot be answered.
    ### `port`

An empty cell of a table is one too, a column that only the other table of settings has, and a key such as `Email` that
most documents of a folder give. A question is made only where no document mentions both what is asked about and
the property that is asked for, in a paragraph, in a line of a table or below a heading.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from evaluation.drafts.documents import DraftDocument
from evaluation.drafts.draft_files import UNANSWERABLE, Draft, Span
from evaluation.drafts.markdown import Items, Outline, Table, Text, plain_text
from evaluation.drafts.wording import be, is_label, is_property, lower, quote

MIN_SIBLINGS = 2
MIN_DOCUMENTS = 3
_CODE_HEADING = re.compile(r"`(?P<name>[^`]+)`")
_CODE_ITEM = re.compile(r"`(?P<name>[^`\n]+)`(?:\s*(?::|--?|[\u2013\u2014])\s)")
_KEY = re.compile(
    r"(?:\*\*|__)?(?P<key>[A-Z][A-Za-z ]{2,30}?)(?:\*\*|__)?:(?:\*\*|__)?[ \t]+[`\"']?[^\W_]", re.MULTILINE
)
_REMARK = re.compile(r"(?:descriptions?|notes?|comments?|remarks?|details?|meaning|)", re.IGNORECASE)
_DEFAULT = re.compile(r"\bdefaults?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Unanswerable:
    """`document.text[start:end]` names what is asked about."""

    document: DraftDocument
    question: str
    subject: str
    key: str
    start: int
    end: int

    def as_draft(self, name: str) -> Draft:
        return Draft(
            id=name, slice=UNANSWERABLE, question=self.question, answers=(), answerable=False, approved=None,
            span=Span(source=self.document.source, start=self.start, end=self.end),
        )  # fmt: skip


class _Candidate(NamedTuple):
    question: str
    subject: str
    key: str
    start: int
    end: int


class UnanswerableFinder:
    """Reads all documents once. `find` names what a document may leave open, and `is_open` looks into all of them."""

    def __init__(self, documents: Sequence[DraftDocument], outlines: Mapping[str, Outline]) -> None:
        self.documents = documents
        self.keys: dict[PurePosixPath, Counter[str]] = {}
        for document in documents:
            self.keys.setdefault(PurePosixPath(document.source).parent, Counter()).update(
                {key for text in _texts(outlines[document.source]) for key in _keys(text.raw)}
            )
        self.num_in_folder = Counter(PurePosixPath(document.source).parent for document in documents)

    def find(self, document: DraftDocument, outline: Outline, name: str) -> list[Unanswerable]:
        """What a document seems to leave open; whether all of them do is for `is_open` to say.

        Args:
            name: what questions call the document.
        """
        candidates = [*_empty_cells(outline, name), *_settings(document, outline, name), *_columns(outline, name)]
        candidates += self._keys_of_folder(document, outline, name)
        return list({each.question: Unanswerable(document, *each) for each in candidates}.values())

    def is_open(self, asked: "Unanswerable") -> bool:
        """Whether no document mentions both what is asked about and what is asked for."""
        subject, key = asked.subject.casefold(), asked.key.casefold().rstrip("s")
        names = re.compile(rf"(?<![\w-]){re.escape(subject)}(?![\w-])")
        return not any(subject in text and key in text and names.search(text) for text in self._mentions)

    @cached_property
    def _mentions(self) -> list[str]:
        return [mention for document in self.documents for mention in _mentions(document.text)]

    def _keys_of_folder(self, document: DraftDocument, outline: Outline, name: str) -> Iterator[_Candidate]:
        folder = PurePosixPath(document.source).parent
        start = document.text.find(outline.title) if outline.title else -1
        for key, number in self.keys[folder].items():
            is_usual = number >= MIN_DOCUMENTS and 4 * number >= 3 * self.num_in_folder[folder]
            if outline.title and start >= 0 and is_usual and key.rstrip("s") not in document.text.casefold():
                question = f"In {name}, what is given as {quote(key.capitalize())}?"
                yield _Candidate(question, outline.title, key, start, start + len(outline.title))


def _mentions(text: str) -> Iterator[str]:
    """What stands together, in small letters: each paragraph and line of a table below its headings, and all that is
    below a heading without others."""
    heading, below = "", [""]
    for part in re.split(r"(?:\r?\n[ \t]*){2,}|(?<=\|)[ \t]*\r?\n|\n(?=#)|(?<=\n)(?=[-*+] )", text.casefold()):
        if part.lstrip().startswith("#"):
            yield "\n".join(below)
            heading, _, part = part.lstrip().partition("\n")
            below = [heading]
        below += [part] if "|" not in part else []
        yield f"{heading}\n{part}"
    yield "\n".join(below) if len(below) < 8 else ""


def _texts(outline: Outline) -> Iterator[Text]:
    for block in outline.blocks:
        yield from () if isinstance(block, Table) else block.items if isinstance(block, Items) else (block.text,)


def _keys(text: str) -> set[str]:
    return {key for match in _KEY.finditer(text) if is_property(key := match["key"].strip().lower())}


def _columns(outline: Outline, name: str) -> Iterator[_Candidate]:
    """Properties that are a column of one table of a kind of things and not of another."""
    tables = [block for block in outline.blocks if isinstance(block, Table) and len(block.rows) >= MIN_SIBLINGS]
    columns = [[plain_text(cell.raw) for cell in table.header] for table in tables]
    for table, header in zip(tables, columns, strict=True):
        lacking = {column for other in columns if _are_alike(header, other) for column in other if is_property(column)}
        for column in sorted(lacking - set(header)):
            where = f"In {name}" + (f" under {quote(table.headings[-1])}" if table.headings else "")
            for row in table.rows:
                label = plain_text(row[0].raw)
                if re.fullmatch(r"`[^`]{3,}`", label) and row[0].end > row[0].start:
                    question = f"{where}, what {be(column)} the {lower(column)} of {label}?"
                    yield _Candidate(question, label.strip("`"), column, row[0].start, row[0].end)


def _are_alike(header: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two tables may tell of the same kind of things: they share the first column, and the first has another
    that is no remark."""
    return bool(header[0]) and header[0] == other[0] and any(not _REMARK.fullmatch(column) for column in header[1:])


def _empty_cells(outline: Outline, name: str) -> Iterator[_Candidate]:
    for table in (block for block in outline.blocks if isinstance(block, Table)):
        header = [plain_text(cell.raw) for cell in table.header]
        where = f"In {name}" + (f" under {quote(table.headings[-1])}" if table.headings else "")
        for number, column in enumerate(header[1:], start=1):
            filled = sum(bool(row[number].raw) for row in table.rows if number < len(row))
            if not is_property(column) or filled < MIN_SIBLINGS or 2 * filled < len(table.rows):
                continue
            for row in table.rows:
                label = plain_text(row[0].raw)
                if is_label(label) and number < len(row) and row[number].start == row[number].end:
                    question = f"{where}, what {be(column)} the {lower(column)} of {quote(label)}?"
                    yield _Candidate(question, label.strip("`"), column, row[0].start, row[0].end)


def _settings(document: DraftDocument, outline: Outline, name: str) -> Iterator[_Candidate]:
    """Settings that are headings, and lists of them: those without a property that others of the document have."""
    headed = {path[-1]: match["name"] for path in outline.headings if path
              and (match := _CODE_HEADING.fullmatch(path[-1]))}  # fmt: skip
    keys: dict[str, set[str]] = {heading: set() for heading in headed}
    listed: dict[str, tuple[str, str, int]] = {}
    for block in outline.blocks:
        texts = block.items if isinstance(block, Items) else () if isinstance(block, Table) else (block.text,)
        for text in texts:
            if block.headings and block.headings[-1] in headed:
                keys[block.headings[-1]] |= _keys(text.raw)
            if match := _CODE_ITEM.match(text.raw):
                where = f" under {quote(block.headings[-1])}" if block.headings else ""
                start = document.text.find(match["name"], text.start)
                listed[match["name"]] = (f"In {name}{where}", text.raw, start)
    for key in sorted(set().union(*keys.values())):
        lacking = [heading for heading, its in keys.items() if key not in its]
        if len(keys) - len(lacking) >= max(MIN_SIBLINGS, len(lacking)):
            for heading in lacking:
                start = max(0, document.text.find(headed[heading]))
                question = f"In {name}, what {be(key)} the {lower(key)} of {heading}?"
                yield _Candidate(question, headed[heading], key, start, start + len(headed[heading]))
    in_all = Counter(where for where, _, _ in listed.values())
    with_default = Counter(where for where, raw, _ in listed.values() if _DEFAULT.search(raw))
    for setting, (where, raw, start) in listed.items():
        is_setting = re.fullmatch(r"[A-Za-z][^=\s]{2,}", setting) is not None
        has_usually = with_default[where] >= max(MIN_SIBLINGS, in_all[where] / 2)
        if is_setting and has_usually and not _DEFAULT.search(raw):
            question = f"{where}, what is the default of `{setting}`?"
            yield _Candidate(question, setting, "default", start, start + len(setting))
