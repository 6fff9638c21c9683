"""The console's files, at `/`. They load nothing from elsewhere, and the browser is told to let them load nothing."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

CONSOLE = Path(__file__).parent / "console"
FILES = {"/": "index.html", "/console.css": "console.css", "/console.js": "console.js"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_pages(app: FastAPI) -> None:
    """Serve each file at its path; whoever may reach the port may read them."""
    for path, name in FILES.items():
        app.add_api_route(path, _of(name), methods=["GET"], include_in_schema=False)


def _of(name: str):  # type: ignore[no-untyped-def]  # FastAPI reads the inner function's signature
    async def page() -> FileResponse:
        return FileResponse(CONSOLE / name, headers=HEADERS)

    return page
