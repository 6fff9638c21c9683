"""Pages of one site over HTTP: politely, in bounded time and memory, and from no other host.

    with Site("https://docs.example.com/sitemap.xml", per_s=5) as site:
        page = site.fetch("https://docs.example.com/guide")

`page_markdown` makes Markdown of a page: its text without the menus around it.
"""

import tempfile
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from retrieval.sources.document import Gone, SourceUnavailable, Unreadable
from retrieval.sources.parsing.parse import read_markdown

if TYPE_CHECKING:
    from httpx import Response


AGENT = "Tandem"
TIMEOUT_S = 20.0
PAGE_S = 60.0
MAX_REDIRECTS = 5
RETRY_WAITS_S = (0.5, 2.0)
MAX_RETRY_AFTER_S = 30.0
TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
GONE = frozenset({404, 410})


@dataclass(frozen=True)
class Page:
    """What an address answered: `kind` is its media type, without parameters."""

    content: bytes
    kind: str


class _TryAgain(Exception):
    """An answer that may be another one a moment later."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Site:
    """The host of `url`, asked at most `per_s` times a second and one request after the other."""

    def __init__(self, url: str, per_s: float) -> None:
        import httpx

        self.host, self.wait_s, self._next = _host(url), 1 / per_s, 0.0
        self._client = httpx.Client(timeout=TIMEOUT_S, headers={"User-Agent": AGENT})
        self._is_public: bool | None = None

    def __enter__(self) -> "Site":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def holds(self, url: str) -> bool:
        """Whether an address is one of this host that may be fetched."""
        try:
            parts = urlsplit(url)
            return parts.scheme in ("http", "https") and "@" not in parts.netloc and _host(url) == self.host
        except ValueError:
            return False

    def fetch(self, url: str, most_bytes: int) -> Page:
        """What stands at an address of this host. Redirects to others are not followed.

        Raises:
            Gone: it answers 404 or 410.
            Unreadable: another status, too long, too slow, or a redirect elsewhere.
            SourceUnavailable: the host cannot be reached.
        """
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                return self._followed(url, most_bytes)
            except _TryAgain as error:
                if wait_s is None:
                    raise Unreadable(str(error)) from None
                time.sleep(min(max(wait_s, error.wait_s), MAX_RETRY_AFTER_S))
        raise AssertionError("the last try returns or raises")

    def _followed(self, url: str, most_bytes: int) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            if not self.holds(url):
                raise Unreadable("leads to another host")
            answer = self._answer(url, most_bytes)
            if isinstance(answer, Page):
                return answer
            url = urljoin(url, answer)
        raise Unreadable(f"leads through more than {MAX_REDIRECTS} redirects")

    def _answer(self, url: str, most_bytes: int) -> Page | str:
        """The page, or where it has moved to."""
        import httpx

        self._wait()
        try:
            with self._client.stream("GET", url) as response:
                self._check_address(response)
                if response.is_redirect:
                    return response.headers["location"]
                _check_status(response)
                return Page(_content(response, most_bytes), response.headers.get("content-type", "").partition(";")[0])
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _unreachable(self.host, error) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _TryAgain(f"does not answer ({type(error).__name__})") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Unreadable(f"has an address that is none: {error}") from error

    def _wait(self) -> None:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self.wait_s

    def _check_address(self, response: "Response") -> None:
        """A name that first led to a public address must not lead into our own network later."""
        stream: Any = response.extensions["network_stream"]
        peer = stream.get_extra_info("server_addr")
        is_public = ip_address(peer[0].partition("%")[0]).is_global
        if self._is_public is None:
            self._is_public = is_public
        if self._is_public and not is_public:
            raise Unreadable(f"leads to the private address {peer[0]}")


def _host(url: str) -> tuple[str, int | None]:
    """The host's name and port; http and https on their usual ports are one."""
    parts = urlsplit(url)
    return (parts.hostname or "").lower().rstrip("."), None if parts.port in (None, 80, 443) else parts.port


def _check_status(response: "Response") -> None:
    status = response.status_code
    if status in GONE:
        raise Gone(f"is gone (HTTP {status})")
    if status in TRIED_AGAIN:
        after = response.headers.get("retry-after", "")
        raise _TryAgain(f"answers HTTP {status}", float(after) if after.isdecimal() else 0.0)
    if status != 200:
        raise Unreadable(f"answers HTTP {status}")


def _content(response: "Response", most_bytes: int) -> bytes:
    content, until = bytearray(), time.monotonic() + PAGE_S
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > most_bytes:
            raise Unreadable(f"has more than {most_bytes // 2**20} MiB")
        if time.monotonic() > until:
            raise Unreadable(f"takes more than {PAGE_S:.0f} s")
    return bytes(content)


def _unreachable(host: tuple[str, int | None], error: Exception) -> SourceUnavailable:
    return SourceUnavailable(
        f"The site {host[0]} cannot be reached: {error}.",
        "A site that answers.",
        "Run this again once it does; what was indexed of it stays.",
    )


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
    """The main content of an HTML page, or the whole page where none is found; other formats as their files.

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
