"""A page as it was fetched -> Markdown: its text without the menus around it. And the address that it says it has."""

import codecs
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urljoin

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.parse import read_markdown
from retrieval.sources.sites.site import Page

HTML = frozenset({"text/html", "application/xhtml+xml"})
_OFFICE = "application/vnd.openxmlformats-officedocument."
SUFFIXES = {
    **dict.fromkeys(HTML, ".html"),
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/pdf": ".pdf",
    f"{_OFFICE}wordprocessingml.document": ".docx",
    f"{_OFFICE}presentationml.presentation": ".pptx",
    f"{_OFFICE}spreadsheetml.sheet": ".xlsx",
}
TEXTS = frozenset({".html", ".txt", ".md", ".csv"})


_BODY = re.compile(rb"<body[\s>]", re.I)
_ERROR_TITLE = re.compile(
    r"\W*(error\W+)?(404|410|50[0234])\b|not found\b|.*\b(page|file|document|site) (was |could |can)?not (be )?found\b|"
    r".*\b(404 (not found|error)|error 404)\b",
    re.I | re.S,
)
MOST_ERROR_WORDS = 60
"""A page that is longer is about errors, and is none."""


class _Head(HTMLParser):
    """The title of a page and its canonical address."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.title, self.canonical, self._is_title = "", "", False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_title = tag == "title" and not self.title
        values = dict(attrs)
        if tag == "link" and "canonical" in (values.get("rel") or "").lower().split():
            self.canonical = self.canonical or (values.get("href") or "").strip()

    def handle_endtag(self, tag: str) -> None:
        self._is_title = False

    def handle_data(self, data: str) -> None:
        self.title += data if self._is_title else ""


def canonical_address(page: Page) -> str | None:
    """The address that an HTML page says it has (RFC 6596); None where it says none."""
    if _suffix(page) != ".html" or not (address := _head(page).canonical):
        return None
    try:
        return urljoin(page.url, address)
    except ValueError:
        return None


def page_markdown(page: Page) -> str:
    """The main content of an HTML page, or the whole page where none is found; other formats as their files.

    Raises:
        Unreadable: its media type is none of these, it cannot be converted, or it is an error page with HTTP 200.
    """
    if (suffix := _suffix(page)) is None:
        raise Unreadable(f"is {page.kind or 'of no media type'}, which is not read")
    content = _as_utf8(page, suffix)
    text = (_main_content(content) if suffix == ".html" else "") or _as_file(content, suffix)
    title = " ".join(_head(page).title.split()) if suffix == ".html" else ""
    if _ERROR_TITLE.match(title) and len(text.split()) < MOST_ERROR_WORDS:
        raise Unreadable(f"is an error page ({title[:80]}), though it answers HTTP 200")
    return text


def _suffix(page: Page) -> str | None:
    return SUFFIXES.get(page.kind.strip().lower())


def _head(page: Page) -> _Head:
    body = _BODY.search(page.content)
    head = page.content[: body.start()] if body else page.content
    return _Head(head.decode(page.charset if _is_known(page.charset) else "utf-8", errors="replace"))


def _is_known(charset: str | None) -> TypeGuard[str]:
    try:
        return charset is not None and codecs.lookup(charset)._is_text_encoding
    except (LookupError, ValueError):
        return False


def _as_utf8(page: Page, suffix: str) -> bytes:
    """A text in the encoding that the answer names as UTF-8 (RFC 9110, 8.3.2: it comes before what a page says).

    Raises:
        Unreadable: it is not in that encoding.
    """
    if suffix not in TEXTS or not _is_known(page.charset) or page.content.startswith(codecs.BOM_UTF8):
        return page.content
    try:
        text = page.content.decode(page.charset)
    except UnicodeError as error:
        raise Unreadable(f"is not {page.charset}, which its answer names: {error}") from error
    # An HTML page may name another encoding in its head; the mark at the beginning comes before that.
    return codecs.BOM_UTF8 + text.removeprefix("\ufeff").encode(errors="surrogatepass")


def _main_content(content: bytes) -> str:
    from trafilatura import extract, extract_metadata

    text = (extract(content, output_format="markdown", include_comments=False) or "").strip()
    # The title often stands outside of what is taken for the content.
    title = " ".join((extract_metadata(content, extensive=False).title or "").split()) if text else ""
    return text if title in text.partition("\n")[0] else f"# {title}\n\n{text}"


def _as_file(content: bytes, suffix: str) -> str:
    with tempfile.TemporaryDirectory(prefix="tandem-") as folder:
        path = Path(folder, f"page{suffix}")
        path.write_bytes(content)
        return read_markdown(path)
