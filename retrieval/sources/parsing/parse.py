"""A file -> Markdown, by the reader of its kind.

    read_markdown(Path("handbook.docx"), encoding=None)

Each reader takes the bytes of a file, so that attachments and pages of books are read by the same.
"""

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

from retrieval.sources.document import Unreadable, say_left_out
from retrieval.sources.parsing import data, delimited, epub, html, mail, text
from retrieval.sources.parsing.formats import (
    CODE,
    DATA_SUFFIXES,
    DELIMITED_SUFFIXES,
    HTML_SUFFIXES,
    MAIL_SUFFIXES,
    OLD_SHEET_SUFFIXES,
    OPEN_DOCUMENT_SUFFIXES,
    SHEET_SUFFIXES,
    SLIDE_SUFFIXES,
    TEXT_SUFFIXES,
    WORD_SUFFIXES,
)
from retrieval.sources.parsing.limits import check_size
from retrieval.sources.parsing.office import docx, legacy, open_document, pptx, xlsx
from retrieval.sources.parsing.parsed import AS_USUAL, Parsed, PdfReading

MAX_ATTACHED_DEPTH = 5
"""Messages in messages."""


def read_markdown(path: Path, encoding: str | None = None) -> str:
    """The document as Markdown or plain text, with `\\n` line ends; a `PartialText` where something was left out.

    Args:
        encoding: what the source says of files that are not UTF-8 and do not say themselves what they are.

    Raises:
        Unreadable: it is of no kind that is read, is not what its name says, is damaged, or is protected.
    """
    try:
        check_size(path.stat().st_size)
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    return parse(content, path.suffix, encoding)


def parse(content: bytes, suffix: str, encoding: str | None = None, declared: str | None = None) -> str:
    """As `read_markdown`, for bytes: here, or by what `parser` holds.

    Args:
        suffix: the ending of the file's name, with its dot, which says what kind it is.
        declared: the charset that an HTTP header names.
    """
    return parser.get()(content, suffix, encoding, declared)


def parse_here(
    content: bytes, suffix: str, encoding: str | None, declared: str | None, pdf: PdfReading = AS_USUAL
) -> str:
    """As `parse`, in this thread."""
    parsed = _parsed(content, suffix.lower(), encoding, declared, 0, pdf)
    markdown = parsed.text.replace("\r\n", "\n").replace("\r", "\n")
    return say_left_out(
        markdown, [f"not its {what} ({number:,})" for what, number in parsed.left_out.items() if number > 0]
    )


Parser = Callable[[bytes, str, str | None, str | None], str]
parser: ContextVar[Parser] = ContextVar("parser", default=parse_here)
"""What parses the documents that a thread reads: the index has it done in processes (`parsing.processes`)."""


def _parsed(
    content: bytes, suffix: str, encoding: str | None, declared: str | None, depth: int, pdf: PdfReading
) -> Parsed:
    try:
        return _read(content, suffix, encoding, declared, depth, pdf)
    except RecursionError as error:
        raise Unreadable("cannot be converted: its elements lie too deep in each other") from error
    except MemoryError as error:
        raise Unreadable("cannot be converted: it needs more memory than there is") from error
    except Unreadable:
        raise
    except Exception as error:  # whatever a library raises on a damaged file, the others are read
        raise Unreadable(f"cannot be converted: {type(error).__name__}: {error}"[:200]) from error


def _read(
    content: bytes, suffix: str, encoding: str | None, declared: str | None, depth: int, pdf: PdfReading
) -> Parsed:
    if suffix in TEXT_SUFFIXES:
        return text.read_text(content, encoding, declared)
    if suffix in DELIMITED_SUFFIXES:
        return delimited.read_delimited(content, encoding, declared)
    if suffix in HTML_SUFFIXES:
        return html.read_html(content, encoding, declared)
    if suffix in WORD_SUFFIXES:
        return docx.read_docx(content)
    if suffix in SHEET_SUFFIXES:
        return xlsx.read_xlsx(content)
    if suffix in SLIDE_SUFFIXES:
        return pptx.read_pptx(content)
    if suffix in OPEN_DOCUMENT_SUFFIXES:
        return open_document.read_open_document(content, suffix[1:])
    if suffix in OLD_SHEET_SUFFIXES:
        return legacy.read_xls(content)
    if suffix in CODE:
        return text.read_code(content, encoding, CODE[suffix])
    if suffix in DATA_SUFFIXES:
        return data.read_data(content, suffix, encoding)
    if suffix in MAIL_SUFFIXES:
        return _message(content, suffix, encoding, depth, pdf)
    if suffix == ".rtf":
        return legacy.read_rtf(content)
    if suffix == ".epub":
        return epub.read_epub(content)
    if suffix == ".pdf":
        return _pdf(content, pdf)
    raise Unreadable("is of a kind that is not read")


def _message(content: bytes, suffix: str, encoding: str | None, depth: int, pdf: PdfReading) -> Parsed:
    def parse_attachment(attached: bytes, kind: str) -> Parsed:
        if depth >= MAX_ATTACHED_DEPTH:
            raise Unreadable(f"lies in more than {MAX_ATTACHED_DEPTH} messages")
        return _parsed(attached, kind, encoding, None, depth + 1, pdf)

    return (mail.read_eml if suffix == ".eml" else mail.read_msg)(content, parse_attachment)


def _pdf(content: bytes, pdf: PdfReading) -> Parsed:
    # It loads PDFium, and pdfminer where that is needed.
    from retrieval.sources.parsing.pdf.read import read_pdf

    return read_pdf(content, pdf)
