"""Pages of one site over HTTP: politely, in bounded time and memory, and from no other host.

    with Site("https://docs.example.com/sitemap.xml", per_s=5) as site:
        page = site.fetch("https://docs.example.com/guide", 2**20)

`example.com` and `www.example.com` are one site. Each has its own robots.txt, and pages are read by its rules.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from retrieval.sources.document import Gone, SourceUnavailable, Unreadable
from retrieval.sources.sites.addresses import host_of
from retrieval.sources.sites.robots import AGENT, MAX_ROBOTS_BYTES, RobotsRules

if TYPE_CHECKING:
    from httpx import Response


TIMEOUT_S = 20.0
PAGE_S = 60.0
MAX_REDIRECTS = 5
RETRY_WAITS_S = (0.5, 2.0)
MAX_RETRY_AFTER_S = 30.0
MAX_CRAWL_DELAY_S = 60.0
TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
GONE = frozenset({404, 410})


@dataclass(frozen=True)
class Page:
    """What an address answered."""

    content: bytes
    kind: str
    """Its media type, without parameters."""
    charset: str | None = None
    """The encoding that its answer names."""
    url: str = ""
    """Where it was found at last, after redirects."""


class Refused(Unreadable):
    """The answer was of the class 4xx: `status`."""

    def __init__(self, status: int, more: str = "") -> None:
        super().__init__(f"answers HTTP {status}{more}")
        self.status = status


class _EndlessRedirects(Unreadable):
    """One redirect after the other."""


class _TryAgain(Exception):
    """An answer that may be another one a moment later."""

    def __init__(self, reason: str, wait_s: float = 0.0, status: int = 0) -> None:
        super().__init__(reason)
        self.wait_s, self.status = wait_s, status

    def last(self, more: str = "") -> Unreadable:
        """What is raised where it is not tried again."""
        return Refused(self.status, more) if 400 <= self.status < 500 else Unreadable(f"{self}{more}")


class Site:
    """The host of `url`, asked at most `per_s` times a second and one request after the other."""

    def __init__(self, url: str, per_s: float) -> None:
        import httpx

        self.url, self.wait_s, self._next = url, 1 / per_s, 0.0
        name, port = host_of(url)
        twin = name.removeprefix("www.") if name.startswith("www.") else f"www.{name}"
        self.hosts = frozenset({(name, port), (twin, port)})
        self._robots: dict[tuple[str, int | None], RobotsRules] = {}
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
            return parts.scheme in ("http", "https") and "@" not in parts.netloc and host_of(url) in self.hosts
        except ValueError:
            return False

    def fetch_page(self, url: str, most_bytes: int) -> Page:
        """As `fetch`, by the rules of robots.txt also where a redirect leads to."""
        return self._tried(url, most_bytes, obeys=True)

    def fetch(self, url: str, most_bytes: int) -> Page:
        """What stands at an address of this site. Redirects to others are not followed.

        Raises:
            Gone: it answers 404 or 410.
            Unreadable: another status, too long, too slow, or a redirect elsewhere.
            SourceUnavailable: the host cannot be reached.
        """
        return self._tried(url, most_bytes)

    def allows(self, url: str) -> bool:
        """Whether the robots.txt of the address' host lets it be read (RFC 9309).

        Raises:
            SourceUnavailable: robots.txt cannot be reached, which forbids everything.
        """
        host = host_of(url)
        if host not in self._robots:
            self._robots[host] = rules = self._fetched_rules(url)
            self.wait_s = max(self.wait_s, min(rules.crawl_delay_s or 0, MAX_CRAWL_DELAY_S))
        return self._robots[host].allows(url)

    def _fetched_rules(self, url: str) -> RobotsRules:
        """Redirects are followed to wherever they lead; after more than five, or with 4xx, there are no rules."""
        address = urljoin(url, "/robots.txt")
        try:
            return RobotsRules(self._tried(address, MAX_ROBOTS_BYTES, is_robots=True).content)
        except (Refused, Gone, _EndlessRedirects):
            return RobotsRules(b"")
        except Unreadable as error:
            raise SourceUnavailable(
                f"The source {self.url} cannot be listed: {address} {error}.",
                "A robots.txt that answers, or HTTP 404 where the site has none.",
                "Run this again once it answers; what was indexed of the site stays.",
            ) from None

    def _tried(self, url: str, most_bytes: int, obeys: bool = False, is_robots: bool = False) -> Page:
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                return self._followed(url, most_bytes, obeys, is_robots)
            except _TryAgain as error:
                if error.wait_s > MAX_RETRY_AFTER_S:
                    raise error.last(f", and asks to be left alone for {error.wait_s:.0f} s") from None
                if wait_s is None:
                    raise error.last() from None
                time.sleep(max(wait_s, error.wait_s))
        raise AssertionError("the last try returns or raises")

    def _followed(self, url: str, most_bytes: int, obeys: bool, is_robots: bool) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            if not self.holds(url) and not (is_robots and url.startswith(("http://", "https://"))):
                raise Unreadable(f"leads to another host ({urlsplit(url).netloc.rpartition('@')[2] or url[:100]})")
            if obeys and not self.allows(url):
                raise Unreadable("leads to a page that robots.txt forbids")
            answer = self._answer(url, most_bytes, is_robots)
            if isinstance(answer, Page):
                return answer
            url = urljoin(url, answer)
        raise _EndlessRedirects(f"leads through more than {MAX_REDIRECTS} redirects")

    def _answer(self, url: str, most_bytes: int, is_cut: bool) -> Page | str:
        """The page, or where it has moved to."""
        import httpx

        self._wait()
        try:
            with self._client.stream("GET", url) as response:
                self._check_address(response)
                if response.is_redirect:
                    return response.headers["location"]
                _check_status(response)
                kind = response.headers.get("content-type", "").partition(";")[0]
                return Page(_content(response, most_bytes, is_cut), kind, response.charset_encoding, url)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _unreachable(urlsplit(url).hostname, error) from None
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


def _check_status(response: "Response") -> None:
    status = response.status_code
    if status in GONE:
        raise Gone(f"is gone (HTTP {status})")
    if status in TRIED_AGAIN:
        raise _TryAgain(f"answers HTTP {status}", _retry_after_s(response.headers.get("retry-after", "")), status)
    if 400 <= status < 500:
        raise Refused(status)
    if status != 200:
        raise Unreadable(f"answers HTTP {status}")


def _retry_after_s(header: str) -> float:
    """Seconds (RFC 9110, 10.2.3): a number, or until a date; 0 where it is neither."""
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _content(response: "Response", most_bytes: int, is_cut: bool) -> bytes:
    """The body; `is_cut` takes the first bytes of a longer one, one more than `most_bytes` to show that."""
    content, until = bytearray(), time.monotonic() + PAGE_S
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > most_bytes and is_cut:
            return bytes(content[: most_bytes + 1])
        if len(content) > most_bytes:
            raise Unreadable(f"has more than {most_bytes // 2**20} MiB")
        if time.monotonic() > until:
            raise Unreadable(f"takes more than {PAGE_S:.0f} s")
    return bytes(content)


def _unreachable(host: str | None, error: Exception) -> SourceUnavailable:
    return SourceUnavailable(
        f"The site {host} cannot be reached: {error}.",
        "A site that answers.",
        "Run this again once it does; what was indexed of it stays.",
    )
