"""The console's real files with their real headers, in front of an endpoint that answers as it is told."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving.api.errors import error_body
from serving.gateway.console import PAGE_HEADERS, STATIC_FILES, STATIC_FOLDER

TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
MODELS = ["base", "base:helpdesk", "base:helpdesk@2", "base+docs", "base:helpdesk@2+docs", "embedding"]
EVIL = "<img src=x onerror=alert(1)>"
CITATIONS = [
    {"index": 1, "source": "docs/iron.md", "title": "Iron", "citation": "docs/iron.md, Iron", "score": 0.91,
     "cited": True, "text": f"The atomic number of Iron is 26. {EVIL}"},
    {"index": 2, "source": "docs/a-name-without-a-space-" + "x" * 120 + ".md", "title": "", "citation": "docs/x.md",
     "score": 0.5, "cited": False, "text": "Gold is a metal."},
]  # fmt: skip
REPORT = {
    "run": "compare-20261123T150000-abcdef", "created": "2026-11-23T15:00:00Z",
    "cells": [
        {"arm": "retrieval", "slice": "overall", "accuracy": {"share": 0.9, "low": 0.85, "high": 0.94, "n": 100}},
        {"arm": "hybrid", "slice": "overall", "accuracy": {"share": 0.8, "low": 0.71, "high": 0.87, "n": 100}},
        {"arm": "a-hosted-model-with-a-long-name", "slice": "overall",
         "accuracy": {"share": None, "low": None, "high": None, "n": 0}},
    ],
    "recommendation": {"headline": "Use retrieval.", "sentences": ["Base is behind on unseen."]},
}  # fmt: skip
ADAPTERS = [
    {"name": "helpdesk", "version": 2, "share": 100, "created": "2026-11-22T10:00:00Z"},
    {"name": "helpdesk", "version": 1, "share": 0, "created": "2026-11-01T10:00:00Z"},
]


class ConsoleServer(ThreadingHTTPServer):
    """`fails`: status and message by path. `holds`: the stream stops after its first words until it is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fails: dict[str, tuple[int, str]] = {}
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = threading.Event()
        self.breaks = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def console_server() -> Iterator[ConsoleServer]:
    server = ConsoleServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.goes_on.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ConsoleServer

    def do_GET(self) -> None:
        if self.path in STATIC_FILES:
            name = STATIC_FILES[self.path]
            self._send(
                200,
                (STATIC_FOLDER / name).read_bytes(),
                {"Content-Type": TYPES[name.rpartition(".")[2]], **PAGE_HEADERS},
            )
            return
        if self.path == "/favicon.ico":
            self._send(404, b"", {})
            return
        self.server.keys.append(self.headers["Authorization"])
        answers = {
            "/v1/models": {"data": [{"id": name} for name in MODELS]},
            "/v1/adapters": {"adapters": ADAPTERS},
            "/v1/report": REPORT,
        }
        self._answer(answers[self.path])

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        self.server.keys.append(self.headers["Authorization"])
        if self.path in self.server.fails:
            self._answer({})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self._stream(asked)
        except (BrokenPipeError, ConnectionResetError):
            self.server.gone.set()

    def _stream(self, asked: dict[str, Any]) -> None:
        model = asked["model"]
        self._event({"model": model, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        self._event({"model": model, "choices": [{"index": 0, "delta": {"content": "The number "}}]})
        while not self.server.goes_on.wait(0.05):
            self.wfile.write(b": waiting\n\n")
            self.wfile.flush()
        if self.server.breaks:
            self._event(error_body(503, "The engine is being replaced."))
            return
        self._event({"model": model, "choices": [{"index": 0, "delta": {"content": f"is 26 [1]. {EVIL}"}}]})
        last: dict[str, Any] = {"model": model, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        if "+" in model:
            last |= {"citations": CITATIONS, "retrieval": {"took_ms": 12.3}}
        self._event(last)
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()
        time.sleep(0.01)

    def _answer(self, body: dict[str, Any]) -> None:
        status, message = self.server.fails.get(self.path, (200, ""))
        content = json.dumps(error_body(status, message) if message else body).encode()
        self._send(status, content, {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""
