"""Sitemaps as sources, from a real site on loopback."""

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from retrieval.filters.rights import Attributes
from retrieval.sources import sitemaps, web
from retrieval.sources.config import SitemapSource
from retrieval.sources.document import Document, Gone, SourceUnavailable, Unreadable
from retrieval.sources.sources import all_documents, check_sources

ARTICLE = """<html><head><title>{0}</title></head><body><nav><a href="/">Home</a> <a href="/menu">The menu</a></nav>
<article><h1>{0}</h1><p>The atomic number of {0} is {1}. It is a metal, and this sentence says so at some length.</p>
<h2>Use</h2><p>Most of what is made of {0} is made by people who know more of it than this page, which has to say a
little more than a line or two, since a page that says next to nothing is taken as a whole.</p><ul><li>one</li></ul>
</article><footer>Nobody's footer</footer></body></html>"""
Answer = tuple[int, dict[str, str], bytes]


class Web:
    """A site: what it answers by path, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.times: list[float] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.times.append(time.monotonic())
                answers = site.answers.get(self.path, [(404, {}, b"")])
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, path: str, body: str | bytes, kind: str = "text/html; charset=utf-8") -> None:
        self.answers[path] = [(200, {"Content-Type": kind}, body.encode() if isinstance(body, str) else body)]

    def status(self, path: str, *statuses: int, **headers: str) -> None:
        """Answer so first, and then as before."""
        first: list[Answer] = [
            (status, {name.replace("_", "-"): headers[name] for name in headers}, b"") for status in statuses
        ]
        self.answers[path] = first + self.answers.get(path, [])

    def sitemap(self, *pages: str | tuple[str, str], path: str = "/sitemap.xml", packed: bool = False) -> None:
        urls = [(page, "") if isinstance(page, str) else page for page in pages]
        items = "".join(
            f"<url><loc>{url if '://' in url else self.url + url}</loc>"
            + (f"<lastmod>{changed}</lastmod></url>" if changed else "</url>")
            for url, changed in urls
        )
        text = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{items}</urlset>'
        self.page(path, gzip.compress(text.encode()) if packed else text, "application/xml")


@pytest.fixture
def site() -> Iterator[Web]:
    web = Web()
    web.page("/iron", ARTICLE.format("Iron", 26))
    yield web
    web.server.shutdown()
    web.server.server_close()


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "RETRY_WAITS_S", (0.0, 0.0))


def source(site: Web, path: str = "/sitemap.xml", **settings: Any) -> SitemapSource:
    return SitemapSource.model_validate({"sitemap": site.url + path, "pages_per_s": 100, **settings})


def listed(site: Web, **settings: Any) -> dict[str, Document]:
    pages = source(site, **settings)
    return {document.source.removeprefix(f"{site.url}/"): document for document in all_documents([pages])}


@pytest.fixture
def first(site: Web) -> Iterator[Document]:
    """The only page, while its source is open."""
    site.sitemap("/iron")
    pages = all_documents([source(site)])
    yield next(pages)


def test_pages_are_documents_without_their_menus(site: Web) -> None:
    site.sitemap("/iron", "/notes.txt?a=1&amp;b=2", "/iron", "/iron#use")
    site.page("/notes.txt?a=1&b=2", "Plain.", "text/plain")
    check_sources([pages := source(site, tenant="acme")])
    found = {document.source: (document.read(), document.attributes) for document in all_documents([pages])}
    assert list(found) == [f"{site.url}/iron", f"{site.url}/notes.txt?a=1&b=2"]
    text, attributes = found[f"{site.url}/iron"]
    assert text.startswith("# Iron\n\nThe atomic number of Iron is 26.") and "menu" not in text and "footer" not in text
    assert "## Use" in text
    assert attributes == Attributes("acme")
    assert found[f"{site.url}/notes.txt?a=1&b=2"][0] == "Plain."
    assert next(all_documents([source(site, name="site")])).source == "site/iron"


def test_lastmod_is_the_version_and_the_text_is_where_there_is_none(site: Web) -> None:
    site.page("/gold", ARTICLE.format("Gold", 79))

    def versions(changed: str) -> list[str]:
        site.sitemap(("/iron", changed), "/gold")
        return [document.version() for document in all_documents([source(site)])]

    iron, gold = versions("2024-01-01")
    assert "/iron" not in site.asked, "a page whose lastmod is known is not fetched"
    site.page("/iron", ARTICLE.format("Iron", 27))
    site.page("/gold", ARTICLE.format("Gold", 80))
    same, changed = versions("2024-01-01")
    assert same == iron and changed != gold
    assert versions("2024-01-02")[0] != iron


def test_indexes_and_packed_sitemaps(site: Web) -> None:
    site.sitemap("/iron", path="/a.xml")
    site.sitemap("/gold", path="/b.xml.gz", packed=True)
    names = ["/a.xml", "/b.xml.gz", "http://other.invalid/c.xml"]
    items = "".join(f"<sitemap><loc>{name if '://' in name else site.url + name}</loc></sitemap>" for name in names)
    site.page("/sitemap.xml", f"<sitemapindex>{items}</sitemapindex>", "text/xml")
    assert list(listed(site)) == ["iron", "gold"]
    site.status("/b.xml.gz", 500, 500, 500)
    with pytest.raises(SourceUnavailable, match=r"b\.xml\.gz answers HTTP 500"):
        listed(site)
    site.page("/sitemap.xml", f"<sitemapindex><sitemap><loc>{site.url}/sitemap.xml</loc></sitemap></sitemapindex>")
    with pytest.raises(SourceUnavailable, match="3 indexes deep"):
        listed(site)


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"no xml", "is no XML"),
        (b"<html><body/></html>", "is no sitemap"),
        (b"<urlset><url>", "is no XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><urlset><url><loc>&a;</loc></url></urlset>', "is no XML"),
        (gzip.compress(b"<urlset/>", mtime=0)[:-9], "ends too early|cannot be unpacked"),
        (gzip.compress(bytes(60 * 2**20), mtime=0), "unpacks to more than 50 MiB"),
    ],
)
def test_a_sitemap_that_cannot_be_read_is_not_taken_for_an_empty_one(site: Web, content: bytes, seen: str) -> None:
    site.page("/sitemap.xml", content)
    with pytest.raises(SourceUnavailable, match=seen):
        listed(site)


def test_a_sitemap_that_is_not_there(site: Web) -> None:
    with pytest.raises(SourceUnavailable, match="HTTP 404"):
        check_sources([source(site)])
    site.sitemap("http://other.invalid/x")
    with pytest.raises(TandemError, match="names no page"):
        check_sources([source(site)])
    nobody = SitemapSource(sitemap="http://127.0.0.1:9/sitemap.xml")
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        check_sources([nobody])


def test_only_pages_of_its_own_host_are_read(site: Web) -> None:
    others = [
        "http://other.invalid/x",
        "file:///etc/passwd",
        "http://127.0.0.1:9/x",
        f"{site.url.replace('//', '//u:p@')}/x",
    ]
    site.sitemap("/iron", *others, "ftp://127.0.0.1/x", "http://[bad/x")
    assert list(listed(site)) == ["iron"]


def test_robots_txt_is_kept(site: Web) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /private\nCrawl-delay: 0.2\n", "text/plain")
    site.sitemap("/private/x", "/iron")
    assert list(listed(site)) == ["iron"]
    site.page("/robots.txt", "User-agent: Tandem\nDisallow: /\n", "text/plain")
    with pytest.raises(TandemError, match="names no page"):
        check_sources([source(site)])
    site.status("/robots.txt", 500, 500, 500)
    with pytest.raises(SourceUnavailable, match=r"robots\.txt answers HTTP 500"):
        listed(site)


def test_no_more_pages_a_second_than_set(site: Web) -> None:
    names = [f"/{number}.txt" for number in range(5)]
    for name in names:
        site.page(name, "Text.", "text/plain")
    site.sitemap(*names)
    for document in all_documents([source(site, pages_per_s=20)]):
        document.read()
    assert len(site.times) == 7 and site.times[-1] - site.times[0] > 0.28


def test_a_page_that_fails_for_a_moment_is_asked_for_again(site: Web, first: Document) -> None:
    site.status("/iron", 503, 429)
    assert "Iron" in first.read()
    assert site.asked.count("/iron") == 3


@pytest.mark.parametrize(
    ("answer", "kind", "seen"),
    [
        ((500, {}, b""), Unreadable, "answers HTTP 500"),
        ((403, {}, b""), Unreadable, "answers HTTP 403"),
        ((404, {}, b""), Gone, "gone"),
        ((410, {}, b""), Gone, "gone"),
        ((200, {"Content-Type": "image/png"}, b"x"), Unreadable, "image/png"),
        ((200, {}, b"x"), Unreadable, "no media type"),
        ((200, {"Content-Type": "text/html"}, b"x" * 2000), Unreadable, "has more than"),
        ((200, {"Content-Type": "text/html", "Content-Length": "9999"}, b"x"), Unreadable, "does not answer"),
        ((302, {"Location": "/iron"}, b""), Unreadable, "redirects"),
        ((302, {"Location": "http://127.0.0.1:9/admin"}, b""), Unreadable, "another host"),
        ((302, {"Location": "file:///etc/passwd"}, b""), Unreadable, "another host"),
    ],
)
def test_what_is_wrong_with_a_page_is_said(
    site: Web, first: Document, answer: Answer, kind: type[Exception], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitemaps, "MAX_PAGE_BYTES", 1000)
    site.answers["/iron"] = [answer]
    with pytest.raises(kind, match=seen) as caught:
        first.version()
    assert type(caught.value) is kind


def test_a_redirect_on_the_same_host_is_followed(site: Web, first: Document) -> None:
    site.page("/new/iron", ARTICLE.format("Iron", 26))
    site.answers["/iron"] = [(301, {"Location": "/new/iron"}, b"")]
    assert "atomic number of Iron" in first.read()


def test_a_public_name_that_leads_into_the_own_network_is_not_read(site: Web) -> None:
    """As after a change of its address in the DNS."""
    with web.Site(site.url, per_s=100) as opened:
        assert opened.fetch(f"{site.url}/iron", 10_000).kind == "text/html"
        opened._is_public = True
        with pytest.raises(Unreadable, match=r"private address 127\.0\.0\.1"):
            opened.fetch(f"{site.url}/iron", 10_000)


def test_a_host_that_goes_away_ends_the_run(site: Web) -> None:
    site.sitemap("/iron")
    pages = all_documents([source(site)])
    page = next(pages)
    site.server.shutdown()
    site.server.server_close()
    with pytest.raises((SourceUnavailable, Unreadable)):
        page.read()


@pytest.mark.parametrize("url", ["ftp://h/s.xml", "/sitemap.xml", "http:///x", "https://u:p@h/s.xml"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        SitemapSource(sitemap=url)
