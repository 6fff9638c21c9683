"""Which answers of whatever listens at the endpoint's port are used for a search, and which are not."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from retrieval.filters.rights import NOBODY, Rights
from retrieval.search.search import digest_search_settings
from serving.config import ServingConfig
from tandem.pipeline import endpoint_search
from tandem.pipeline.endpoint_search import NotAnswered, search_at_endpoint
from tandem.project.project import Project, load
from tests.ports import free_port

HIT = {
    "title": "Iron", "text": "It is Fe.", "id": "id", "source": "iron.md", "position": 2, "score": 0.1 + 0.2,
    "scores": {"dense": 0.5, "bm25": None, "live": None, "fused": 0.3, "rerank": None}, "last": 3, "also_in": ["b.md"],
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    file = tmp_path / "tandem.yaml"
    file.write_text(
        f"model: tiny\nserving: {{port: {free_port()}}}\n"
        "retrieval: {sources: [docs], uri: 'http://127.0.0.1:1', collection: kb}\n"
    )
    (tmp_path / "docs").mkdir()
    return load(file)


@contextmanager
def listening(project: Project, answer: Callable[[dict[str, Any]], tuple[int, bytes]]) -> Iterator[list[Any]]:
    """A server at the project's port; yields the paths, headers and bodies that it is sent."""
    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent.append((self.path, self.headers.get("Authorization"), body))
            status, content = answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", project.serving.port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        server.shutdown()
        server.server_close()


def page(project: Project, **changed: Any) -> bytes:
    details = {
        "settings": digest_search_settings(project.retrieval, project.retrieval.uri), "tenant": None, "labels": [],
        "hits": [HIT], "missing": {"live": "Why."},
        "timings": {"took_ms": 9.0, "embed_ms": 4.0, "search_ms": 5.0, "index_ms": 3.0, "live_ms": 2.0},
    }  # fmt: skip
    return json.dumps({"data": [], "details": {**details, **changed}}).encode()


def test_an_answer_of_the_same_settings_and_rights_is_used(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_API_KEY", "secret")
    with listening(project, lambda _: (200, page(project, tenant="acme", labels=["b", "a"]))) as sent:
        result = search_at_endpoint(project, "Fe?", None, Rights("acme", frozenset({"a", "b"})), {"type": "eq"})
    [hit] = result.hits
    assert (hit.citation, hit.score, hit.also_in, hit.scores.fused) == ("iron.md#2-3", 0.1 + 0.2, ("b.md",), 0.3)
    assert result.timings == {"took_ms": 9.0, "embed_ms": 4.0, "search_ms": 5.0, "index_ms": 3.0, "live_ms": 2.0}
    assert result.missing == {"live": "Why."}
    body = {"query": "Fe?", "max_num_results": 3, "filters": {"type": "eq"}, "details": True}
    assert sent == [("/v1/vector_stores/kb/search", "Bearer secret", body)]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"settings": "other"}, "other settings"),
        ({"tenant": "acme"}, "another caller"),
        ({"labels": ["hr"]}, "another caller"),
        ({"hits": [{"id": "x"}]}, "something else"),
        ({"hits": None}, "something else"),
        ({"timings": {"new_ms": 1}}, "something else"),
    ],
)
def test_an_answer_that_this_process_would_not_give_is_not_used(
    project: Project, changed: dict[str, Any], reason: str
) -> None:
    with listening(project, lambda _: (200, page(project, **changed))), pytest.raises(NotAnswered, match=reason):
        search_at_endpoint(project, "Fe?", None, NOBODY)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"{}", b'{"details": 7}', b"\xff", b'{"data": []}', b"[" * 100_000],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_answer_of_an_endpoint_is_not_used(project: Project, content: bytes) -> None:
    with listening(project, lambda _: (200, content)), pytest.raises(NotAnswered):
        search_at_endpoint(project, "Fe?", None, NOBODY)


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500, 503])
def test_a_refusal_is_not_an_answer(project: Project, status: int) -> None:
    with listening(project, lambda _: (status, b"{}")), pytest.raises(NotAnswered, match=f"status {status}"):
        search_at_endpoint(project, "Fe?", None, NOBODY)


def test_an_endpoint_that_is_slow_or_not_there_is_not_waited_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotAnswered, match="did not answer"):
        search_at_endpoint(project, "Fe?", None, NOBODY)
    monkeypatch.setattr(endpoint_search, "ANSWER_S", 0.1)

    def late(_: Any) -> tuple[int, bytes]:
        time.sleep(0.5)
        return 200, page(project)

    with listening(project, late), pytest.raises(NotAnswered, match="did not answer"):
        search_at_endpoint(project, "Fe?", None, NOBODY)


def test_without_a_store_that_runs_or_with_too_many_passages_nobody_is_asked(project: Project) -> None:
    with listening(project, lambda _: (200, page(project))) as sent:
        with pytest.raises(NotAnswered, match="at most 50"):
            search_at_endpoint(project, "Fe?", 51, NOBODY)
        local = project.settings.model_copy(update={"retrieval": project.retrieval.model_copy(update={"uri": "local"})})
        with pytest.raises(NotAnswered, match="nothing uses"):
            search_at_endpoint(Project(project.path, local), "Fe?", None, NOBODY)
    assert not sent


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"),
        ("", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000"), ("localhost", "http://localhost:8000"),
    ],
)  # fmt: skip
def test_the_address_of_an_endpoint_on_this_machine(host: str, url: str) -> None:
    assert ServingConfig(host=host).own_url == url
