"""Sitemaps as sources, from a real site on loopback."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from retrieval.filters.rights import Attributes
from retrieval.sources.config import SitemapSource
from retrieval.sources.document import Document, Gone, SourceUnavailable, Unreadable
from retrieval.sources.sites import documents
from retrieval.sources.sites import site as sites
from retrieval.sources.sites.addresses import canonical, page_key, page_name
from retrieval.sources.sites.sitemaps import Entry, parse_sitemap, unpack
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
    monkeypatch.setattr(sites, "RETRY_WAITS_S", (0.0, 0.0))


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


def index_of(*addresses: str) -> str:
    return f"<sitemapindex>{''.join(f'<sitemap><loc>{each}</loc></sitemap>' for each in addresses)}</sitemapindex>"


def test_indexes_that_name_each_other_are_read_once(site: Web) -> None:
    site.page("/sitemap.xml", index_of("/sitemap.xml", "/b.xml", "/a.xml"))
    site.page("/b.xml", index_of("/sitemap.xml", "/a.xml", "/b.xml#x"))
    site.sitemap("/iron", path="/a.xml")
    assert list(listed(site)) == ["iron"]
    assert [site.asked.count(each) for each in ("/sitemap.xml", "/a.xml", "/b.xml")] == [1, 1, 1]
    for number in range(5):
        site.page(f"/{number}.xml", index_of(f"/{number + 1}.xml"))
    with pytest.raises(SourceUnavailable, match="3 indexes deep"):
        listed(site, sitemap=f"{site.url}/0.xml")


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"no xml", "is no XML that is read, and no list of addresses"),
        (b"", "is no XML that is read, and no list of addresses"),
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


XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
OTHERS = 'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1" xmlns:xhtml="http://www.w3.org/1999/xhtml"'


@pytest.mark.parametrize(
    "content",
    [
        f"""<urlset {XMLNS} {OTHERS}><url><image:image><image:loc>/pic.png</image:loc></image:image>
            <xhtml:link rel="alternate" href="/de"/><loc>/a</loc><lastmod>2024</lastmod></url></urlset>""",
        f"<urlset {OTHERS}><url><image:loc>/pic.png</image:loc><loc> /a </loc><lastmod>2024</lastmod></url></urlset>",
        f'\n\n<?xml version="1.0" encoding="UTF-8"?>\n<urlset {XMLNS}><url><loc>/a</loc><lastmod>2024</lastmod></url>'
        "</urlset>",
        f"\ufeff <urlset {XMLNS}><url><loc><![CDATA[/a]]></loc><lastmod>2024</lastmod></url></urlset>",
        "<urlset><url><lastmod>2024</lastmod><loc>/a</loc></url></urlset>",
        '<s:urlset xmlns:s="https://x/1"><s:url><s:loc>/a</s:loc><s:lastmod>2024</s:lastmod></s:url></s:urlset>',
        '<urlset xmlns="http://www.google.com/schemas/sitemap/0.84"><url><loc>/a</loc><lastmod>2024</lastmod></url></urlset>',
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_address_of_an_entry_is_its_own_in_any_namespace(content: str, encoding: str) -> None:
    if encoding == "utf-16" and ("UTF-8" in content or content.startswith("\ufeff")):
        return
    assert parse_sitemap(content.encode(encoding)) == (False, [Entry("/a", "2024")])


def test_a_packed_sitemap_may_have_several_parts() -> None:
    parts = [b"<urlset><url><loc>/a</loc></url>", b"<url><loc>/b</loc></url></urlset>"]
    packed = b"".join(map(gzip.compress, parts))
    assert parse_sitemap(unpack(packed))[1] == [Entry("/a"), Entry("/b")]
    assert parse_sitemap(unpack(packed + bytes(512)))[1] == [Entry("/a"), Entry("/b")]
    # Each part is read once: it took a minute where the rest was copied for each.
    assert unpack(gzip.compress(b"", mtime=0) * 50_000 + packed) == b"".join(parts)


def test_a_text_sitemap_is_read(site: Web) -> None:
    site.page("/gold", ARTICLE.format("Gold", 79))
    site.page("/sitemap.xml", f"\ufeff\n{site.url}/iron\r\n\n{site.url}/gold\n# no address\n", "text/plain")
    assert list(listed(site)) == ["iron", "gold"]


def counted(site: Web, **settings: Any) -> tuple[list[str], dict[str, int]]:
    """The pages that are read, and what is left out."""
    left_out = Counter[str]()
    names = []
    for document in documents.site_documents(source(site, **settings), "", left_out):
        with suppress(Gone):
            document.read()
            names.append(document.source)
    return names, dict(left_out)


def test_what_is_left_out_is_counted_with_its_reason(site: Web) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /no")
    other = "http://other.invalid/x"
    site.page("/sitemap.xml", index_of("/a.xml", other))
    addresses = ["iron", "./iron", f"{site.url}/iron/", "/iron#use", "/iron?utm_source=x", "/no/a", "/no/b", other]
    entries = "".join(f"<url><loc>{each}</loc></url>" for each in [*addresses, "", "mailto:me@example.com"])
    site.page("/a.xml", f"<urlset>{entries}<url/></urlset>", "text/xml")
    assert counted(site) == (
        ["iron"],
        {
            documents.SAME_PAGE: 4, documents.FORBIDDEN: 2, documents.OTHER_HOST: 1, documents.OTHER_SITEMAP: 1,
            documents.NO_ADDRESS: 3,
        },
    )  # fmt: skip
    site.page("/robots.txt", "User-agent: *\nDisallow: /")
    with pytest.raises(TandemError, match=r"names no page that is read; left out: .*7 pages that robots\.txt forbids"):
        check_sources([source(site)])


@pytest.mark.parametrize(
    "same",
    [
        ["https://example.com/docs/a", "https://example.com/docs/a/", "http://www.example.com:80/docs/./b/../a#x"],
        ["https://example.com/d\u00fc", "https://EXAMPLE.com./d%c3%bc", "https://example.com/%64%C3%BC"],
        ["https://example.com", "https://www.example.com/", "https://example.com/?utm_source=a&gclid=b"],
        ["https://example.com/a?id=1", "https://example.com/a;jsessionid=8F?PHPSESSID=3&id=1", "https://example.com/a/?id=1"],
        ["https://d\u00fc.example/a", "https://xn--d-eha.example/a"],
    ],
)  # fmt: skip
def test_addresses_of_one_page_have_one_key(same: list[str]) -> None:
    assert len({page_key(url) for url in same}) == 1
    assert all(canonical(canonical(url)) == canonical(url) for url in same)


def test_addresses_of_other_pages_have_other_keys() -> None:
    paths = [
        "a",
        "A",
        "a%2Fb",
        "a/b",
        "a?x",
        "a?x=1",
        "a?x=1&y",
        "a?y&x=1",
        "a%3Fx",
        "a%20b",
        "a+b",
        "aclid?id=1",
        "a?mid=1",
        "a%25b",
    ]
    assert len({page_key(f"https://example.com/{path}") for path in paths}) == len(paths)
    others = [
        "https://example.com:8443/a",
        "https://docs.example.com/a",
        "https://wwwexample.com/a",
        "https://example.com/a",
    ]
    assert len(set(map(page_key, others))) == 4
    assert page_name("https://example.com/d\u00fc x/?b=1&a=2#t") == "d%C3%BC%20x/?b=1&a=2"


def test_a_page_that_leads_to_another_one_is_not_read_twice(site: Web) -> None:
    site.sitemap("/old", "/iron", "/to-nowhere")
    site.answers["/old"] = [(301, {"Location": "/iron/"}, b"")]
    site.answers["/iron/"] = site.answers["/iron"]
    site.page("/elsewhere", "Text.", "text/plain")
    site.answers["/to-nowhere"] = [(301, {"Location": "/elsewhere"}, b"")]
    assert counted(site) == (["iron", "to-nowhere"], {documents.SAME_PAGE: 1})


def test_a_canonical_address_is_believed_where_the_text_is_the_same(site: Web) -> None:
    def page(name: str, canonical: str) -> str:
        return ARTICLE.format(name, 26).replace("<head>", f'<head><link rel="canonical" href="{canonical}">')

    site.sitemap("/print", "/iron", "/gold", "/home", "/one", "/two", "/lone")
    site.page("/print", page("Iron", "/iron"))
    site.page("/gold", page("Gold", "/home"))  # a mistake that many sites make
    site.page("/home", page("Home", "/home"))
    site.page("/one", page("Tin", f"{site.url}/two"))
    site.page("/two", page("Tin", f"{site.url}/one"))
    site.page("/lone", page("Zinc", "/not-listed"))
    assert counted(site) == (["iron", "gold", "home", "two", "lone"], {documents.SAME_PAGE: 2})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("Größe €".encode("cp1252"), "text/plain; charset=windows-1252"),
        ("Größe €".encode("iso8859-15"), 'text/markdown; charset="ISO-8859-15"'),
        ("Größe €".encode("utf-16"), "text/plain;charset=utf-16"),
        ("Größe €".encode(), "text/plain; charset=no-such"),
        ("<html><head><meta charset=utf-8></head><p>Größe €</p></html>".encode("cp1252"), "text/html; charset=cp1252"),
    ],
)  # fmt: skip
def test_the_encoding_that_an_answer_names_is_used(site: Web, first: Document, body: bytes, kind: str) -> None:
    site.answers["/iron"] = [(200, {"Content-Type": kind}, body)]
    assert first.read().strip() == "Größe €"


def test_an_encoding_that_is_wrong_is_said(site: Web, first: Document) -> None:
    site.page("/iron", b"M\xfcller", "text/plain; charset=utf-8")
    with pytest.raises(Unreadable, match="comes as utf-8 and is not"):
        first.read()


def test_an_error_page_with_success_is_no_document(site: Web, first: Document) -> None:
    for title in ("404 Not Found", "Page not found | Example", "Error 404", "Not Found"):
        site.page("/iron", f"<html><head><title>{title}</title></head><body><p>Sorry.</p></body></html>")
        with pytest.raises(Unreadable, match=r"is an error page .*though it answers HTTP 200"):
            first.read()
    page = ARTICLE.format("404 Not Found", 26).replace(
        "</article>", f"<p>{'It says what the status means. ' * 20}</p></article>"
    )
    site.page("/iron", page)
    assert "atomic number" in first.read()


def test_a_server_that_asks_to_wait_is_left_alone(site: Web, first: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(sites.time, "sleep", waits.append)
    site.status("/iron", 429, Retry_After="3600")
    with pytest.raises(Unreadable, match="answers HTTP 429, and asks to be left alone for 3600 s"):
        first.read()
    assert site.asked.count("/iron") == 1
    site.status("/iron", 429, Retry_After="7")
    site.status("/iron", 503, Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True))
    assert "Iron" in first.read()
    assert max(waits) == pytest.approx(19.5, abs=1) and 7.0 in waits


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_robots_txt_that_is_refused_forbids_nothing(site: Web, status: int) -> None:
    site.sitemap("/iron")
    site.status("/robots.txt", status)
    site.answers["/robots.txt"] = site.answers["/robots.txt"][:1]
    assert list(listed(site)) == ["iron"]


def test_redirects_of_robots_txt_are_followed_five_times(site: Web) -> None:
    other = Web()
    other.page("/robots.txt", "User-agent: *\nDisallow: /iron")
    site.page("/gold", ARTICLE.format("Gold", 79))
    site.sitemap("/iron", "/gold")
    for number in range(4):
        site.answers[f"/{number}"] = [(302, {"Location": f"/{number + 1}"}, b"")]
    site.answers["/robots.txt"] = [(301, {"Location": "/0"}, b"")]
    site.answers["/4"] = [(307, {"Location": f"{other.url}/robots.txt"}, b"")]
    assert list(listed(site)) == ["iron", "gold"], "a sixth redirect is as no robots.txt"
    site.answers["/robots.txt"] = [(301, {"Location": "/1"}, b"")]
    assert list(listed(site)) == ["gold"]
    other.server.shutdown()
    other.server.server_close()


def test_robots_txt_forbids_where_a_redirect_leads(site: Web, first: Document) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /private")
    site.sitemap("/iron")
    site.page("/private/x", "Secret.", "text/plain")
    site.answers["/iron"] = [(302, {"Location": "/private/x"}, b"")]
    page = next(pages := documents.site_documents(source(site), ""))
    with pytest.raises(Unreadable, match=r"leads to a page that robots\.txt forbids"):
        page.read()
    assert "/private/x" not in site.asked and next(pages, None) is None


def test_pages_with_and_without_www_are_one_site_with_two_robots_txt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both names lead to one server here; which of them was asked shows in the header."""
    texts = {
        "http://www.example.test/robots.txt": "User-agent: *\nDisallow: /b",
        "http://example.test/robots.txt": "User-agent: *\nDisallow: /c",
        "http://example.test/sitemap.txt": "http://www.example.test/a\nhttp://example.test/a/\nhttp://www.example.test/b\n"
        "http://example.test/b\nhttp://example.test/c\nhttp://shop.example.test/d",
    }  # fmt: skip
    asked: list[str] = []

    def answer(self: sites.Site, url: str, most_bytes: int, is_cut: bool) -> sites.Page:
        asked.append(url)
        return sites.Page(texts.get(url, "Text.").encode(), "text/plain", None, url)

    monkeypatch.setattr(sites.Site, "_answer", answer)
    left_out = Counter[str]()
    pages = SitemapSource(sitemap="http://example.test/sitemap.txt", pages_per_s=100)
    assert [page.source for page in documents.site_documents(pages, "", left_out) if page.read()] == ["a", "b"]
    assert left_out == {documents.SAME_PAGE: 1, documents.FORBIDDEN: 2, documents.OTHER_HOST: 1}
    assert "http://www.example.test/a" in asked and "http://example.test/b" in asked


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
    monkeypatch.setattr(documents, "MAX_PAGE_BYTES", 1000)
    site.answers["/iron"] = [answer]
    with pytest.raises(kind, match=seen) as caught:
        first.version()
    assert isinstance(caught.value, Gone) == (kind is Gone)


def test_a_redirect_on_the_same_host_is_followed(site: Web, first: Document) -> None:
    site.page("/new/iron", ARTICLE.format("Iron", 26))
    site.answers["/iron"] = [(301, {"Location": "/new/iron"}, b"")]
    assert "atomic number of Iron" in first.read()


def test_a_public_name_that_leads_into_the_own_network_is_not_read(site: Web) -> None:
    """As after a change of its address in the DNS."""
    with sites.Site(site.url, per_s=100) as opened:
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
