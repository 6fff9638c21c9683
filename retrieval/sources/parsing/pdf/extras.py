"""What a page of a PDF holds beside its text: the values of form fields, and comments."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pypdfium2.raw as pdfium

_FIELDS_WITH_TEXT = (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX)
_BUTTONS = (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON)
# A popup shows what the comment says that it belongs to; a link and a widget say nothing of their own.
_WITHOUT_COMMENT = (pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_LINK)


def read_extras(page: Any, form: Any) -> tuple[list[str], int]:
    """Lines with the fields that are filled in and the comments of a page, and how many files are attached to it.

    Args:
        page: a `pypdfium2.PdfPage`.
        form: the document's form environment, or None where it has no form.
    """
    lines: dict[str, None] = {}
    num_files = 0
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        with _annotation(page, index) as annotation:
            subtype = pdfium.FPDFAnnot_GetSubtype(annotation)
            num_files += subtype == pdfium.FPDF_ANNOT_FILEATTACHMENT
            line = _field(form, annotation) if subtype == pdfium.FPDF_ANNOT_WIDGET else _comment(annotation, subtype)
            if line:
                # A group of buttons, and a field that is on the page twice, are one line.
                lines[line] = None
    return list(lines), num_files


@contextmanager
def _annotation(page: Any, index: int) -> Iterator[Any]:
    annotation = pdfium.FPDFPage_GetAnnot(page, index)
    try:
        yield annotation
    finally:
        pdfium.FPDFPage_CloseAnnot(annotation)


def _field(form: Any, annotation: Any) -> str:
    """`Name: value` of a field that is filled in."""
    if form is None:
        return ""
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    value = ""
    if kind in _FIELDS_WITH_TEXT:
        value = _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
    elif kind == pdfium.FPDF_FORMFIELD_LISTBOX:
        value = ", ".join(_chosen(form, annotation)) or _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
    elif kind in _BUTTONS and pdfium.FPDFAnnot_IsChecked(form, annotation):
        value = _string(pdfium.FPDFAnnot_GetFormFieldExportValue, form, annotation) or "yes"
    if not value.strip():
        return ""
    name = _string(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation).strip()
    return f"{name or _string(pdfium.FPDFAnnot_GetFormFieldName, form, annotation).strip()}: {_flat(value)}"


def _chosen(form: Any, annotation: Any) -> Iterator[str]:
    for option in range(pdfium.FPDFAnnot_GetOptionCount(form, annotation)):
        if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, option):
            yield _string(pdfium.FPDFAnnot_GetOptionLabel, form, annotation, option)


def _comment(annotation: Any, subtype: int) -> str:
    if subtype in _WITHOUT_COMMENT:
        return ""
    text = _flat(_string(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents"))
    if not text or subtype == pdfium.FPDF_ANNOT_FREETEXT:
        return text
    author = _flat(_string(pdfium.FPDFAnnot_GetStringValue, annotation, b"T"))
    return f"Comment{' by ' + author if author else ''}: {text}"


def _flat(text: str) -> str:
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.replace("\r", "\n").split("\n"))))


def _string(call: Callable[..., int], *arguments: Any) -> str:
    """What a function of PDFium writes in UTF-16, with its length in bytes."""
    length = call(*arguments, None, 0)
    if length <= 2:
        return ""
    buffer = ctypes.create_string_buffer(length)
    call(*arguments, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), length)
    return buffer.raw[: length - 2].decode("utf-16-le", "replace")
