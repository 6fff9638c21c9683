"""XLSX -> Markdown: each sheet a section with a table, cells as the sheet shows them, comments below.

Hidden sheets, rows and columns are left out and counted; rows that only a filter hides are read. A formula that no
program has computed is shown as the formula, and counted.
"""

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.limits import MAX_CELLS
from retrieval.sources.parsing.office.archive import Archive, open_archive
from retrieval.sources.parsing.office.drawings import chart_text, description, diagram_text, paragraphs
from retrieval.sources.parsing.office.number_formats import show
from retrieval.sources.parsing.parsed import Parsed, markdown_table

if TYPE_CHECKING:
    from openpyxl.cell.cell import Cell
    from openpyxl.workbook.workbook import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

_DRAWING = re.compile(r"/?xl/drawings/drawing\d*\.xml", re.IGNORECASE)
_NO_DRAWING = b'<wsDr xmlns="http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing"/>'
_STRICT = b"http://purl.oclc.org/ooxml/"
_MAX_CELLS = 2_000_000
_CELL = re.compile(rb"<(?:\w{1,20}:)?c[\s/>]")
_MERGED = re.compile(rb'mergeCell [^>]*ref="\$?([A-Z]{1,3})\$?(\d{1,7}):\$?([A-Z]{1,3})\$?(\d{1,7})"')
_UNCOMPUTED = "values of formulas that were never computed"


def read_xlsx(content: bytes) -> Parsed:
    """A workbook.

    Raises:
        Unreadable: it is none, is damaged, is protected by a password, or has too many cells.
    """
    with open_archive(content, "xlsx") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # extensions that openpyxl does not know, which hold no cells
        assert archive.main
        _check_size(archive)
        book = _Book(_transitional(archive, content))
        return Parsed("\n\n".join([*book.sections(), *_drawn(archive, book.left_out)]), book.left_out)


class _Book:
    def __init__(self, content: bytes) -> None:
        self.content, self.left_out = content, Counter[str]()
        self.formulas = self._load(data_only=False)
        has_formulas = any(cell.data_type == "f" for sheet in self.formulas.worksheets for cell in _cells(sheet))
        self.values = self._load(data_only=True) if has_formulas else self.formulas

    def _load(self, data_only: bool) -> "Workbook":
        from openpyxl.reader.excel import ExcelReader

        content = io.BytesIO(self.content)
        reader = ExcelReader(content, data_only=data_only, keep_links=False)
        reader.archive = _WithoutDrawings(content)
        reader.read()
        return reader.wb

    def sections(self) -> Iterator[str]:
        for sheet in self.formulas.worksheets:
            if sheet.sheet_state != "visible":
                self.left_out["hidden sheets"] += 1
                continue
            yield f"## {sheet.title}"
            if table := markdown_table(self._rows(sheet)):
                yield table
            yield from self._comments(sheet)
            yield from _headers(sheet)
        for chart in self.formulas.chartsheets:
            yield f"## {chart.title}"

    def _rows(self, sheet: "Worksheet") -> list[list[str]]:
        values = self.values[sheet.title]._cells
        columns, hidden_rows = self._columns(sheet), self._hidden_rows(sheet)
        rows: dict[int, dict[int, str]] = {}
        for cell in _cells(sheet):
            if cell.row not in hidden_rows and cell.column in columns and cell.value is not None:
                rows.setdefault(cell.row, {})[cell.column] = self._shown(cell, values.get((cell.row, cell.column)))
        for merged in sheet.merged_cells.ranges:
            # A cell that goes over several rows belongs to each.
            text = rows.get(merged.min_row, {}).get(merged.min_col, "")
            for row in rows.keys() & set(range(merged.min_row + 1, merged.max_row + 1)) if text else ():
                rows[row].setdefault(merged.min_col, text)
        if len(rows) * len(columns) > MAX_CELLS:
            raise Unreadable(f"has a sheet of {len(rows):,} x {len(columns):,} cells with text: divide it")
        return [[rows[row].get(column, "") for column in columns] for row in sorted(rows)]

    def _columns(self, sheet: "Worksheet") -> dict[int, None]:
        """The columns with cells that are shown, in their order."""
        hidden = set[int]()
        for each in sheet.column_dimensions.values():
            if each.hidden:
                hidden |= set(range(each.min or 0, (each.max or 0) + 1))
        columns = sorted({cell.column for cell in _cells(sheet) if cell.value is not None})
        self.left_out["hidden columns"] += sum(column in hidden for column in columns)
        return dict.fromkeys(column for column in columns if column not in hidden)

    def _hidden_rows(self, sheet: "Worksheet") -> set[int]:
        filters = [sheet.auto_filter, *(table.autoFilter for table in sheet.tables.values())]
        filtered = set[int]()
        for each in filters:
            if each is not None and each.ref and each.filterColumn:
                first, _, last = each.ref.partition(":")
                filtered |= set(range(_row(first), _row(last or first) + 1))
        hidden = {row for row, each in sheet.row_dimensions.items() if each.hidden} - filtered
        with_cells = {row for row, _ in sheet._cells if row in hidden}
        self.left_out["hidden rows"] += len(with_cells)
        return hidden

    def _shown(self, cell: "Cell", computed: Any) -> str:
        from openpyxl.utils.escape import unescape  # of _x000D_, a line end in some programs

        if cell.data_type != "f":
            return show(unescape(cell.value) if isinstance(cell.value, str) else cell.value, cell.number_format)
        if computed is not None and computed.value is not None:
            value = computed.value
            return show(unescape(value) if isinstance(value, str) else value, cell.number_format)
        if computed is not None and computed.data_type == "str":
            return ""  # computed, to an empty text
        self.left_out[_UNCOMPUTED] += 1
        formula = getattr(cell.value, "text", cell.value)  # of an array, it is an object
        return formula if isinstance(formula, str) else ""

    def _comments(self, sheet: "Worksheet") -> Iterator[str]:
        for cell in _cells(sheet):
            if cell.comment is not None and (text := " ".join((cell.comment.text or "").split())):
                yield f"Comment on {cell.coordinate}: {text}"


