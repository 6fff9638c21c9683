"""A server of the part of Elasticsearch's and OpenSearch's protocol that is used, over real sockets.

Documents are ranked by bm25s, filters are evaluated, requests that either engine would refuse are refused.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import bm25s
import numpy as np

Json = dict[str, Any]


@dataclass
class Engine:
    """Its documents by id, what it was asked, and how it misbehaves."""

    documents: dict[str, Json]
    key: str = ""
    """The Authorization header that it wants."""
    delay_s: float = 0.0
    status: int = 200
    raw: bytes | None = None
    """Sent instead of an answer."""
    obeys: bool = True
    """Whether it applies filters: an engine with other field types may let more through."""
    asked: list[Json] = field(default_factory=list)
    url: str = ""

    def search(self, body: Json) -> Json:
        query = body["query"]["bool"]
        (must,) = query["must"]
        assert set(body) == {"size", "track_total_hits", "timeout", "_source", "query", "highlight"}
        assert set(must) == {"multi_match"} and set(must["multi_match"]) == {"query", "fields"}
        scores = self._scores(must["multi_match"]["query"], must["multi_match"]["fields"])
        hits = []
        for number in np.argsort(-scores, kind="stable"):
            key, document = list(self.documents.items())[number]
            if scores[number] > 0 and (not self.obeys or all(matches(each, document) for each in query["filter"])):
                hits.append(self._hit(key, document, float(scores[number]), body))
        return {"took": 1, "timed_out": False, "hits": {"hits": hits[: body["size"]]}}

    def _scores(self, question: str, fields: list[str]) -> Any:
        texts = [" ".join(str(document.get(name, "")) for name in fields) for document in self.documents.values()]
        words = [re.findall(r"\w+", text.lower()) for text in texts]
        retriever = bm25s.BM25(method="lucene")
        retriever.index(words, show_progress=False)
        known = [word for word in re.findall(r"\w+", question.lower()) if word in retriever.vocab_dict]
        return retriever.get_scores(known) if known else np.zeros(len(texts))

    def _hit(self, key: str, document: Json, score: float, body: Json) -> Json:
        source = {name: document[name] for name in body["_source"] if name in document}
        return {"_index": "docs", "_id": key, "_score": score, "_source": source}


def matches(query: Json, document: Json) -> bool:
    """Whether a document passes a filter; fields are of the engine's type `keyword` or numbers."""
    ((kind, inner),) = query.items()
    if kind == "bool":
        assert set(inner) <= {"filter", "should", "must_not", "minimum_should_match"}
        return (
            all(matches(each, document) for each in inner.get("filter", []))
            and not any(matches(each, document) for each in inner.get("must_not", []))
            and ("should" not in inner or any(matches(each, document) for each in inner["should"]))
        )
    if kind == "exists":
        return document.get(inner["field"]) not in (None, [])
    ((name, wanted),) = inner.items()
    values = document.get(name)
    values = values if isinstance(values, list) else [] if values is None else [values]
    if kind == "term":
        return wanted["value"] in values
    if kind == "terms":
        return any(value in wanted for value in values)
    assert kind == "range", kind
    ((operator, bound),) = wanted.items()
    compare = {"lt": "__lt__", "lte": "__le__", "gt": "__gt__", "gte": "__ge__"}[operator]
    return any(getattr(float(value), compare)(float(bound)) for value in values)


@contextmanager
def serving(engine: Engine) -> Iterator[Engine]:
    """The engine on loopback; `engine.url` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            engine.asked.append({"path": self.path, "body": body, "key": self.headers.get("Authorization", "")})
            time.sleep(engine.delay_s)
            if self.path != "/docs/_search":
                return self._send(404, b'{"error": {"type": "index_not_found_exception"}}')
            if engine.key and self.headers.get("Authorization") != engine.key:
                return self._send(401, b'{"error": {"type": "security_exception"}}')
            return self._send(engine.status, engine.raw or json.dumps(engine.search(body)).encode())

        def _send(self, status: int, answer: bytes) -> None:
            with suppress(ConnectionError):  # nobody waits any more
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    engine.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
