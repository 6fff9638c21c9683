"""The endpoint's HTTP face: names -> versions, retrieval around the engine, OpenAI's shapes out.

It is written on Serve and FastAPI rather than on Ray's OpenAiIngress: that one imports vLLM (12 s and 600 MB), parses
and validates each body a second time, allows every CORS origin, and keeps every unknown model name for ever.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException

from cluster.registry import AdapterVersion, Registry
from retrieval.prompt import fit, render
from retrieval.search import Hit
from serving.adapters import ServedBase, check_adapter, find_adapter
from serving.citations import citations
from serving.engine import Kind
from serving.errors import ApiError, error_body
from serving.names import ModelName
from serving.request import Body, Request, last_question, parse_request
from serving.retriever import Retrieval
from serving.stream import relay

COLLECTIONS_TTL_S = 2.0
HEALTH_TIMEOUT_S = 5.0

app = FastAPI(title="Tandem", docs_url=None, redoc_url=None)
logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway knows without asking anyone. `bases` has the digest of each base model by its name."""

    bases: dict[str, str]
    adapters: Path
    max_lora_rank: int
    request_timeout_s: float
    answer_without: bool
    prompt_tokens: int
    retrieval_timeout_s: float


@dataclass(frozen=True)
class Prepared:
    """A request as the engine gets it, and what is added to its answer."""

    handle: DeploymentHandle
    body: Body
    public_name: str
    hits: list[Hit] | None
    extras: Body

    def fields(self, text: str) -> Body:
        """Fields of the answer that the engine knows nothing of; `text` is the whole answer."""
        cited = {} if self.hits is None else {"citations": citations(self.hits, text)}
        return cited | self.extras


