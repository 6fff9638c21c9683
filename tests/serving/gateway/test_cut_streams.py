"""A streamed answer whose engine goes away: before it has begun, and in the middle."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from serving.api.errors import ApiError
from serving.api.requests import IncomingRequest
from serving.gateway.gateway import Gateway
from tests.serving.gateway.test_gateway import RAW, settings_of


class Events:
    """A stream of Serve's: items, or the error that it ends with."""

    def __init__(self, *items: Any) -> None:
        self._items = iter(items)

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Any:
        item = next(self._items, None)
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise StopAsyncIteration
        return item

    def cancel(self) -> None:
        pass


CHUNK = 'data: {"id": "c", "model":"base", "choices": [{"delta": {"content": "It"}}]}\n\n'
GONE = (503, {"error": {"message": "gone", "code": "engine_unavailable"}})


def streamed(*streams: Events, num_engines: int = 2) -> str:
    """The whole of a streamed answer; each stream is what one engine says that is asked."""
    waiting = iter(streams)
    engine = SimpleNamespace(stream=SimpleNamespace(remote=lambda *_: next(waiting)))
    engine.options = lambda **_: engine

    async def ask() -> str:
        gateway = Gateway(settings_of(num_engines=num_engines), {"base": engine}, None)  # type: ignore[dict-item]
        response = await gateway.answer(
            "chat", IncomingRequest(json.dumps({**json.loads(RAW), "stream": True}).encode())
        )
        sent: list[str] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message.get("body", b"").decode())

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        return "".join(sent)

    return asyncio.run(ask())


def test_a_stream_that_has_not_begun_is_asked_of_another_engine() -> None:
    assert '"It"' in streamed(Events(RayActorError()), Events(CHUNK, "data: [DONE]\n\n"))
    with pytest.raises(ApiError, match="replaced"):
        streamed(Events(RayActorError()), Events(CHUNK), num_engines=1)
    with pytest.raises(ApiError, match="replaced"):
        streamed(Events(RayActorError()), Events(RayActorError()))


@pytest.mark.parametrize("end", [RayActorError(), GONE], ids=["its process is lost", "its engine has stopped"])
def test_a_stream_that_is_cut_says_so(end: Any) -> None:
    said = streamed(Events(CHUNK, end))
    assert '"It"' in said and '"engine_unavailable"' in said.rpartition("data: ")[2] and "[DONE]" not in said
