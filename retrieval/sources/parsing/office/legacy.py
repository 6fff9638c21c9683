"""Formats of before 2007 that a light library reads: XLS (and XLSB), RTF."""

import io
import re
from collections import Counter

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.office.archive import explain_container
from retrieval.sources.parsing.office.number_formats import show
from retrieval.sources.parsing.parsed import Parsed, markdown_table

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


def read_old_workbook(content: bytes, kind: str) -> Parsed:
    """A workbook of Excel before 2007, or one in the binary format of after: its values, without their formats.

    Raises:
        Unreadable: it is none, is damaged, or is protected by a password.
    """
    from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    if (why := explain_container(content)) and ("password" in why or re.match(_OTHER, why)):
        raise Unreadable(why)
    left_out = Counter[str]()
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        parts = []
        for sheet in book.sheets_metadata:
            if sheet.visible != SheetVisibleEnum.Visible:
                left_out["hidden sheets"] += 1
            elif sheet.typ == SheetTypeEnum.WorkSheet:
                rows = book.get_sheet_by_name(sheet.name).to_python()
                table = markdown_table([[show(value, "General") for value in row] for row in rows])
                parts += [f"## {sheet.name}", *([table] if table else [])]
    except (CalamineError, OSError, ValueError) as error:
        if "password" in str(error).lower():
            raise Unreadable("is protected by a password: save it without one") from error
        raise Unreadable(f"cannot be opened as {kind}: {error}"[:200]) from error
    return Parsed("\n\n".join(parts), left_out)


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
