"""What a document's text is written in: it decides what is a heading, and nothing else is read from it."""

from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from retrieval.sources.parsing import formats

Markup = Literal["markdown", "rst", "plain", "titled"]
"""`markdown`: CommonMark with tables, and front matter. `rst`: titles are underlined. `plain`: no line is a heading, so
that a `# comment` in a log opens no section. `titled`: plain text whose first line, after `# `, is its title."""

_MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdx", ".ipynb", ".epub"}).union(
    formats.DELIMITED_SUFFIXES, formats.HTML_SUFFIXES, formats.WORD_SUFFIXES, formats.SHEET_SUFFIXES,
    formats.SLIDE_SUFFIXES, formats.OPEN_DOCUMENT_SUFFIXES, formats.OLD_SHEET_SUFFIXES,
)  # fmt: skip


def markup_of(suffix: str) -> Markup:
    """The markup of what is read of files that end in `suffix`, such as `.md`. Text, logs, code and PDFs are plain."""
    suffix = suffix.lower()
    if suffix in _MARKDOWN_SUFFIXES:
        return "markdown"
    return "rst" if suffix == ".rst" else "titled" if suffix in formats.MAIL_SUFFIXES else "plain"


def page_markup(url: str) -> Markup:
    """The markup of what is at an address: a page of HTML, unless the address ends as text and PDFs do."""
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    return markup_of(suffix) if suffix in (".txt", ".text", ".log", ".pdf", ".rst") else "markdown"
