"""The endpoint's HTTP routes, over a Gateway.

Written on FastAPI rather than on Ray's OpenAiIngress: that one imports vLLM (12 s and 600 MB), validates each body a
second time, allows every CORS origin, and keeps every unknown model name for ever.

Serve freezes the FastAPI application when it decorates the class: everything it needs has to stand above.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException

from serving.errors import ApiError, error_body
from serving.gateway import Gateway, GatewaySettings

app = FastAPI(title="Tandem", docs_url=None, redoc_url=None)
logger = logging.getLogger("ray.serve")


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


@serve.ingress(app)
class Endpoint:
    """The ingress deployment."""

    def __init__(
        self, settings: GatewaySettings, engines: dict[str, DeploymentHandle], retriever: DeploymentHandle | None
    ) -> None:
        self._gateway = Gateway(settings, engines, retriever)

    @app.post("/v1/chat/completions")
    async def chat(self, request: Request) -> Any:
        return await self._gateway.answer("chat", await request.body())

    @app.post("/v1/completions")
    async def completions(self, request: Request) -> Any:
        return await self._gateway.answer("completions", await request.body())

    @app.get("/v1/models")
    async def models(self) -> Any:
        return {"object": "list", "data": await self._gateway.models()}

    @app.get("/v1/models/{name}")
    async def model(self, name: str) -> Any:
        for card in await self._gateway.models():
            if card["id"] == name:
                return card
        raise ApiError(404, f"The model {name!r} is not served.", param="model", code="model_not_found")

    @app.get("/health")
    async def health(self) -> Any:
        await self._gateway.check_health()
        return {"status": "ok"}
