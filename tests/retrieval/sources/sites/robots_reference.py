"""robots.txt by the text of RFC 9309 alone, letter for letter: what our rules are compared with."""

import re
from itertools import groupby
from urllib.parse import urlsplit

_UNRESERVED = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Reserved octets are percent-encoded too (2.2.2), but for those that divide a path and its query.
_PLAIN = _UNRESERVED | set(b"/=")


def allows(content: bytes, agent: str, url: str) -> bool:
    """Section 2.2: the groups of the agent, or those of `*`; of the rules that match, the longest; of two, an allow."""
    groups = _groups(content)
    own = [rules for agents, rules in groups if agent.lower() in agents]
    rules = [rule for group in own or [rules for agents, rules in groups if "*" in agents] for rule in group]
    parts = urlsplit(url)
    path = _octets((parts.path or "/") + ("?" + parts.query if "?" in url.partition("#")[0] else ""))
    matching = [(len(_pattern(value)), name == "allow") for name, value in rules if value and _matches(value, path)]
    return max(matching)[1] if matching else True


def _groups(content: bytes) -> list[tuple[set[str], list[tuple[str, str]]]]:
    lines = re.split(rb"\r\n|\r|\n", content.removeprefix(b"\xef\xbb\xbf"))
    fields = []
    for line in lines:
        name, colon, value = line.partition(b"#")[0].decode(errors="replace").partition(":")
        if colon and name.strip().lower() in ("user-agent", "allow", "disallow"):
            fields.append((name.strip().lower(), value.strip()))
    groups: list[tuple[set[str], list[tuple[str, str]]]] = []
    for is_agent, run in groupby(fields, lambda field: field[0] == "user-agent"):
        if is_agent:
            groups.append(({_token(value) for _, value in run}, []))
        elif groups:
            groups[-1][1].extend(run)
    return groups


def _token(value: str) -> str:
    token = re.match(r"[A-Za-z_-]+", value)
    return token[0].lower() if token else value


def _octets(text: str, special: bytes = b"") -> bytes:
    """Each octet as itself where it is plain or `special`, however it was written, and as `%XX` where it is not."""
    octets, raw, at = bytearray(), text.encode(), 0
    while at < len(raw):
        escape = re.match(rb"%([0-9A-Fa-f]{2})", raw[at : at + 3])
        octet = int(escape[1], 16) if escape else raw[at]
        at += 3 if escape else 1
        plain = (octet in _PLAIN and (octet != ord("/") or not escape)) or (octet in special and not escape)
        octets += bytes([octet]) if plain else b"%%%02X" % octet
    return bytes(octets)


def _pattern(value: str) -> bytes:
    return _octets(value.removesuffix("$"), b"*") + (b"$" if value.endswith("$") else b"")


def _matches(value: str, path: bytes) -> bool:
    """By looking at each place where a `*` may end, as the RFC describes it and not as one would write it."""
    pattern = _pattern(value)
    is_whole = pattern.endswith(b"$")
    parts = (pattern[:-1] if is_whole else pattern).split(b"*")
    if not path.startswith(parts[0]):
        return False
    ends = {len(parts[0])}
    for part in parts[1:]:
        ends = {at + len(part) for end in ends for at in range(end, len(path) + 1) if path[at:].startswith(part)}
    return len(path) in ends if is_whole else bool(ends)
