"""What is refused before it is read: over real HTTP, with an engine that is never asked."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.types import Message

from serving.access.keys import Keys, Limits
from serving.access.limiter import Refusal
from serving.gateway.endpoint import Listener
from serving.gateway.gateway import Gateway
from serving.gateway.generation import StreamedAnswer
from serving.gateway.routes import make_app
from serving.gateway.settings import GatewaySettings
from tests.serving.gateway.test_gateway import Handle, answered, settings_of

QUESTION = {"model": "base", "messages": [{"role": "user", "content": "Iron?"}]}
MEGABYTE = {"model": "base", "messages": [{"role": "user", "content": "Iron? " * 200_000}]}


def over_http(gateway: Callable[[], Gateway], ask: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    """`ask` with a client of a gateway that listens."""

    async def run() -> None:
        listener = Listener(make_app(gateway()), "127.0.0.1", 0)
        port = listener._socket.getsockname()[1]
        await listener.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                await ask(client)
        finally:
            await listener.stop()

    asyncio.run(run())


def gateway_of(engine: Handle, limiter: Handle | None = None, **settings: Any) -> Callable[[], Gateway]:
    known: GatewaySettings = settings_of(**settings)
    return lambda: Gateway(known, {"base": engine}, None, limiter)  # type: ignore[dict-item, arg-type]


def test_no_room_is_refused_unread_and_the_connection_goes_on() -> None:
    free = SimpleNamespace(event=asyncio.Event)

    async def answer(*_: Any) -> Any:
        await free.event.wait()
        return answered("chat", {"model": "base"}, {})

    engine = Handle(answer=answer)

    async def ask(client: httpx.AsyncClient) -> None:
        free.event = asyncio.Event()
        first = asyncio.ensure_future(client.post("/v1/chat/completions", json=QUESTION))
        while not engine.asked:
            await asyncio.sleep(0.01)
        for body in (QUESTION, MEGABYTE, {"nonsense": True}):
            refused = await client.post("/v1/chat/completions", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
            assert refused.headers["retry-after"] == "1" and 1000 <= int(refused.headers["retry-after-ms"]) < 2000
            assert refused.headers["x-request-id"]
        assert (await client.get("/-/healthz")).status_code == 200
        free.event.set()
        assert (await first).status_code == 200
        assert (await client.post("/v1/chat/completions", json=QUESTION)).status_code == 200

    over_http(gateway_of(engine, max_requests=1), ask)
    assert len(engine.asked) == 2


def test_those_who_are_refused_together_do_not_come_back_together() -> None:
    waits: set[str] = set()

    async def ask(client: httpx.AsyncClient) -> None:
        for _ in range(20):
            waits.add((await client.post("/v1/completions", json=QUESTION)).headers["retry-after-ms"])

    over_http(gateway_of(Handle(answer=answered), max_requests=0), ask)
    assert len(waits) > 10


def test_an_unknown_key_and_one_that_has_to_wait_are_refused_and_logged(tmp_path: Path) -> None:
    key, secret = Keys(tmp_path / "keys").create("x", limits=Limits(requests_per_minute=1))
    limiter = Handle(admit=lambda *_: Refusal("This key may send 1 requests a minute", 30, "requests_per_minute"))
    known = {"authorization": f"Bearer {secret}"}

    async def ask(client: httpx.AsyncClient) -> None:
        for headers, status, code in (
            ({}, 401, "invalid_api_key"),
            ({"authorization": "Bearer tdm_nobody"}, 401, "invalid_api_key"),
            (known, 429, "rate_limit_exceeded"),
            (known, 429, "rate_limit_exceeded"),
        ):
            refused = await client.post("/v1/chat/completions", json=QUESTION, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)

    over_http(gateway_of(Handle(), limiter, keys=tmp_path / "keys", logs=tmp_path / "logs"), ask)
    assert len(limiter.asked) == 1, "the second time it is the door that refuses"
    (log,) = (tmp_path / "logs").glob("access-*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["status"], line["key"]) for line in lines] == [(401, None)] * 2 + [(429, key.id)] * 2
    assert secret not in log.read_text()


def test_a_place_is_free_before_the_last_byte_is_sent() -> None:
    order: list[str] = []

    async def send(message: Message) -> None:
        order.append("more" if message.get("more_body") else message["type"])

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def tokens() -> AsyncGenerator[str]:
        yield "data: 26\n\n"

    async def respond() -> None:
        response = StreamedAnswer(tokens())
        response.held = AsyncExitStack()
        response.held.callback(order.append, "place is free")
        await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)

    asyncio.run(respond())
    assert order == ["http.response.start", "more", "place is free", "http.response.body"]
