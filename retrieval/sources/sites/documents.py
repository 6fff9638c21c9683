"""The pages that a sitemap names as documents.

Pages of the sitemap's own site are read, `example.com` and `www.example.com` being one, by the robots.txt of the host.
What is left out is counted by its reason.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urljoin, urlsplit

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.sources.config import SitemapSource
from retrieval.sources.document import Document, Gone, Origin, SourceUnavailable, Unreadable
from retrieval.sources.markup import page_markup
from retrieval.sources.rows import row_name
from retrieval.sources.sites.addresses import canonical, page_key, page_name
from retrieval.sources.sites.pages import canonical_address, page_markdown
from retrieval.sources.sites.site import Site
from retrieval.sources.sites.sitemaps import MAX_SITEMAP_BYTES, parse_sitemap, unpack

MAX_PAGE_BYTES = 20 * 1024 * 1024
MAX_DEPTH = 3
NO_ADDRESS = "entries of sitemaps without a usable address"
OTHER_HOST = "pages on other hosts"
OTHER_SITEMAP = "sitemaps on other hosts"
FORBIDDEN = "pages that robots.txt forbids"
SAME_PAGE = "second addresses of a page"


def site_documents(source: SitemapSource, prefix: str, left_out: Counter[str] | None = None) -> Iterator[Document]:
    """Every page of the sitemap on its own site that robots.txt allows; each is fetched when it is asked for.

    Args:
        left_out: gets the number of what is not read, by reason.

    Raises:
        SourceUnavailable: the sitemap or robots.txt cannot be read, or the host cannot be reached.
    """
    counts = Counter[str]() if left_out is None else left_out
    with Site(source.sitemap, source.pages_per_s) as site:
        pages = _Pages(source, site, counts)
        # All of them first: a page may name a later one as its canonical address.
        for url, changed in list(pages.allowed()):
            page = _WebPage(pages, url, changed)
            name, markup = prefix + row_name(page_name(url)), page_markup(url)
            yield Document(name, source.attributes, page.version, page.read, markup=markup, origin=_origin(url))


def check_sitemap_source(source: SitemapSource) -> None:
    """Look for a first page.

    Raises:
        TandemError: the sitemap cannot be read, or names no page that may be.
    """
    left_out = Counter[str]()
    with Site(source.sitemap, source.pages_per_s) as site:
        if next(_Pages(source, site, left_out).allowed(), None) is None:
            reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.most_common())
            raise TandemError(
                f"The sitemap {source.sitemap} names no page that is read"
                + (f"; left out: {reasons}." if reasons else "."),
                "Pages on its own host (with or without www.) that its robots.txt allows.",
                "Name the sitemap under the host that its pages have.",
            )


class _Pages:
    """The pages of a sitemap, and the keys of those that are read."""

    def __init__(self, source: SitemapSource, site: Site, left_out: Counter[str]) -> None:
        self.source, self.site, self.left_out = source, site, left_out
        self.keys: set[int] = set()
        self._seen: set[str] = set()

    def allowed(self) -> Iterator[tuple[str, str]]:
        """Address and lastmod of each page, once."""
        for url, changed in self._listed(self.source.sitemap, 0):
            if not self._is_usable(url, OTHER_HOST):
                continue
            if (key := hash(page_key(url))) in self.keys:
                self.left_out[SAME_PAGE] += 1
            elif not self.site.allows(url):
                self.left_out[FORBIDDEN] += 1
            else:
                self.keys.add(key)
                yield url, changed

    def _listed(self, url: str, depth: int) -> Iterator[tuple[str, str]]:
        self._seen.add(canonical(url))
        try:
            page = self.site.fetch(url, MAX_SITEMAP_BYTES)
            is_index, entries = parse_sitemap(unpack(page.content))
        except Unreadable as error:
            # Also one sitemap of several: the pages in it must not be taken for deleted.
            raise _unavailable(self.source, url, error) from None
        if is_index and depth >= MAX_DEPTH:
            raise _unavailable(self.source, url, Unreadable(f"lies more than {MAX_DEPTH} indexes deep"))
        for entry in entries:
            address = _joined(page.url, entry.loc)
            if not is_index:
                yield address, entry.lastmod
            elif self._is_usable(address, OTHER_SITEMAP) and canonical(address) not in self._seen:
                yield from self._listed(address, depth + 1)

    def _is_usable(self, url: str, elsewhere: str) -> bool:
        """Whether an address is one of the site; what is not is counted."""
        if self.site.holds(url):
            return True
        self.left_out[elsewhere if url.startswith(("http://", "https://")) else NO_ADDRESS] += 1
        return False


@dataclass(frozen=True)
class _WebPage:
    """A page that is fetched once, when its text is needed."""

    pages: _Pages
    url: str
    changed: str

    def version(self) -> str:
        """The sitemap's lastmod; without one the page itself tells."""
        return digest_json(self.changed or self._text)

    def read(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        page = self.pages.site.fetch_page(self.url, MAX_PAGE_BYTES)
        if self._is_other(page.url):
            raise self._second()
        text = page_markdown(page)
        named = canonical_address(page)
        # Many sites name their home page everywhere by mistake: the text decides.
        if named and self._is_other(named) and self._says_the_same(named, text):
            raise self._second()
        return text

    def _is_other(self, url: str) -> bool:
        """Whether an address is that of another page which is read."""
        if not self.pages.site.holds(url):
            return False
        key = page_key(url)
        return key != page_key(self.url) and hash(key) in self.pages.keys

    def _says_the_same(self, url: str, text: str) -> bool:
        try:
            return page_markdown(self.pages.site.fetch_page(url, MAX_PAGE_BYTES)) == text
        except Unreadable:
            return False

    def _second(self) -> Gone:
        # Of two pages that name each other one stays.
        self.pages.keys.discard(hash(page_key(self.url)))
        self.pages.left_out[SAME_PAGE] += 1
        return Gone("is a second address of a page that is read")


def _origin(url: str) -> Origin:
    parts = urlsplit(f"https://{page_key(url)}")
    return Origin(f"https://{parts.netloc}", f"/{parts.path.lstrip('/')}{f'?{parts.query}' if parts.query else ''}")


def _joined(base: str, loc: str) -> str:
    """A relative address against the sitemap that names it; empty where that is none."""
    try:
        return urljoin(base, loc) if loc else ""
    except ValueError:
        return ""


def _unavailable(source: SitemapSource, what: str, error: Unreadable) -> SourceUnavailable:
    return SourceUnavailable(
        f"The source {source.sitemap} cannot be listed: {what} {error}.",
        "A sitemap, an index of sitemaps, or a list of addresses, each also as .gz, that answers.",
        "Correct the address, or run this again once it answers; what was indexed of it stays.",
    )
