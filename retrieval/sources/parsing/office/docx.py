"""DOCX -> Markdown: what a reader of the printed pages sees, and notes and comments where they are referred to.

Read are the body, tables, text boxes, content controls, fields' results, formulas, footnotes, endnotes, comments,
headers, footers, charts, diagrams and descriptions of pictures. Left out and counted are tracked deletions, hidden text
and pictures without a description.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.office.archive import Archive, Element, attribute, local, open_archive
from retrieval.sources.parsing.office.drawings import chart_text, description, diagram_text
from retrieval.sources.parsing.office.formulas import SIGNS, formula, sign
from retrieval.sources.parsing.office.numbering import Numbering, Styles
from retrieval.sources.parsing.parsed import Parsed, markdown_table

_BLOCKS = frozenset({"p", "tbl"})
_DELETED = frozenset({"del", "moveFrom"})
_SIGNS = {"tab": " ", "ptab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_SKIPPED = frozenset({"instrText", "delText", "delInstrText", "rPr", "pPr", "sdtPr", "sdtEndPr", "tblPr", "tblGrid"})
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes", "commentReference": "comments"}
_PRIVATE = re.compile("[\uf020-\uf0ff]")
_SEPARATORS = frozenset({"separator", "continuationSeparator", "continuationNotice"})


def read_docx(content: bytes) -> Parsed:
    """A Word document.

    Raises:
        Unreadable: it is none, is damaged, or is protected by a password.
    """
    with open_archive(content, "docx") as archive:
        document = _Document(archive)
        return Parsed("\n\n".join(document.blocks()), document.left_out)


@dataclass
class _Inline:
    """What a paragraph holds: its text, and the notes and boxes that belong behind it."""

    parts: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)


class _Document:
    def __init__(self, archive: Archive) -> None:
        self.archive, self.main, self.left_out = archive, archive.main, Counter[str]()
        self.styles, self.numbering = Styles(self._part("styles")), Numbering(self._part("numbering"))
        self.notes = {kind: self._notes(kind) for kind in _NOTES.values()}

    def blocks(self) -> Iterator[str]:
        """Paragraphs, headings, list items and tables in their order; then what no paragraph refers to."""
        try:
            root = self.archive.xml(self.main)
        except KeyError as error:
            raise Unreadable(f"is damaged: it has no part {self.main}") from error
        yield from self._blocks(root)
        for notes in self.notes.values():
            for note in list(notes.values()):
                yield from self._blocks(note)
        for kind in ("header", "footer"):
            roots = (self.archive.readable_xml(part, self.left_out) for part in self._parts(kind))
            texts = [" ".join(self._blocks(root)) for root in roots if root is not None]
            for text in dict.fromkeys(" ".join(text.split()) for text in texts):
                if text:
                    yield f"{kind.capitalize()}: {text}"
        # What else is in the archive is of another format, such as a web page that was inserted as it is.
        self.left_out["inserted files"] += len(self._parts("aFChunk"))
        self.left_out["embedded files"] += len(self._parts("package")) + len(self._parts("oleObject"))

    def _parts(self, kind: str) -> list[str]:
        return list(dict.fromkeys(self.archive.related(self.main, kind)))

    def _part(self, kind: str) -> Element | None:
        part = next(iter(self._parts(kind)), None)
        return None if part is None else self.archive.readable_xml(part, self.left_out)

    def _notes(self, kind: str) -> dict[str, Element]:
        """By their id, without the lines that stand between text and notes."""
        root = self._part(kind)
        notes = [] if root is None else root.iterchildren("{*}footnote", "{*}endnote", "{*}comment")
        return {attribute(note, "id") or "": note for note in notes if attribute(note, "type") not in _SEPARATORS}

    def _blocks(self, element: Element) -> Iterator[str]:
        """The blocks in an element that holds some, such as the body, a cell or a content control."""
        for child in element.iterchildren():
            name = local(child)
            if name == "p":
                yield from self._paragraph(child)
            elif name == "tbl":
                yield from self._table(child)
            elif name in _DELETED:
                self.left_out["tracked deletions"] += 1
            elif name not in _SKIPPED:
                yield from self._blocks(_alternative(child) if name == "AlternateContent" else child)

    def _paragraph(self, paragraph: Element) -> Iterator[str]:
        inline = _Inline()
        self._walk(paragraph, inline)
        properties = paragraph.find("{*}pPr")
        number, depth = self.numbering.number(properties, self.styles)
        level = self.styles.level(properties)
        text = "".join(inline.parts).strip()
        if text and level:
            yield f"{'#' * level} {' '.join(f'{number} {text}'.split())}"
        elif text:
            mark = f"{'  ' * depth}- " if number == "-" else f"{number} " if number else ""
            yield mark + text
        yield from inline.behind

    def _walk(self, element: Element, inline: _Inline) -> None:
        """Collect the text of runs, whatever they are wrapped in."""
        for child in element.iterchildren():
            name = local(child)
            if name == "t":
                inline.parts.append(self._letters(child))
            elif name in _SIGNS:
                inline.parts.append(_SIGNS[name])
            elif name == "r" and _is_hidden(child):
                self.left_out["words of hidden text"] += len("".join(child.itertext("{*}t")).split())
            elif name in _DELETED:
                self.left_out["tracked deletions"] += 1
            elif name in _NOTES:
                self._note(_NOTES[name], attribute(child, "id") or "", inline)
            elif name == "oMath":
                inline.parts.append(formula(child))
            elif name == "sym":
                inline.parts.append(self._sign(attribute(child, "char") or "", attribute(child, "font") or ""))
            elif name == "ffData":
                inline.parts.append(_form_field(child))
            elif name == "AlternateContent":
                self._walk(_alternative(child), inline)
            elif name in ("drawing", "pict", "object"):
                self._drawing(child, inline)
            elif name in _BLOCKS:  # a paragraph in one, as text boxes have them
                inline.behind.extend(self._paragraph(child) if name == "p" else self._table(child))
            elif name not in _SKIPPED:
                self._walk(child, inline)

    def _letters(self, text: Element) -> str:
        """Text whose font shows other signs than its characters are."""
        fonts = text.getparent().find("{*}rPr/{*}rFonts")
        font = "" if fonts is None else attribute(fonts, "ascii") or attribute(fonts, "hAnsi") or ""
        if font not in SIGNS:
            return text.text or ""
        return _PRIVATE.sub(lambda found: self._sign(f"{ord(found[0]):X}", font), text.text or "")

    def _sign(self, code: str, font: str) -> str:
        try:
            shown = sign(int(code, 16), font)
        except (ValueError, OverflowError):
            shown = ""
        self.left_out["signs of fonts that hold pictures"] += not shown
        return shown

    def _note(self, kind: str, key: str, inline: _Inline) -> None:
        """The text of a note comes right behind the paragraph, once."""
        note = self.notes[kind].pop(key, None)
        if note is None:
            return
        text = " ".join(" ".join(self._blocks(note)).split())
        if kind == "comments":
            author = attribute(note, "author")
            inline.behind.append(f"Comment ({author}): {text}" if author else f"Comment: {text}")
        elif text:
            inline.parts.append(f"[^{key}]")
            inline.behind.append(f"[^{key}]: {text}")

    def _drawing(self, drawing: Element, inline: _Inline) -> None:
        """Its description, and the text in it."""
        if text := description(drawing):
            inline.parts.append(f" [{text}] ")
        elif any(local(each) in ("blip", "imagedata") for each in drawing.iter()):
            self.left_out["pictures without a description"] += 1
        relations = self.archive.relations(self.main)
        for each in drawing.iter("{*}chart", "{*}relIds", "{*}textpath"):
            if local(each) == "textpath":
                inline.parts.append(f" {each.get('string', '')} ")
                continue
            _, part = relations.get(attribute(each, "dm") or attribute(each, "id") or "", ("", ""))
            root = self.archive.readable_xml(part, self.left_out) if part else None
            if root is not None:
                inline.behind.append((chart_text if local(each) == "chart" else diagram_text)(root))
        self._walk(drawing, inline)

    def _table(self, table: Element) -> Iterator[str]:
        """A Markdown table. A cell that goes over several rows is in each; one that is alone is only a frame."""
        rows: list[list[str]] = []
        cells = list(table.iterdescendants("{*}tc"))
        if len(cells) == 1:
            yield from self._blocks(cells[0])
            return
        for row in _rows(table):
            if row.find("{*}trPr/{*}del") is not None:
                self.left_out["tracked deletions"] += 1
                continue
            rows.append(self._row(row, rows[-1] if rows else []))
        if text := markdown_table(rows):
            yield text

    def _row(self, row: Element, above: list[str]) -> list[str]:
        before = row.find("{*}trPr/{*}gridBefore")
        texts = [""] * (0 if before is None else _number(before))
        for cell in _cells(row):
            span, merge = cell.find("{*}tcPr/{*}gridSpan"), cell.find("{*}tcPr/{*}vMerge")
            text = " ".join(self._blocks(cell))
            if merge is not None and attribute(merge, "val") != "restart" and not text.strip():
                text = above[len(texts)] if len(texts) < len(above) else ""
            texts += [text, *[""] * ((1 if span is None else _number(span)) - 1)]
        return texts


def _rows(table: Element) -> Iterator[Element]:
    """The rows of a table and not of those in it, whatever they are wrapped in."""
    for child in table.iterchildren():
        if local(child) == "tr":
            yield child
        elif local(child) not in _SKIPPED:
            yield from _rows(child)


def _cells(row: Element) -> Iterator[Element]:
    for child in row.iterchildren():
        if local(child) == "tc":
            yield child
        elif local(child) not in ("trPr", "tblPrEx", *_SKIPPED):
            yield from _cells(child)


def _number(element: Element) -> int:
    """The value of an element, within what a table can have."""
    value = attribute(element, "val") or ""
    return min(int(value), 100) if value.isdecimal() else 1


def _is_hidden(run: Element) -> bool:
    vanish = run.find("{*}rPr/{*}vanish")
    return vanish is not None and attribute(vanish, "val") not in ("0", "false", "off")


def _alternative(content: Element) -> Element:
    """The newer of two ways to write the same; the older where the newer says nothing."""
    choice, fallback = content.find("{*}Choice"), content.find("{*}Fallback")
    says_nothing = choice is None or next((each for each in choice.iter("{*}t", "{*}blip", "{*}chart")), None) is None
    return fallback if fallback is not None and says_nothing else content if choice is None else choice


def _form_field(data: Element) -> str:
    """What is chosen in a list or ticked, which no run says."""
    entries = [attribute(each, "val") or "" for each in data.iterfind("{*}ddList/{*}listEntry")]
    if entries:
        chosen = data.find("{*}ddList/{*}result")
        at = 0 if chosen is None else _number(chosen)
        return entries[at] if at < len(entries) else ""
    box = data.find("{*}checkBox")
    if box is None:
        return ""
    mark = box.find("{*}checked")
    mark = box.find("{*}default") if mark is None else mark
    return "[x] " if mark is not None and attribute(mark, "val") not in ("0", "false", "off") else "[ ] "
