"""The words of a document as other libraries read them: python-docx, openpyxl, python-pptx, html.parser."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_WORD = re.compile(r"\w+")


def missing_words(read: str, expected: str) -> set[str]:
    """The words of `expected` that are not in the text that was read."""
    return set(_WORD.findall(expected)) - set(_WORD.findall(read))


def docx_text(path: Path) -> str:
    """Body, tables in tables, text boxes, headers, footers, comments, footnotes and endnotes."""
    from docx import Document

    document = Document(str(path))
    parts = list(_blocks(document))
    for section in document.sections:
        for each in ("header", "footer", "first_page_header", "first_page_footer", "even_page_header"):
            parts += _blocks(getattr(section, each))
    parts += [comment.text for comment in document.comments]
    for box in document.element.body.iter("{*}txbxContent"):
        parts.append(" ".join(text.text or "" for text in box.iter("{*}t")))
    for relation in document.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes")):
            parts += re.findall(r"<w:t[^>]*>([^<]*)</w:t>", relation.target_part.blob.decode())
    return "\n".join(parts)


def _blocks(container: Any) -> Iterator[str]:
    for paragraph in container.paragraphs:
        yield paragraph.text
    for table in container.tables:
        for row in table.rows:
            for cell in row.cells:
                yield from _blocks(cell)


def xlsx_text(path: Path) -> str:
    """Names of sheets, texts and whole numbers of cells, comments; of visible sheets."""
    from openpyxl import load_workbook

    parts = []
    for sheet in load_workbook(path, data_only=True):
        if sheet.sheet_state == "visible":
            parts.append(sheet.title)
            cells = [cell for row in sheet.iter_rows() for cell in row]
            parts += [str(cell.value) for cell in cells if isinstance(cell.value, str | int)]
            parts += [cell.comment.text for cell in cells if cell.comment]
    return "\n".join(parts)


def pptx_text(path: Path) -> str:
    """Shapes, groups, tables, charts and notes."""
    from pptx import Presentation

    parts = []
    for slide in Presentation(str(path)).slides:
        if slide.element.get("show") == "0":
            continue
        parts += _shapes(slide.shapes)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            parts.append(slide.notes_slide.notes_text_frame.text)
    return "\n".join(parts)


def _shapes(shapes: Any) -> Iterator[str]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text
        elif getattr(shape, "has_table", False):
            yield from (cell.text for row in shape.table.rows for cell in row.cells)
        elif getattr(shape, "has_chart", False):
            for plot in shape.chart.plots:
                yield from map(str, plot.categories)
                yield from (series.name for series in plot.series)


def html_text(source: str) -> str:
    """Texts outside of head, script, style and template, titles, and descriptions of pictures."""
    reader = _Html()
    reader.feed(source)
    return " ".join(reader.parts)


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "template"):
            self.silent.append(tag)
        self.parts += [value or "" for name, value in attrs if name == "alt" and tag == "img"]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.silent:
            self.silent.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(data)