@serve.ingress(app)
class Gateway:
    """One per application; holds handles to the engines by base name, and to the retriever."""

    def __init__(
        self, settings: GatewaySettings, engines: dict[str, DeploymentHandle], retriever: DeploymentHandle | None
    ) -> None:
        self._settings, self._engines, self._retriever = settings, engines, retriever
        self._registry = Registry(settings.adapters)
        self._started = int(time.time())
        self._bases: dict[str, ServedBase] = {}
        self._adapter_handles: dict[str, DeploymentHandle] = {}
        self._collections: tuple[float, list[str]] = (0.0, [])

    @app.post("/v1/chat/completions")
    async def chat(self, http: HttpRequest) -> Any:
        return await self._answer("chat", http)

    @app.post("/v1/completions")
    async def completions(self, http: HttpRequest) -> Any:
        return await self._answer("completions", http)

    @app.get("/v1/models")
    async def models(self) -> Any:
        return {"object": "list", "data": [_card(name, created) for name, created in await self._names()]}

    @app.get("/v1/models/{name}")
    async def model(self, name: str) -> Any:
        for known, created in await self._names():
            if known == name:
                return _card(name, created)
        raise ApiError(404, f"The model {name!r} is not served.", param="model", code="model_not_found")

    @app.get("/health")
    async def health(self) -> Any:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await asyncio.gather(*(engine.check_health.remote() for engine in self._engines.values()))
        except (TimeoutError, RayError, RayServeException) as error:
            raise ApiError(503, "An engine does not answer.", retry_after_s=1) from error
        return {"status": "ok"}

    async def _answer(self, kind: Kind, http: HttpRequest) -> Any:
        deadline = asyncio.get_running_loop().time() + self._settings.request_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                prepared, request = await self._prepare(kind, parse_request(await http.body()))
                if request.stream:
                    return await self._streamed(kind, prepared, deadline)
                status, body = await prepared.handle.answer.remote(kind, prepared.body)
        except TimeoutError as error:
            raise ApiError(408, f"No answer within {self._settings.request_timeout_s:g} s.") from error
        except BackPressureError as error:
            raise ApiError(429, "Too many requests are waiting.", code="overloaded", retry_after_s=1) from error
        except (RayActorError, DeploymentUnavailableError) as error:
            raise ApiError(503, "The engine is being replaced.", code="engine_unavailable", retry_after_s=5) from error
        if status == 200:
            text = "\n".join(_choice_text(choice) for choice in body["choices"])
            body = body | {"model": prepared.public_name} | prepared.fields(text)
        return JSONResponse(body, status)

    async def _streamed(self, kind: Kind, prepared: Prepared, deadline: float) -> Any:
        items = prepared.handle.options(stream=True).stream.remote(kind, prepared.body)
        first = await anext(items)
        if not isinstance(first, str):
            status, body = first
            return JSONResponse(body, status)
        events = relay(_chained(first, items), prepared.body["model"], prepared.public_name, prepared.fields)
        return StreamingResponse(_until(events, deadline), media_type="text/event-stream")

    async def _prepare(self, kind: Kind, request: Request) -> tuple[Prepared, Request]:
        name = request.name
        if name.base not in self._engines:
            raise ApiError(404, f"The model {str(name)!r} is not served.", param="model", code="model_not_found")
        handle, engine_name = self._engines[name.base], name.base
        if name.adapter:
            version = await self._adapter(name)
            name, engine_name = name.pinned(version.version), version.engine_id
            handle = self._adapter_handle(name.base, engine_name)
        body = request.body | {"model": engine_name}
        hits: list[Hit] | None = None
        extras: Body = {}
        if name.collection:
            if kind == "completions":
                raise ApiError(400, "Retrieval needs chat messages: POST /v1/chat/completions.", param="model")
            messages, hits, extras = await self._retrieved(request, name.collection)
            body["messages"] = messages
        if request.return_messages:
            extras = extras | {"messages": body.get("messages")}
        return Prepared(handle, body, str(name), hits, extras), request

    async def _adapter(self, name: ModelName) -> AdapterVersion:
        assert name.adapter
        found = find_adapter(self._registry, name.adapter, name.version)
        check_adapter(found, await self._served_base(name.base))
        return found

    async def _served_base(self, base: str) -> ServedBase:
        if base not in self._bases:
            template_hash = await self._engines[base].template_hash.remote()
            digest = self._settings.bases[base]
            self._bases[base] = ServedBase(base, digest, template_hash, self._settings.max_lora_rank)
        return self._bases[base]

    def _adapter_handle(self, base: str, engine_id: str) -> DeploymentHandle:
        """Serve routes by the adapter's id to a replica that holds it. Only ids of existing versions come here."""
        if engine_id not in self._adapter_handles:
            self._adapter_handles[engine_id] = self._engines[base].options(multiplexed_model_id=engine_id)
        return self._adapter_handles[engine_id]

    async def _retrieved(self, request: Request, collection: str) -> tuple[Any, list[Hit], Body]:
        messages: Any = request.body.get("messages")
        found = await self._search(collection, last_question(messages), request.top_k)
        if found.status == 503 and self._settings.answer_without:
            return messages, [], {"retrieval": {"collection": collection, "failed": found.reason}}
        if found.status != 200:
            code = {404: "collection_not_found", 503: "retrieval_unavailable"}.get(found.status)
            raise ApiError(found.status, found.reason, param="model", code=code)
        hits = fit(found.hits, self._settings.prompt_tokens)
        return render(messages, hits), hits, {"retrieval": {"collection": collection, **found.timings}}

    async def _search(self, collection: str, question: str, top_k: int | None) -> Retrieval:
        if self._retriever is None:
            return Retrieval(404, f"There is no collection {collection!r}: this endpoint serves without retrieval.")
        try:
            async with asyncio.timeout(self._settings.retrieval_timeout_s):
                found: Retrieval = await self._retriever.search.remote(collection, question, top_k)
                return found
        except (TimeoutError, RayActorError, DeploymentUnavailableError):
            return Retrieval(503, "Retrieval gave no answer in time. Ask again, or ask without a collection.")

    async def _names(self) -> list[tuple[str, int]]:
        """Every name that can be asked for, with the time since when."""
        names = [(ModelName(base), self._started) for base in self._engines]
        for base in self._engines:
            served = await self._served_base(base)
            names += [(ModelName(base, version.name), created) for version, created in self._live_adapters(served)]
        collections = await self._known_collections()
        names += [(ModelName(n.base, n.adapter, None, c), created) for n, created in names for c in collections]
        return [(str(name), created) for name, created in names]

    def _live_adapters(self, base: ServedBase) -> list[tuple[AdapterVersion, int]]:
        found = []
        for name in self._registry.names():
            try:
                version = find_adapter(self._registry, name, None)
                check_adapter(version, base)
            except ApiError:
                continue
            found.append((version, self._started))
        return found

    async def _known_collections(self) -> list[str]:
        asked, known = self._collections
        if self._retriever is not None and time.monotonic() - asked > COLLECTIONS_TTL_S:
            known = await self._retriever.collections.remote() or []
            self._collections = (time.monotonic(), known)
        return known


@app.exception_handler(ApiError)
async def _api_error(_: HttpRequest, error: ApiError) -> JSONResponse:
    return JSONResponse(error.body(), error.status, error.headers)


@app.exception_handler(HTTPException)
async def _http_error(_: HttpRequest, error: HTTPException) -> JSONResponse:
    return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code)


@app.exception_handler(Exception)
async def _unexpected(_: HttpRequest, error: Exception) -> JSONResponse:
    logger.error("a request failed", exc_info=error)
    return JSONResponse(error_body(500, "The server failed. Its log says why."), 500)


def _card(name: str, created: int) -> Body:
    return {"id": name, "object": "model", "created": created, "owned_by": "tandem"}


def _choice_text(choice: Body) -> str:
    return (choice.get("message") or {}).get("content") or choice.get("text") or ""


async def _chained(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for item in rest:
        yield item


async def _until(events: AsyncIterator[str], deadline: float) -> AsyncIterator[str]:
    try:
        async with asyncio.timeout_at(deadline):
            async for event in events:
                yield event
    except TimeoutError:
        yield 'data: {"error": {"message": "No time left.", "type": "timeout_error", "param": null, "code": null}}\n\n'
