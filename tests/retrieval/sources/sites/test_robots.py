"""robots.txt after RFC 9309."""

import time
from random import Random

import pytest

from retrieval.sources.sites.robots import MAX_ROBOTS_BYTES, RobotsRules
from tests.retrieval.sources.sites import robots_reference

SITE = "https://docs.example.com"


def allowed(text: str | bytes, *paths: str) -> list[str]:
    rules = RobotsRules(text.encode() if isinstance(text, str) else text)
    return [path for path in paths if rules.allows(SITE + path)]


@pytest.mark.parametrize(
    ("text", "forbidden", "free"),
    [
        ("User-agent: *\nDisallow: /*.html$", ["/a.html", "/x/y.html"], ["/a.html?x", "/a.htm", "/html"]),
        ("User-agent: *\nDisallow: /priv*/", ["/priv/", "/private/x"], ["/priv", "/x/priv/"]),
        ("User-agent: *\n\nDisallow: /private", ["/private", "/private/x"], ["/"]),
        ("\ufeffUser-agent: *\nDisallow: /private", ["/private"], ["/"]),
        ("User-agent: *\nDisallow: /\nAllow: /docs", ["/", "/other"], ["/docs", "/docs/a"]),
        ("User-agent: *\nAllow: /docs\nDisallow: /", ["/other"], ["/docs/a"]),
        ("User-agent: *\nDisallow: /docs\nAllow: /docs", [], ["/docs"]),
        ("User-agent: *\nDisallow: /\n\nUser-agent: TANDEM\nDisallow: /a", ["/a"], ["/b"]),
        ("User-agent: Tandem\nDisallow: /a\n\nUser-agent: tandem\nDisallow: /b", ["/a", "/b"], ["/c"]),
        ("User-agent: Other\nUser-agent: Tandem\nDisallow: /a", ["/a"], ["/b"]),
        ("User-agent: Tandem/1.0\nDisallow: /a\nUser-agent: *\nDisallow: /b", ["/a"], ["/b"]),
        ("User-agent: Tan\nAllow: /\nUser-agent: *\nDisallow: /a", ["/a"], ["/b"]),
        ("User-agent: TandemBot\nAllow: /\nUser-agent: *\nDisallow: /a", ["/a"], ["/b"]),
        ("User-agent: Other\nSitemap: /s.xml\nFoo: bar\nUser-agent: Tandem\nDisallow: /a", ["/a"], ["/b"]),
        ("User-agent: Tandem\nCrawl-delay: 5\nUser-agent: *\nDisallow: /a", ["/a"], ["/b"]),
        ("User-agent: *\nDisallow: /d%C3%BC\nDisallow: /%7e", ["/dü", "/d%c3%bc", "/~me"], ["/a%2Fb"]),
        ("User-agent: *\nDisallow: /q?x=", ["/q?x=1"], ["/q", "/q?y"]),
        ("User-agent: *\nDisallow:", [], ["/", "/a"]),
        ("User-agent: *\rDisallow: /a # not here\r\nDisallow : /b", ["/a", "/b"], ["/c"]),
        ("useragent: *\ndissallow /a", ["/a"], ["/b"]),
        ("Disallow: /", [], ["/a"]),
        ("<html><body>User-agent: *</body></html>", [], ["/a"]),
        ("User-agent: *\nDisallow: /x/\nAllow: /x/index.html", ["/x/", "/x/a"], ["/x/index.html"]),
        ("User-agent: *\nDisallow: /", ["/a", "/robots"], []),
    ],
)  # fmt: skip
def test_what_a_robots_txt_forbids(text: str, forbidden: list[str], free: list[str]) -> None:
    assert allowed(text, *forbidden, *free) == free
    reference = robots_reference.allows
    strict = text.startswith("useragent")  # read more generously than the RFC asks for
    assert strict or [path for path in (*forbidden, *free) if reference(text.encode(), "Tandem", SITE + path)] == free


def test_the_delay_is_that_of_our_group() -> None:
    text = b"User-agent: *\nCrawl-delay: 9\n\nUser-agent: Tandem\nCrawl-delay: 2\nDisallow: /a"
    assert RobotsRules(text).crawl_delay_s == 2
    assert RobotsRules(b"User-agent: *\nCrawl-delay: 1.5").crawl_delay_s == 1.5
    assert RobotsRules(b"User-agent: *\nCrawl-delay: soon").crawl_delay_s is None
    assert RobotsRules(b"").crawl_delay_s is None


def test_what_is_too_long_is_read_up_to_the_limit() -> None:
    start, end = "User-agent: *\nDisallow: /a\n", "Disallow: /bcd\n"
    filler = "#" * (MAX_ROBOTS_BYTES - len(start) - len(end) + 5) + "\n"
    assert allowed(start + filler + end, "/a", "/b", "/bcd") == ["/b", "/bcd"]
    assert allowed(start + filler[6:] + end, "/a", "/b", "/bcd") == ["/b"]


def test_hostile_patterns_take_little_time() -> None:
    started = time.monotonic()
    text = "User-agent: *\n" + "".join(f"Disallow: /{'a*' * 300}{number}\n" for number in range(500))
    assert allowed(text, "/" + "a" * 2000) == ["/" + "a" * 2000]
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("num_files", [300, pytest.param(20_000, marks=pytest.mark.matrix)])
def test_generated_files_are_read_as_the_rfc_says(num_files: int) -> None:
    choose = Random(9309)
    agents = ["*", "Tandem", "tandem", "Other", "Tandem/2.1", "TandemX", "tan", "Tandem *"]
    letters = ["a", "b", "/", "*", "ü", "%C3%BC", "%c3%bc", "%61", "%2F", "?", "=", "&", "~", "%7E", ".", "-", ";", "+"]
    for number in range(num_files):
        lines = []
        for _ in range(choose.randrange(12)):
            path = (
                "/" + "".join(choose.choices(letters, k=choose.randrange(5))) + choose.choice(["", "", "$", "*", "*$"])
            )
            lines.append(
                choose.choice([
                    f"User-agent: {choose.choice(agents)}", f"Allow: {path}", f"Disallow: {path}", "Allow:", "",
                    f"disallow:{path} # x", f"DISALLOW : {path}", "# User-agent: *", "Sitemap: https://x/s", "nonsense",
                    "Crawl-delay: 1",
                ])
            )  # fmt: skip
        content = choose.choice(["", "\ufeff"]) + choose.choice(["\n", "\r\n", "\r"]).join(lines)
        rules = RobotsRules(content.encode())
        for _ in range(10):
            kept = [letter for letter in letters if letter != "*"]
            path = "/" + "".join(choose.choices(kept, k=choose.randrange(7)))
            expected = robots_reference.allows(content.encode(), "Tandem", SITE + path)
            assert rules.allows(SITE + path) == expected, (number, content, path)
