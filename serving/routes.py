"""The endpoint's HTTP routes, over a Gateway.

Written on FastAPI rather than on Ray's OpenAiIngress: that one imports vLLM (12 s and 600 MB), validates each body a
second time, allows every CORS origin, and keeps every unknown model name for ever.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from serving.errors import ApiError, error_body
from serving.gateway import Gateway

logger = logging.getLogger("ray.serve")


def make_app(gateway: Gateway) -> FastAPI:
    """The ASGI application."""
    app = FastAPI(title="Tandem", docs_url=None, redoc_url=None)

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

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Any:
        body, authorization = await request.body(), _authorization(request)
        return await while_connected(request, gateway.answer("chat", body, authorization))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        body, authorization = await request.body(), _authorization(request)
        return await while_connected(request, gateway.answer("completions", body, authorization))

    @app.get("/v1/models")
    async def models(request: Request) -> Any:
        return {"object": "list", "data": await gateway.models(_authorization(request))}

    @app.get("/v1/models/{name}")
    async def model(name: str, request: Request) -> Any:
        for card in await gateway.models(_authorization(request)):
            if card["id"] == name:
                return card
        raise ApiError(404, f"The model {name!r} is not served.", param="model", code="model_not_found")

    @app.get("/health")
    async def health() -> Any:
        await gateway.check_health()
        return {"status": "ok"}

    @app.get("/-/healthz")
    async def listens() -> Any:
        """Whether this machine takes requests, as Ray's own proxy tells it to Kubernetes."""
        return PlainTextResponse("success")

    return app


def _authorization(request: Request) -> str | None:
    found: str | None = request.headers.get("authorization")
    return found


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
