"""Formats of before 2007 that a light library reads: XLS and RTF."""

import io
import re
from collections import Counter
from typing import Any

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.office.archive import explain_container
from retrieval.sources.parsing.office.number_formats import show
from retrieval.sources.parsing.parsed import Parsed, markdown_table

# Types of cells (xlrd), and the errors that one may hold.
_NUMBER, _DATE, _BOOLEAN, _ERROR, _BLANK = 2, 3, 4, 5, 6
_ERRORS = {0: "#NULL!", 7: "#DIV/0!", 15: "#VALUE!", 23: "#REF!", 29: "#NAME?", 36: "#NUM!", 42: "#N/A"}
# Dates that Excel shows by the settings of the machine, as openpyxl names them.
_BY_LOCALE = {14: "mm-dd-yy", 22: "m/d/yy h:mm"}
_PICTURE = re.compile(r"(\\pict\b[^{}]{0,2000}?)[0-9a-fA-F\s]{256,}")
_OTHER = "is a Word document|is a PowerPoint|is an Outlook|is an OLE container"
# Groups that striprtf passes over, by the word that they begin with.
_GROUPS = {
    "footnotes": r"\{\\footnote\b",
    "headers and footers": r"\{\\(?:header|footer)[lrf]?\b",
    "comments": r"\{(?:\\\*)?\\annotation\b",
    "text boxes": r"\{\\\*?\\?shptxt\b|\{\\dptxbxtext\b",
    "pictures": r"\{(?:\\\*)?\\pict\b",
}


def read_xls(content: bytes) -> Parsed:
    """A workbook of Excel before 2007: cells as the sheet shows them, merged ones in each of their rows, comments.

    Hidden sheets, rows and columns are left out and counted. The values of formulas are those that were stored.

    Raises:
        Unreadable: it is none, is damaged, or is protected by a password.
    """
    import xlrd

    why = explain_container(content)
    if why and ("password" in why or re.match(_OTHER, why)):
        raise Unreadable(why)
    left_out, parts = Counter[str](), list[str]()
    try:
        book = xlrd.open_workbook(file_contents=content, formatting_info=True, logfile=io.StringIO())
        for sheet in book.sheets():
            if sheet.visibility:
                left_out["hidden sheets"] += 1
                continue
            table = markdown_table(_rows(book, sheet, left_out))
            notes = sorted(sheet.cell_note_map.items())
            parts += [f"## {sheet.name}", *([table] if table else []), *(f"Comment: {note.text}" for _, note in notes)]
    except xlrd.XLRDError as error:
        if "encrypted" in str(error):
            raise Unreadable("is protected by a password: save it without one") from error
        raise Unreadable(f"cannot be opened as xls: {error}"[:200]) from error
    return Parsed("\n\n".join(parts), left_out)


def _rows(book: Any, sheet: Any, left_out: Counter[str]) -> list[list[str]]:
    hidden_rows = {row for row, info in sheet.rowinfo_map.items() if info.hidden}
    hidden = {column for column, info in sheet.colinfo_map.items() if info.hidden}
    used = {at for row in range(sheet.nrows) for at, kind in enumerate(sheet.row_types(row)) if kind % _BLANK}
    left_out["hidden rows"] += sum(any(sheet.row_types(row)) for row in hidden_rows if row < sheet.nrows)
    left_out["hidden columns"] += len(used & hidden)
    over = {
        (row, left): (top, left)
        for top, bottom, left, _ in sheet.merged_cells
        for row in range(top + 1, min(bottom, sheet.nrows))
    }
    columns = sorted(used - hidden)
    return [
        [_shown(book, sheet, *over.get((row, column), (row, column))) for column in columns]
        for row in range(sheet.nrows)
        if row not in hidden_rows
    ]


def _shown(book: Any, sheet: Any, row: int, column: int) -> str:
    cell = sheet.cell(row, column)
    if cell.ctype == _ERROR:
        return _ERRORS.get(cell.value, "#ERROR")
    if cell.ctype not in (_NUMBER, _DATE, _BOOLEAN):
        return str(cell.value)
    key = book.xf_list[cell.xf_index].format_key
    code = _BY_LOCALE.get(key) or book.format_map[key].format_str
    if cell.ctype == _DATE:
        return _show_date(cell.value, code, book.datemode)
    return show(bool(cell.value) if cell.ctype == _BOOLEAN else cell.value, code)


def _show_date(days: float, code: str, datemode: int) -> str:
    from xlrd.xldate import XLDateError, xldate_as_datetime

    try:
        moment = xldate_as_datetime(days, datemode)
    except (XLDateError, OverflowError, ValueError):
        return show(days, "General")
    return show(moment.time() if 0 <= days < 1 else moment, code)


def read_rtf(content: bytes) -> Parsed:
    """Rich Text. Its bytes say in which code page they are.

    Raises:
        Unreadable: it is none, or holds bytes that are not in that code page.
    """
    from striprtf.striprtf import rtf_to_text

    if not content.lstrip().startswith(b"{\\rtf"):
        raise Unreadable(explain_container(content) or "cannot be opened as rtf: it does not begin with {\\rtf")
    source = content.decode("latin-1")
    left_out = Counter({name: len(re.findall(pattern, source)) for name, pattern in _GROUPS.items()})
    source = _PICTURE.sub(r"\1", source)
    try:
        text: str = rtf_to_text(source)
    except (UnicodeError, ValueError, LookupError) as error:
        raise Unreadable(f"cannot be converted: {error}"[:200]) from error
    # Pairs of surrogates are written as two characters, and half a pair is none.
    text = text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace").replace("\xad", "")
    return Parsed(re.sub(r"\n+", "\n\n", text).strip(), left_out)
