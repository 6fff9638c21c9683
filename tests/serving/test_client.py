"""The client against a server of a few lines: what it sends, what it reads, how it fails."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from serving.client import AskFailed, Citation, ask, ask_async, connect, connect_async, list_models

ANSWER: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "base:a@7+docs",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "26 [1]."}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    "citations": [
        {
            "id": "x",
            "index": 1,
            "source": "iron.md",
            "title": "Iron",
            "score": 0.9,
            "cited": True,
            "citation": "iron.md#0",
            "also_in": ["fe.md"],
        }
    ],
    "retrieval": {"collection": "docs", "took_ms": 7.5},
    "messages": [{"role": "user", "content": "?"}],
}


class Server(ThreadingHTTPServer):
    """Answers every request with `reply` and keeps the last body."""

    reply: tuple[int, Any] = (200, ANSWER)
    body: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def do_GET(self) -> None:
        status, reply = self.server.reply
        content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def test_an_answer_is_read_with_its_citations(server: Server) -> None:
    answer = ask(connect(server.url), "base:a+docs", "?", top_k=2, return_messages=True, seed=3)
    assert (answer.text, answer.model, answer.finish_reason) == ("26 [1].", "base:a@7+docs", "stop")
    assert answer.citations == [Citation("x", 1, "iron.md", "Iron", 0.9, True, "iron.md#0", ["fe.md"])]
    assert (answer.prompt_tokens, answer.completion_tokens) == (5, 3)
    assert answer.retrieval == {"collection": "docs", "took_ms": 7.5}
    assert answer.messages == [{"role": "user", "content": "?"}]
    assert answer.latency_s > 0
    assert server.body["retrieval"] == {"top_k": 2, "return_messages": True}
    assert server.body["seed"] == 3
    assert server.body["messages"] == [{"role": "user", "content": "?"}]


def test_a_plain_question_sends_nothing_of_ours(server: Server) -> None:
    server.reply = (200, {key: ANSWER[key] for key in ANSWER if key not in ("citations", "retrieval", "messages")})
    answer = ask(connect(server.url), "base", [{"role": "user", "content": "a"}])
    assert "retrieval" not in server.body
    assert (answer.citations, answer.retrieval, answer.messages) == ([], None, None)


def test_the_asynchronous_one_is_the_same(server: Server) -> None:
    async def both() -> Any:
        client = connect_async(server.url)
        try:
            return await ask_async(client, "base", "?")
        finally:
            await client.close()

    assert asyncio.run(both()).text == "26 [1]."


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_of_the_endpoint_keeps_its_words_and_status(server: Server, status: int) -> None:
    server.reply = (status, {"error": {"message": "no such thing", "type": "t", "param": None, "code": None}})
    with pytest.raises(AskFailed, match="no such thing") as failed:
        ask(connect(server.url), "base", "?")
    assert failed.value.status == status


def test_an_endpoint_that_is_not_there() -> None:
    with pytest.raises(AskFailed, match="could not be reached") as failed:
        ask(connect("http://127.0.0.1:9/v1"), "base", "?")
    assert failed.value.status is None


def test_an_endpoint_that_does_not_answer(server: Server) -> None:
    server.shutdown()
    with pytest.raises(AskFailed, match="in time"):
        ask(connect(server.url, timeout_s=0.2), "base", "?")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()


def test_models_are_listed(server: Server) -> None:
    server.reply = (200, {"object": "list", "data": [{"id": "base", "object": "model", "created": 1, "owned_by": "t"}]})
    assert list_models(connect(server.url)) == ["base"]
    server.reply = (500, b"no")
    with pytest.raises(AskFailed):
        list_models(connect(server.url))
