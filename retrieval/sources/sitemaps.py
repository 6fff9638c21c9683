"""The pages that a sitemap names as documents (https://www.sitemaps.org/protocol.html)."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from urllib.parse import urldefrag, urlsplit
from urllib.robotparser import RobotFileParser

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.sources.config import SitemapSource
from retrieval.sources.document import Document, Gone, SourceUnavailable, Unreadable
from retrieval.sources.rows import row_name
from retrieval.sources.web import AGENT, Site, page_markdown

MAX_PAGE_BYTES = 20 * 1024 * 1024
MAX_SITEMAP_BYTES = 50 * 1024 * 1024  # the protocol's own limit, unpacked
MAX_DEPTH = 3
MAX_CRAWL_DELAY_S = 60.0
MAX_ROBOTS_BYTES = 500 * 1024


def site_documents(source: SitemapSource, prefix: str) -> Iterator[Document]:
    """Every page of the sitemap on its own host that robots.txt allows; each is fetched when it is asked for.

    Raises:
        SourceUnavailable: the sitemap or robots.txt cannot be read, or the host cannot be reached.
    """
    with Site(source.sitemap, source.pages_per_s) as site:
        for url, changed in _allowed(source, site):
            page = _WebPage(site, url, changed)
            yield Document(prefix + row_name(_below(url)), source.attributes, page.version, page.read)


def check_sitemap_source(source: SitemapSource) -> None:
    """Look for a first page.

    Raises:
        TandemError: the sitemap cannot be read, or names no page that may be.
    """
    with Site(source.sitemap, source.pages_per_s) as site:
        if next(_allowed(source, site), None) is None:
            raise TandemError(
                f"The sitemap {source.sitemap} names no page that is read.",
                "Pages on its own host that its robots.txt allows.",
                "Name the sitemap under the host that its pages have.",
            )


@dataclass(frozen=True)
class _WebPage:
    """A page that is fetched once, when its text is needed."""

    site: Site
    url: str
    changed: str

    def version(self) -> str:
        """The sitemap's lastmod; without one the page itself tells."""
        return digest_json(self.changed or self._text)

    def read(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        return page_markdown(self.site.fetch(self.url, MAX_PAGE_BYTES))


def _allowed(source: SitemapSource, site: Site) -> Iterator[tuple[str, str]]:
    """Address and lastmod of each page, once."""
    robots = _robots(source, site)
    seen: set[int] = set()
    for url, changed in _pages(source, site, source.sitemap, 0):
        if site.holds(url) and hash(url) not in seen and robots.can_fetch(AGENT, url):
            seen.add(hash(url))
            yield url, changed


def _robots(source: SitemapSource, site: Site) -> RobotFileParser:
    """What robots.txt allows (RFC 9309: everything where there is none, nothing where it cannot be reached)."""
    parts, robots = urlsplit(source.sitemap), RobotFileParser()
    try:
        text = site.fetch(f"{parts.scheme}://{parts.netloc}/robots.txt", MAX_ROBOTS_BYTES).content
    except Unreadable as error:
        if not isinstance(error, Gone) and "HTTP 4" not in str(error):
            raise _unavailable(source, "robots.txt", error) from None
        text = b""
    robots.parse(text.decode(errors="replace").splitlines())
    site.wait_s = max(site.wait_s, min(float(robots.crawl_delay(AGENT) or 0), MAX_CRAWL_DELAY_S))
    return robots


def _pages(source: SitemapSource, site: Site, url: str, depth: int) -> Iterator[tuple[str, str]]:
    try:
        is_index, entries = _parsed(_unpacked(site.fetch(url, MAX_SITEMAP_BYTES).content))
    except Unreadable as error:
        # Also one sitemap of several: the pages in it must not be taken for deleted.
        raise _unavailable(source, url, error) from None
    if not is_index:
        yield from entries
    elif depth >= MAX_DEPTH:
        raise _unavailable(source, url, Unreadable(f"lies more than {MAX_DEPTH} indexes deep"))
    else:
        for inner, _ in entries:
            if site.holds(inner):
                yield from _pages(source, site, inner, depth + 1)


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(content, MAX_SITEMAP_BYTES)
    except zlib.error as error:
        raise Unreadable(f"cannot be unpacked: {error}") from error
    if unpacking.unconsumed_tail:
        raise Unreadable(f"unpacks to more than {MAX_SITEMAP_BYTES // 2**20} MiB")
    if not unpacking.eof:
        raise Unreadable("ends too early")
    return unpacked


def _parsed(content: bytes) -> tuple[bool, list[tuple[str, str]]]:
    """Whether it is an index, and its addresses with their lastmod."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, iterparse

    entries: list[tuple[str, str]] = []
    root, values = "", dict[str, str]()
    try:
        for event, element in iterparse(BytesIO(content), events=("start", "end")):
            name = element.tag.rpartition("}")[2]
            root = root or name
            if event == "start":
                continue
            if name in ("loc", "lastmod"):
                values.setdefault(name, (element.text or "").strip())
            elif name in ("url", "sitemap"):
                entries.append((urldefrag(values.get("loc", "")).url, values.get("lastmod", "")))
                values = {}
                element.clear()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise Unreadable(f"is no XML that is read: {error or type(error).__name__}") from error
    if root not in ("urlset", "sitemapindex"):
        raise Unreadable("is no sitemap")
    return root == "sitemapindex", entries


def _below(url: str) -> str:
    parts = urlsplit(url)
    return parts.path.removeprefix("/") + (f"?{parts.query}" if parts.query else "")


def _unavailable(source: SitemapSource, what: str, error: Unreadable) -> SourceUnavailable:
    return SourceUnavailable(
        f"The source {source.sitemap} cannot be listed: {what} {error}.",
        "A sitemap, an index of sitemaps, or either as .gz, that answers.",
        "Correct the address, or run this again once it answers; what was indexed of it stays.",
    )
