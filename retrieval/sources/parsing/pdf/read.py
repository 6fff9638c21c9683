"""A PDF -> text: pages in order, each with its words in reading order, its fields and its comments.

What cannot be read is counted and named by page: pages without a text layer, and letters of fonts that do not say which
ones they are.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.parsed import AS_USUAL, Parsed, PdfReading
from retrieval.sources.parsing.pdf.extras import read_extras
from retrieval.sources.parsing.pdf.fallback import GlyphNames
from retrieval.sources.parsing.pdf.hyphens import join_parted_words
from retrieval.sources.parsing.pdf.layout import read_in_order
from retrieval.sources.parsing.pdf.objects import Drawn, read_objects
from retrieval.sources.parsing.pdf.ocr import Ocr, Recognized, load_ocr
from retrieval.sources.parsing.pdf.words import PageWords, read_words

SCAN_SHARE, SCAN_WORDS = 0.8, 15
"""A page of which a picture covers this share, with fewer words than this, is a scan with a stamp or a number on it."""
MIN_REPEATS = 5
END_MARK_BYTES = 4096
_IS_BROKEN = "is no PDF, or is broken: open it in a viewer and save it anew"
_CANNOT_BE_OPENED = {
    4: "is protected by a password: save it without one",
    5: "is encrypted in a way that is not read: save it without encryption",
}


@dataclass
class _Missing:
    """What was left out, by page numbers from 1."""

    num_pages: int = 0
    without_text: list[int] = field(default_factory=list)
    unreadable: Counter[int] = field(default_factory=Counter)
    """Characters without a map, by page."""
    unread: Counter[int] = field(default_factory=Counter)
    """Lines that OCR saw and did not read, by page."""
    broken: list[int] = field(default_factory=list)
    num_files: int = 0
    others: list[str] = field(default_factory=list)


def read_pdf(content: bytes, reading: PdfReading = AS_USUAL) -> Parsed:
    """The text of a PDF, and how much was left out of it.

    Raises:
        Unreadable: it is no PDF, has a password, or none of its pages has text that can be read.
    """
    ocr = load_ocr() if reading.with_ocr else None
    with _opened(content) as document:
        missing = _Missing(len(document), num_files=document.count_attachments())
        missing.others += _oddities(content, document)
        pages, names = [], GlyphNames(content)
        for number in range(1, len(document) + 1):
            pages.append(_page(document, names, number, ocr, missing))
            reading.on_page(number, len(document))
    text = join_parted_words("\n\n".join(filter(None, _without_repeats(pages))))
    left_out = Counter(dict(_left_out(missing, ocr is not None)))
    if +left_out and not text.strip():
        raise Unreadable(f"holds no text that can be read, but {'; '.join(+left_out)}")
    return Parsed(text, left_out)


@contextmanager
def _opened(content: bytes) -> Iterator[Any]:
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(content)
    except PdfiumError as error:
        raise Unreadable(_CANNOT_BE_OPENED.get(error.err_code or 0, _IS_BROKEN)) from error
    try:
        document.init_forms()
        yield document
    finally:
        document.close()


def _page(document: Any, names: GlyphNames, number: int, ocr: Ocr | None, missing: _Missing) -> str:
    from pypdfium2 import PdfiumError

    try:
        page = document[number - 1]
    except PdfiumError:
        missing.broken.append(number)
        return ""
    try:
        words, drawn = read_words(page), read_objects(page)
        if words.num_unreadable or drawn.num_unshown:
            others = names.read_words(number)
            words = others if others.num_letters > words.num_letters else words
        texts = [read_in_order(group, drawn.rules(direction)) for direction, group in words.groups.items()]
        missing.unreadable[number] = words.num_unreadable
        if _is_picture(words, drawn):
            texts.insert(0, _recognize(page, words, ocr, number, missing))
        extras, num_files = read_extras(page, document.formenv)
        missing.num_files += num_files
        return "\n\n".join(filter(None, [*texts, words.slanted, "\n".join(extras)]))
    finally:
        page.close()


def _is_picture(words: PageWords, drawn: Drawn) -> bool:
    """Whether a page shows more than its text layer says."""
    if not words.num_words:
        return bool(words.num_unreadable) or not drawn.is_empty
    return drawn.picture_share >= SCAN_SHARE and words.num_words < SCAN_WORDS


def _recognize(page: Any, words: PageWords, ocr: Ocr | None, number: int, missing: _Missing) -> str:
    found = ocr.read_page(page) if ocr else Recognized("", 0)
    missing.unread[number] = found.num_unread
    if found.text:
        missing.unreadable[number] = 0
    elif not words.num_unreadable:
        missing.without_text.append(number)
    return found.text


def _without_repeats(pages: list[str]) -> Iterator[str]:
    """Pages without the heads and feet that most of them have, but on the first that has them."""
    edges = Counter(line for page in pages for line in _edges(page))
    repeated = {line for line, count in edges.items() if count >= max(MIN_REPEATS, len(pages) / 2)}
    seen: set[str] = set()
    for page in pages:
        doubles = _edges(page) & repeated & seen
        seen |= _edges(page) & repeated
        lines = page.split("\n")
        while lines and (lines[0] in doubles or not lines[0]):
            lines.pop(0)
        while lines and (lines[-1] in doubles or not lines[-1]):
            lines.pop()
        yield "\n".join(lines)


def _edges(page: str) -> set[str]:
    lines = [line for line in page.split("\n") if line]
    return {line for line in lines[:1] + lines[-1:] if not line.startswith("|")}


def _oddities(content: bytes, document: Any) -> Iterator[str]:
    import pypdfium2.raw as pdfium

    if b"%%EOF" not in content[-END_MARK_BYTES:]:
        yield "end, which is cut off"
    if document.get_formtype() in (pdfium.FORMTYPE_XFA_FULL, pdfium.FORMTYPE_XFA_FOREGROUND):
        yield "XFA form, but for what its pages show: print it to a PDF"


def _left_out(missing: _Missing, has_ocr: bool) -> Iterator[tuple[str, int]]:
    """What a report says of a document after the words "not its", and how much of it there is."""
    if missing.without_text:
        remedy = "on which OCR found none" if has_ocr else "install the extra `ocr`, or run OCR over the file"
        where = f"{_numbers(missing.without_text)} of {missing.num_pages}"
        yield f"{where} without a text layer: {remedy}", len(missing.without_text)
    if missing.unread.total():
        where = _numbers(sorted(+missing.unread))
        yield f"lines on {where} that OCR could not read: run another OCR over the file", missing.unread.total()
    if missing.unreadable.total():
        where = _numbers(sorted(+missing.unreadable))
        remedy = "export it anew with its fonts' Unicode maps, or run OCR over the file"
        reason = f"characters on {where} in fonts that do not say which letters they show: {remedy}"
        yield reason, missing.unreadable.total()
    if missing.broken:
        yield f"{_numbers(missing.broken)}, broken: write it anew", len(missing.broken)
    yield "embedded files: save them beside it", missing.num_files
    yield from ((other, 1) for other in missing.others)


def _numbers(pages: list[int]) -> str:
    """`page 3`, or `pages 1, 4 to 9, 12`."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][1] + 1:
            runs[-1][1] = page
        else:
            runs.append([page, page])
    parts = [str(first) if first == last else f"{first} to {last}" for first, last in runs]
    shown = ", ".join(parts[:20]) + (f" and {len(parts) - 20} more" if len(parts) > 20 else "")
    return f"{'page' if len(pages) == 1 else 'pages'} {shown}"