def _headers(sheet: "Worksheet") -> Iterator[str]:
    """What is printed above and below a sheet, without its codes."""
    for kind in ("Header", "Footer"):
        pages = [getattr(sheet, f"{page}{kind}") for page in ("odd", "even", "first")]
        texts = [each.text for page in pages for each in (page.left, page.center, page.right) if each and each.text]
        # The number of the page and of all, date, time, path, file, sheet, picture.
        shown = " ".join(re.sub(r"&\[\w+\]|&[PNDTZFAG]", " ", " ".join(dict.fromkeys(texts))).split())
        if re.search(r"\w", shown):
            yield f"{kind}: {shown}"


def _transitional(archive: Archive, content: bytes) -> bytes:
    """The workbook with the names of the transitional variant of ISO 29500, which openpyxl knows alone."""
    if _STRICT not in archive.read(archive.main):
        return content
    out = io.BytesIO()
    with ZipFile(out, "w") as transitional:
        for name in archive.names(""):
            part = archive.archive.read(name)
            if name.lower().endswith((".xml", ".rels")):
                part = re.sub(
                    rb"http://purl.oclc.org/ooxml/(\w+)/", rb"http://schemas.openxmlformats.org/\1/2006/", part
                )
            transitional.writestr(name, part)
    return out.getvalue()


class _WithoutDrawings(ZipFile):
    """Pictures and charts are read elsewhere: a damaged one must not refuse the workbook."""

    def read(self, name: str | ZipInfo, pwd: bytes | None = None) -> bytes:
        return _NO_DRAWING if _DRAWING.fullmatch(str(name)) else super().read(name, pwd)


def _cells(sheet: "Worksheet") -> Iterator["Cell"]:
    """The cells that the file has, by rows: not those between, of which there may be millions."""
    cells = sheet._cells
    yield from (cells[key] for key in sorted(cells))


def _row(coordinate: str) -> int:
    return int("".join(character for character in coordinate if character.isdecimal()) or 0)


def _check_size(archive: Archive) -> None:
    """openpyxl makes an object of each cell, and of each within a merged one.

    Raises:
        Unreadable: there are too many.
    """
    num_cells = 0
    for name in archive.names("xl/worksheets/sheet"):
        content = archive.read(name)
        num_cells += len(_CELL.findall(content)) + sum(_area(each) for each in _MERGED.findall(content))
    if num_cells > _MAX_CELLS:
        raise Unreadable(f"has {num_cells:,} cells, more than {_MAX_CELLS:,}: divide it, or save it as CSV")


def _area(merged: tuple[bytes, bytes, bytes, bytes]) -> int:
    left, top, right, bottom = (each.decode() for each in merged)
    return (_column(right) - _column(left) + 1) * (int(bottom) - int(top) + 1)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _drawn(archive: Archive, left_out: Counter[str]) -> Iterator[str]:
    """Text boxes, descriptions of pictures, and charts."""
    for name in archive.names("xl/drawings/drawing"):
        root = archive.readable_xml(name, left_out)
        if root is None:
            continue
        pictures = [each for each in root.iter("{*}pic") if not description(each)]
        left_out["pictures without a description"] += len(pictures)
        yield from (part for part in [*paragraphs(root), description(root)] if part)
    for name in archive.names("xl/diagrams/data"):
        root = archive.readable_xml(name, left_out)
        if root is not None and (text := diagram_text(root)):
            yield text
    left_out["embedded files"] += len(archive.names("xl/embeddings/"))
    for name in archive.names("xl/charts/chart"):
        root = archive.readable_xml(name, left_out)
        if root is not None and (text := chart_text(root)):
            yield text
