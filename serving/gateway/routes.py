"""The endpoint's HTTP routes, over a Gateway, and the middleware in front of them.

Written on FastAPI rather than on Ray's OpenAiIngress: that one imports vLLM (12 s and 600 MB), validates each body a
second time, allows every CORS origin, and keeps every unknown model name for ever.

`AdmissionMiddleware` refuses a request unread where its key is unknown, where there is no room, or where its key has
sent too many. FastAPI's routing and error handling take longer than the refusal itself, and refusing has to stay cheap
when there are many requests.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.errors import ApiError, error_body
from serving.api.openapi import describe_api
from serving.api.requests import IncomingRequest, request_id
from serving.gateway.console import add_console_pages
from serving.gateway.gateway import Gateway
from serving.gateway.mcp import McpRoute

logger = logging.getLogger("ray.serve")


def make_app(gateway: Gateway) -> FastAPI:
    """The ASGI application."""
    app = FastAPI(title="Tandem", docs_url=None, redoc_url=None)

    app.add_middleware(AdmissionMiddleware, gateway=gateway)
    app.add_middleware(RequestIdMiddleware)

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        logger.error("a request failed", exc_info=error)
        return JSONResponse(error_body(500, "The server failed. Its log says why."), 500)

    @app.post("/v1/chat/completions", **describe_api("chat"))
    async def chat(request: Request) -> Any:
        return await while_connected(request, gateway.answer("chat", await _sent(request)))

    @app.post("/v1/completions", **describe_api("completions"))
    async def completions(request: Request) -> Any:
        return await while_connected(request, gateway.answer("completions", await _sent(request)))

    @app.post("/v1/embeddings", **describe_api("embeddings"))
    async def embeddings(request: Request) -> Any:
        return await gateway.call("embeddings", gateway.services.embeddings, await _sent(request))

    @app.post("/v1/vector_stores/{collection}/search", **describe_api("search"))
    async def search(collection: str, request: Request) -> Any:
        return await gateway.call("search", partial(gateway.services.search, collection), await _sent(request))

    @app.post("/v1/rerank", **describe_api("rerank"))
    async def rerank(request: Request) -> Any:
        return await gateway.call("rerank", gateway.services.rerank, await _sent(request))

    @app.post("/v1/score", **describe_api("score"))
    async def score(request: Request) -> Any:
        return await gateway.call("score", gateway.services.score, await _sent(request))

    @app.post("/tokenize", **describe_api("tokenize"))
    async def tokenize(request: Request) -> Any:
        return await gateway.call("tokenize", partial(gateway.generation.tokens, "tokenize"), await _sent(request))

    @app.post("/detokenize", **describe_api("detokenize"))
    async def detokenize(request: Request) -> Any:
        return await gateway.call("detokenize", partial(gateway.generation.tokens, "detokenize"), await _sent(request))

    @app.post("/v1/feedback", **describe_api("feedback"))
    async def feedback(request: Request) -> Any:
        return await gateway.rate(await _sent(request))

    @app.get("/v1/models")
    async def models(request: Request) -> Any:
        return {"object": "list", "data": await gateway.models(_authorization(request))}

    @app.get("/v1/models/{name}")
    async def model(name: str, request: Request) -> Any:
        for card in await gateway.models(_authorization(request)):
            if card["id"] == name:
                return card
        raise ApiError(404, f"The model {name!r} is not served.", param="model", code="model_not_found")

    @app.get("/v1/adapters")
    async def adapters(request: Request) -> Any:
        return {"adapters": await gateway.adapters(_authorization(request))}

    @app.get("/v1/report")
    async def report(request: Request) -> Any:
        return Response(await gateway.report(_authorization(request)), media_type="application/json")

    @app.get("/health")
    async def health() -> Any:
        await gateway.check_health()
        return {"status": "ok"}

    @app.get("/-/healthz")
    async def listens() -> Any:
        """Whether this machine takes requests, as Ray's own proxy tells it to Kubernetes."""
        return PlainTextResponse("success")

    # Not by a decorator: it is an application of its own, and no part of the OpenAI-compatible API.
    app.router.routes.append(Route("/mcp", McpRoute(gateway), methods=["GET", "POST", "DELETE"]))
    add_console_pages(app)
    return app


class RequestIdMiddleware:
    """Gives each request an id, by which it is logged, and sends it back in `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id = request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["id"] = id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = id
            await send(message)

        await self._app(scope, receive, send_with_id)


async def _sent(request: Request) -> IncomingRequest:
    peer = request.client.host if request.client else ""
    traceparent = request.headers.get("traceparent")
    return IncomingRequest(await request.body(), _authorization(request), peer, request.state.id, traceparent)


def _authorization(request: Request) -> str | None:
    header: str | None = request.headers.get("authorization")
    return header


async def while_connected(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
    """The response; a client that goes away before there is one cancels what is computed for it."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            return Response(status_code=499)
        return await answering
    finally:
        leaving.cancel()
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await leaving


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


ROUTE_KINDS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/v1/score": "score",
}


class AdmissionMiddleware:
    """ASGI middleware before everything that reads a request; the ids of requests are given before it."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app, self._gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = ROUTE_KINDS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        error = self._gateway.turn_away(kind, _unread(scope)) if kind else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse(error.body(), error.status, error.headers)(scope, receive, send)


def _unread(scope: Scope) -> IncomingRequest:
    """The request without its body, which has not been read."""
    headers, peer = Headers(scope=scope), scope.get("client")
    return IncomingRequest(b"", headers.get("authorization"), peer[0] if peer else "", scope["state"]["id"])
