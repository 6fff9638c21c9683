"""EPUB -> Markdown: the pages of a book in the order in which they are read."""

import posixpath
from collections import Counter
from urllib.parse import unquote

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.html import decode_html, html_markdown
from retrieval.sources.parsing.office.archive import Archive, Element, local, open_archive
from retrieval.sources.parsing.parsed import Parsed

_PAGES = frozenset(
    {"application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document", "image/svg+xml"}
)


def read_epub(content: bytes) -> Parsed:
    """A book: its title, then its pages.

    Raises:
        Unreadable: it is none, is damaged, or its pages are encrypted.
    """
    with open_archive(content, "epub") as archive:
        try:
            place = archive.xml("META-INF/container.xml").find(".//{*}rootfile").get("full-path")
            package = archive.xml(place)
        except (KeyError, AttributeError) as error:
            raise Unreadable("cannot be opened as epub: it names no package") from error
        encrypted = _encrypted(archive)
        parts, left_out = [f"# {title}" for title in [_title(package)] if title], Counter[str]()
        left_out["pages of other kinds"] += _num_others(package)
        for name in _pages(package, place):
            if name in encrypted or not archive.has(name):
                left_out["pages that are encrypted" if name in encrypted else "pages that are missing"] += 1
                continue
            text, _ = decode_html(archive.read(name), None, None)
            page = html_markdown(text)
            parts.append(page.text)
            left_out += page.left_out
        if encrypted and len(parts) <= 1:
            raise Unreadable("is protected (DRM): its pages are encrypted")
        return Parsed("\n\n".join(part for part in parts if part), left_out)


def _title(package: Element) -> str:
    return next((" ".join((each.text or "").split()) for each in package.iter("{*}title")), "")


def _num_others(package: Element) -> int:
    """How many pages of the spine are of no kind that is read, or are named by nothing."""
    kinds = {item.get("id"): item.get("media-type") for item in package.iter("{*}item")}
    return sum(kinds.get(each.get("idref")) not in _PAGES for each in package.iter("{*}itemref"))


def _pages(package: Element, place: str) -> list[str]:
    """Those of the spine, then those that only the manifest names."""
    items = {item.get("id"): item for item in package.iter("{*}item")}
    order = [each.get("idref") for each in package.iter("{*}itemref")]
    rest = [key for key, item in items.items() if key not in order and item.get("properties") != "nav"]
    folder = posixpath.dirname(place)
    pages = [items[key] for key in [*order, *rest] if key in items and items[key].get("media-type") in _PAGES]
    return list(
        dict.fromkeys(
            posixpath.normpath(posixpath.join(folder, unquote(item.get("href", "").partition("#")[0])))
            for item in pages
        )
    )


def _encrypted(archive: Archive) -> set[str]:
    if not archive.has("META-INF/encryption.xml"):
        return set()
    root = archive.xml("META-INF/encryption.xml")
    return {unquote(each.get("URI", "")) for each in root.iter() if local(each) == "CipherReference"}
