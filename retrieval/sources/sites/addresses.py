"""Addresses of pages: which ones are the same page, and what a page is called.

page_key("https://www.example.com/d%c3%bc/?utm_source=x#top") == page_key("https://example.com/dü")
"""

import re
from urllib.parse import quote, unquote_to_bytes, urldefrag, urlsplit, urlunsplit

# What says who came and from where, and not which page it is.
_SESSION = re.compile(
    r"(utm_\w+|[a-z]*clid|gbraid|wbraid|mc_[ce]id|_g[al]|jsessionid|phpsessid|aspsessionid\w*|cfid|cftoken)", re.I
)
_SESSION_IN_PATH = re.compile(r";(jsessionid|phpsessid)=[^/;?]*", re.I)
_UNRESERVED = "-._~"
_KEPT = _UNRESERVED + "!$&'()*+,;=:@/"
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")


def canonical(url: str) -> str:
    """The address in one spelling: escapes as RFC 3986 has them, no fragment, no dots, nothing of a session.

    Raises:
        ValueError: it is no address.
    """
    parts = urlsplit(urldefrag(url.strip()).url)
    path = _SESSION_IN_PATH.sub("", _escaped(_without_dots(parts.path or "/"), _KEPT))
    fields = [field for field in parts.query.split("&") if field and not _SESSION.fullmatch(field.partition("=")[0])]
    host, port = host_of(url)
    host = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return urlunsplit((parts.scheme.lower(), host, path, _escaped("&".join(fields), _KEPT + "?"), ""))


def page_key(url: str) -> str:
    """Equal for two addresses of one page: with or without `www.`, TLS, or a slash at the end."""
    parts = urlsplit(canonical(url))
    host = parts.netloc.removeprefix("www.")
    return f"{host}{parts.path.rstrip('/')}?{parts.query}"


def page_name(url: str) -> str:
    """What a page is called below its site: path and query, in one spelling."""
    parts = urlsplit(canonical(url))
    return parts.path.removeprefix("/") + (f"?{parts.query}" if parts.query else "")


def host_of(url: str) -> tuple[str, int | None]:
    """The host's name (in ASCII) and port; http and https on their usual ports are one.

    Raises:
        ValueError: it is no address.
    """
    parts = urlsplit(url.strip())
    host = (parts.hostname or "").lower().rstrip(".")
    return host if host.isascii() else host.encode("idna").decode(), None if parts.port in (
        None,
        80,
        443,
    ) else parts.port


def _escaped(text: str, kept: str) -> str:
    """Escapes of letters and digits as these, all others in capitals, and what must be escaped escaped."""
    escaped, start = "", 0
    for escape in _ESCAPE.finditer(text):
        char = unquote_to_bytes(escape[0]).decode("latin-1")
        is_plain = char.isascii() and (char.isalnum() or char in _UNRESERVED)
        escaped += quote(text[start : escape.start()], kept, errors="replace") + (
            char if is_plain else escape[0].upper()
        )
        start = escape.end()
    return escaped + quote(text[start:], kept, errors="replace")


def _without_dots(path: str) -> str:
    """`.` and `..` are resolved (RFC 3986, 5.2.4)."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            segments[-1:] = []
        elif segment != ".":
            segments.append(segment)
    ends_in_slash = path.endswith(("/.", "/.."))
    return "/" + "/".join(segments) + ("/" if ends_in_slash and segments else "")
