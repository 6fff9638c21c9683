"""The console: its files at `/`, the published versions, and the last comparison's report.

The files load nothing from elsewhere, and a header forbids the browser to.
"""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

from cluster.registry.registry import Registry, share_percent
from serving.access.keys import Key
from serving.api.errors import ApiError

REPORT_FILE = "report.json"


def list_adapter_versions(registry: Registry, bases: list[str], key: Key | None) -> list[dict[str, Any]]:
    """Every version of the adapters that a caller may use with one of the bases, the newest first."""
    names = [
        name for name in registry.names() if key is None or any(key.may_use(f"{base}:{name}", None) for base in bases)
    ]
    return [_version(registry, name, number) for name in names for number in reversed(_numbers(registry, name))]


def last_report(storage: Path | None, key: Key | None) -> bytes:
    """The newest comparison's report.json. It holds questions and answers: a key for some models may not read it.

    Raises:
        ApiError: 403 or 404.
    """
    if key is not None and (key.models is not None or key.collections is not None):
        raise ApiError(403, "Reports are for keys that may use every model and collection.")
    reports = sorted((storage or Path()).glob(f"*/compare-*/{REPORT_FILE}"), key=lambda path: path.stat().st_mtime)
    if storage is None or not reports:
        raise ApiError(404, "Nothing has been compared yet: `tandem compare`.")
    return reports[-1].read_bytes()


def _numbers(registry: Registry, name: str) -> list[int]:
    return [version.version for version in registry.versions(name)]


def _version(registry: Registry, name: str, number: int) -> dict[str, Any]:
    version, shares, checked = registry.get(name, number), registry.shares(name), registry.check_of(name, number)
    return {
        "name": name, "version": number, "share": share_percent(shares, number), "created": version.manifest.created,
        "method": version.manifest.method, "rank": version.manifest.rank, "base_model": version.manifest.base_model,
        "parity": checked.mean_difference if checked else None,
    }  # fmt: skip


STATIC_FOLDER = Path(__file__).parent / "static"
STATIC_FILES = {"/": "index.html", "/console.css": "console.css", "/console.js": "console.js"}
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_console_pages(app: FastAPI) -> None:
    """Serve each file at its path, to every caller that reaches the port."""
    for path, name in STATIC_FILES.items():
        app.add_api_route(path, _of(name), methods=["GET"], include_in_schema=False)


def _of(name: str):  # type: ignore[no-untyped-def]  # FastAPI reads the inner function's signature
    async def page() -> FileResponse:
        return FileResponse(STATIC_FOLDER / name, headers=PAGE_HEADERS)

    return page
