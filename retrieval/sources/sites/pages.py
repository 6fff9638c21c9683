"""A page as it was fetched -> Markdown: its text without the menus around it. And the address that it says it has."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.html import decode_html
from retrieval.sources.parsing.parse import parse
from retrieval.sources.parsing.text import find_codec
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
    if not page.content.strip():
        return ""
    if (suffix := _suffix(page)) is None:
        raise Unreadable(f"is {page.kind or 'of no media type'}, which is not read")
    # What the answer names comes before what a page says of itself (RFC 9110, 8.3.2).
    main = _main_content(decode_html(page.content, None, page.charset)[0]) if suffix == ".html" else ""
    text = main or parse(page.content, suffix, declared=page.charset)
    title = " ".join(_head(page).title.split()) if suffix == ".html" else ""
    if _ERROR_TITLE.match(title) and len(text.split()) < MOST_ERROR_WORDS:
        raise Unreadable(f"is an error page ({title[:80]}), though it answers HTTP 200")
    return text


def _suffix(page: Page) -> str | None:
    return SUFFIXES.get(page.kind.strip().lower())


def _head(page: Page) -> _Head:
    body = _BODY.search(page.content)
    head = page.content[: body.start()] if body else page.content
    return _Head(head.decode(find_codec(page.charset or "") or "utf-8", errors="replace"))


def _main_content(content: str) -> str:
    from trafilatura import extract, extract_metadata

    text = (extract(content, output_format="markdown", include_comments=False) or "").strip()
    # The title often stands outside of what is taken for the content.
    title = " ".join((extract_metadata(content, extensive=False).title or "").split()) if text else ""
    return text if title in text.partition("\n")[0] else f"# {title}\n\n{text}"
