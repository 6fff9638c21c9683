"""A page of a site -> Markdown: what it says, without the menus around it."""

import tempfile
from pathlib import Path

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing import read_markdown
from retrieval.sources.web import Page

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


def page_markdown(page: Page) -> str:
    """The main content of an HTML page, or all of it where none is told apart; other formats as files of theirs.

    Raises:
        Unreadable: its media type is none of these, or it cannot be converted.
    """
    if (suffix := SUFFIXES.get(page.kind.strip().lower())) is None:
        raise Unreadable(f"is {page.kind or 'of no media type'}, which is not read")
    main = _main_content(page.content) if suffix == ".html" else ""
    return main or _as_file(page.content, suffix)


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
