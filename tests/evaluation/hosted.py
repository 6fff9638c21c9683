"""A hosted model as they are: a real aiohttp server, whose handler sees each request with its headers and its body."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from evaluation.asking.responses.completions import Completion
from evaluation.asking.transport import EndpointClient
from evaluation.config import RequestSettings, Retries

BODY = {"model": "m", "messages": [{"role": "user", "content": "What?"}], "temperature": 0.0, "max_tokens": 64}


@dataclass
class Hosted:
    """A running server; `paths`, `bodies` and `headers` list the requests in their order."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0


Handler = Callable[[Hosted, dict[str, Any]], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[Hosted]:
    """A server on a free port, whose `url` has no path."""
    hosted = Hosted()

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        hosted.requests.append(request)
        hosted.paths.append(request.path_qs)
        hosted.bodies.append(body)
        hosted.headers.append(dict(request.headers))
        hosted.in_flight += 1
        hosted.most_in_flight = max(hosted.most_in_flight, hosted.in_flight)
        try:
            return await handler(hosted, body)
        finally:
            hosted.in_flight -= 1

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hosted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield hosted
    finally:
        await runner.cleanup()


def answer(text: str = "26", **changed: Any) -> web.Response:
    """A chat completion; `changed` are other fields of its body."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    return web.json_response({"model": "m-1", "choices": [choice], "usage": usage, **changed})


def error(status: int, message: str = "no", headers: dict[str, str] | None = None, **fields: Any) -> web.Response:
    """An error as OpenAI's endpoint sends it."""
    return web.json_response({"error": {"message": message, **fields}}, status=status, headers=headers)


def hang_up(hosted: Hosted) -> web.StreamResponse:
    """Break the connection of the last request."""
    transport = hosted.requests[-1].transport
    assert transport
    transport.abort() if isinstance(transport, asyncio.Transport) else transport.close()
    return web.Response()


def ask(
    handler: Handler,
    number: int = 1,
    *,
    concurrency: int = 16,
    path: str = "/v1",
    settings: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    timeout_s: float = 10.0,
    **retries: Any,
) -> tuple[list[Completion], Hosted]:
    """The replies to so many calls, as many as `concurrency` at once, and what the server saw."""

    async def run() -> tuple[list[Completion], Hosted]:
        async with serve(handler) as hosted:
            chosen = RequestSettings.model_validate(settings or {})
            client = EndpointClient(hosted.url + path, timeout_s, concurrency, chosen, retries=Retries(**retries))
            waiting, replies = iter(range(number)), []

            async def work() -> None:
                for _ in waiting:
                    replies.append(await client.complete(body or BODY))

            try:
                await asyncio.gather(*(work() for _ in range(concurrency)))
            finally:
                await client.close()
            return replies, hosted

    return asyncio.run(run())
