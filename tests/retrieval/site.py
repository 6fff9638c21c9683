"""A site made of files on loopback, with a sitemap."""

import threading
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve_folder(folder: Path, pages: Sequence[str]) -> str:
    """The address of a site with these files of `folder`, served until the process ends."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    write_sitemap(folder, url, pages)
    return url


def write_sitemap(folder: Path, url: str, pages: Sequence[str]) -> None:
    entries = "".join(f"<url><loc>{url}/{page}</loc></url>" for page in pages)
    (folder / "sitemap.xml").write_text(f"<urlset>{entries}</urlset>")
