"""What robots.txt allows, after RFC 9309.

    rules = RobotsRules(content)
    rules.allows("https://example.com/private/x"), rules.crawl_delay_s

Protego matches the paths. It reads lines more generously than the RFC, which would let a page be read that is
forbidden, so it gets them in the RFC's form: a group is for us where it names our product token and not a part of it,
and lines that are no rule do not end a group.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

AGENT = "Tandem"
MAX_ROBOTS_BYTES = 500 * 1024
"""What a crawler reads at least (RFC 9309, 2.5); the rest is left."""

_NAMES = {
    "user-agent": "user-agent|useragent|user agent", "disallow": "dis+al+ow|disallaw|diasllow", "allow": "allow",
    "crawl-delay": "crawl-delay",
}  # fmt: skip
_LINE = {name: re.compile(rf"\s*(?:{names})(?:\s*:|\s)\s*(.*?)\s*", re.I | re.S) for name, names in _NAMES.items()}
_TOKEN = re.compile(r"[a-z_-]+|\*(?=\s|$)", re.I)
_OTHER = "another-agent"
_RULES = ("allow", "disallow")
_ENDS_IN_INDEX = "/index.html"


class RobotsRules:
    """The rules of one robots.txt for our agent; none where the content is empty.

    Args:
        content: as it was fetched; more than `MAX_ROBOTS_BYTES` is left, with the line in which the limit lies.
    """

    def __init__(self, content: bytes) -> None:
        from protego import Protego

        lines = list(_fields(content))
        self._rules = Protego.parse(_written(lines, ("user-agent", *_RULES)))
        # A line that is no rule would end a group of several agents.
        self.crawl_delay_s = Protego.parse(_written(lines, ("user-agent", *_RULES, "crawl-delay"))).crawl_delay(AGENT)

    def allows(self, url: str) -> bool:
        """Whether a page may be read: the longest rule that matches its path and query decides, an `allow` of two."""
        return bool(self._rules.can_fetch(url, AGENT))


def _fields(content: bytes) -> Iterator[tuple[str, str]]:
    """Names and values of the lines that say something, without comments."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if len(content) > MAX_ROBOTS_BYTES:
        content = content[:MAX_ROBOTS_BYTES]
        content = content[: max(content.rfind(b"\n"), content.rfind(b"\r"))]
    for line in re.split("\r\n|\r|\n", content.decode(errors="replace")):
        for name, pattern in _LINE.items():
            if field := pattern.fullmatch(line.partition("#")[0]):
                yield name, field[1]


def _written(fields: list[tuple[str, str]], kept: tuple[str, ...]) -> str:
    return "\n".join(f"{name}: {_value(name, value)}" for name, value in fields if name in kept)


def _value(name: str, value: str) -> str:
    if name == "user-agent":
        token = _TOKEN.match(value)
        return token[0] if token and token[0].lower() in ("*", AGENT.lower()) else _OTHER
    if name == "allow" and value.endswith(_ENDS_IN_INDEX):
        value += "*"  # Protego would allow the folder itself as well
    return "".join(quote(char) if char.isspace() else char for char in value)
