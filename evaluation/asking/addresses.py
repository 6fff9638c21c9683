"""Where a chat completion is asked for, from the URL that a project file has; and how it is reached from here."""

import os
import re
import ssl
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from cluster.errors import TandemError

COMPLETIONS = "/chat/completions"
LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|::1|0\.0\.0\.0")
SECRET = re.compile(r"key|token|secret|passw|signature|\bsig\b|auth", re.IGNORECASE)
CA_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def completion_urls(url: str) -> list[str]:
    """The URLs under which chat completions may be, the likeliest first; the query is part of each.

    A URL that ends with a version (`/v1`, `/v1beta/openai` has it before) is taken as it is, a bare host gets `/v1`.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if path.endswith(COMPLETIONS):
        paths = [path]
    elif not path:
        paths = [f"/v1{COMPLETIONS}", COMPLETIONS]
    elif re.search(r"/v\d\w*(?:/openai)?$", path):
        paths = [path + COMPLETIONS]
    else:
        paths = [path + COMPLETIONS, f"{path}/v1{COMPLETIONS}"]
    return [urlunsplit((parts.scheme, parts.netloc, each, parts.query, "")) for each in paths]


def shown_url(url: str) -> str:
    """The URL without what may be secret in it: the query, a user and a password."""
    parts = urlsplit(url)
    return urlunsplit(SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def check_url(url: str, setting: str) -> None:
    """Raise a TandemError where a URL holds a key: a URL is kept in reports and logs."""
    parts = urlsplit(url)
    names = [name for name, _ in parse_qsl(parts.query) if SECRET.search(name)]
    if not names and "@" not in parts.netloc:
        return
    seen = f"{', '.join(names)} in its query" if names else "a user in front of its host"
    raise TandemError(
        f"The URL of {setting}, {shown_url(url)}, has {seen}.",
        "A URL without keys: it is kept in the report and in the log.",
        "Name the key in `api_key` or in `headers`, as `${NAME}`.",
    )


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL (HTTPS_PROXY, ALL_PROXY, NO_PROXY); none for this machine.

    Raises:
        TandemError: the proxy speaks SOCKS.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if LOOPBACK.fullmatch(host) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not proxy.startswith(("http://", "https://")):
        raise TandemError(
            f"The environment names the proxy {shown_url(proxy)} for {shown_url(url)}.",
            "A proxy that speaks HTTP.",
            f"Set HTTPS_PROXY to such a proxy, or NO_PROXY to {host}.",
        )
    return proxy


def certificates() -> ssl.SSLContext | bool:
    """Which certificates are trusted: the system's, or those that the environment names.

    Raises:
        TandemError: the environment names a file that does not exist or holds no certificates.
    """
    for name in CA_BUNDLES:
        if not (written := os.environ.get(name)):
            continue
        path = Path(written)
        try:
            if not path.exists():
                raise FileNotFoundError("it does not exist")
            folder, file = (written, None) if path.is_dir() else (None, written)
            return ssl.create_default_context(cafile=file, capath=folder)
        except (OSError, ssl.SSLError) as error:
            raise TandemError(
                f"{name} is {written}, and no certificates can be read from there ({error}).",
                "A file of certificates in the PEM format.",
                f"Correct {name}, or unset it.",
            ) from error
    return True
