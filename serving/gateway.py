"""What the endpoint does with a request: names -> versions, retrieval around the engine, OpenAI's shapes out."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse, Response, StreamingResponse
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from starlette.types import Receive, Scope, Send

from cluster.digests import digest_json
from cluster.registry import AdapterVersion, Registry
from retrieval.hits import Hit
from retrieval.prompt import fit, render
from retrieval.rights import NOBODY, Rights
from serving.adapters import ServedBase, check_adapter, find_adapter
from serving.admission import Admission, Spending
from serving.citations import citations
from serving.engine import Kind
from serving.errors import ApiError
from serving.keys import Key, Keys
from serving.names import ModelName
from serving.request import Body, Request, last_question, parse_request
from serving.retriever import Retrieval
from serving.stream import relay

COLLECTIONS_TTL_S = 2.0
HEALTH_TIMEOUT_S = 5.0


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
    max_requests: int
    drain_s: float
    num_engines: int = 1
    """Replicas for each base model."""
    keys: Path | None = None
    """The folder of API keys; None lets everybody in."""


@dataclass(frozen=True)
class Prepared:
    """A request as the engine gets it, and what is added to its answer."""

    handle: DeploymentHandle
    body: Body
    public_name: str
    hits: list[Hit] | None
    extras: Body
    spending: Spending
    hides_usage: bool
    """Whether the engine was told to count tokens and the caller did not ask for it."""

    def fields(self, text: str) -> Body:
        """Fields of the answer that the engine knows nothing of; `text` is the whole answer."""
        cited = {} if self.hits is None else {"citations": citations(self.hits, text)}
        return cited | self.extras


class Streamed(StreamingResponse):  # type: ignore[misc]
    """Closes what it holds when it ends, however it ends, also where its client left before the first byte."""

    held: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.held:
            await super().__call__(scope, receive, send)


class Gateway:
    """Holds handles to the engines by base name, and to the retriever."""

    def __init__(
        self,
        settings: GatewaySettings,
        engines: dict[str, DeploymentHandle],
        retriever: DeploymentHandle | None,
        limiter: DeploymentHandle | None = None,
    ) -> None:
        self._settings, self._engines, self._retriever = settings, engines, retriever
        self._admission = Admission(settings.max_requests, Keys(settings.keys) if settings.keys else None, limiter)
        self._registry = Registry(settings.adapters)
        self._started = int(time.time())
        self._bases: dict[str, ServedBase] = {}
        self._handles: dict[tuple[str, str | None, bool], DeploymentHandle] = {}
        self._collections: tuple[float, list[str]] = (0.0, [])

    async def answer(self, kind: Kind, raw: bytes, authorization: str | None = None) -> Response:
        """The response to a request's body and its Authorization header. Raises ApiError."""
        key = self._admission.identify(authorization)
        async with AsyncExitStack() as held:
            self._admission.enter(held)
            response = await self._answer(kind, raw, key, held)
            if isinstance(response, Streamed):
                response.held = held.pop_all()
        return response

    async def drain(self) -> None:
        """Take no new request, and wait for those that are being answered."""
        await self._admission.drain(self._settings.drain_s)

    async def _answer(self, kind: Kind, raw: bytes, key: Key | None, held: AsyncExitStack) -> Response:
        deadline = asyncio.get_running_loop().time() + self._settings.request_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                request = parse_request(raw)
                spending = await self._admission.admit(key, request, held)
                prepared = await self._prepare(kind, request, key, spending)
                if request.stream:
                    return await self._streamed(kind, prepared, deadline, held)
                status, body = await self._whole(kind, prepared)
        except TimeoutError as error:
            raise ApiError(408, f"No answer within {self._settings.request_timeout_s:g} s.") from error
        except BackPressureError as error:
            raise ApiError(429, "Too many requests are waiting.", code="overloaded", retry_after_s=1) from error
        except (RayActorError, DeploymentUnavailableError) as error:
            raise ApiError(503, "The engine is being replaced.", code="engine_unavailable", retry_after_s=5) from error
        if status == 200:
            text = "\n".join(_choice_text(choice) for choice in body["choices"])
            spending.told = body["usage"]["total_tokens"]
            body = body | {"model": prepared.public_name} | prepared.fields(text)
        return JSONResponse(body, status)

    async def models(self, authorization: str | None = None) -> list[Body]:
        """Every name that the caller may ask for, in OpenAI's shape. Raises ApiError 401."""
        key = self._admission.identify(authorization)
        return [
            {"id": str(name), "object": "model", "created": self._started, "owned_by": "tandem"}
            for name in await self._names()
            if key is None or key.may_ask(name)
        ]

    async def check_health(self) -> None:
        """Raises ApiError 503 while an engine does not answer."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await asyncio.gather(*(engine.check_health.remote() for engine in self._engines.values()))
        except (TimeoutError, RayError, RayServeException) as error:
            raise ApiError(503, "An engine does not answer.", retry_after_s=1) from error

    async def _whole(self, kind: Kind, prepared: Prepared) -> tuple[int, Body]:
        """Where an engine dies, one of the others is asked once more: nothing has been sent yet."""
        try:
            answer: tuple[int, Body] = await prepared.handle.answer.remote(kind, prepared.body)
        except RayActorError:
            if self._settings.num_engines == 1:
                raise
            answer = await prepared.handle.answer.remote(kind, prepared.body)
        return answer

    async def _streamed(self, kind: Kind, prepared: Prepared, deadline: float, held: AsyncExitStack) -> Response:
        """A response that leaves `held` to be closed with it; the engine is told to stop where nobody listens."""
        items = prepared.handle.stream.remote(kind, prepared.body)
        held.callback(items.cancel)
        first = await anext(items)
        if not isinstance(first, str):
            status, body = first
            return JSONResponse(body, status)
        events = relay(_chained(first, items), prepared)
        return Streamed(_until(events, deadline), media_type="text/event-stream")

    async def _prepare(self, kind: Kind, request: Request, key: Key | None, spending: Spending) -> Prepared:
        name = request.name
        if name.base not in self._engines:
            raise ApiError(404, f"The model {str(name)!r} is not served.", param="model", code="model_not_found")
        engine_id = None
        if name.adapter:
            version = await self._adapter(name)
            name, engine_id = name.pinned(version.version), version.engine_id
        body = request.body | {"model": engine_id or name.base}
        hits: list[Hit] | None = None
        extras: Body = {}
        if name.collection:
            if kind == "completions":
                raise ApiError(400, "Retrieval needs chat messages: POST /v1/chat/completions.", param="model")
            rights = key.rights if key else NOBODY
            messages, hits, extras = await self._retrieved(request, name.collection, rights)
            body["messages"] = messages
        if request.return_messages:
            extras = extras | {"messages": body.get("messages")}
        if key and key.tenant:
            body["cache_salt"] = digest_json([key.tenant, body.get("cache_salt")])
        hides_usage = request.stream and not _wants_usage(body)
        if hides_usage:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        handle = self._handle(name.base, engine_id, request.stream)
        return Prepared(handle, body, str(name), hits, extras, spending, hides_usage)

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

    def _handle(self, base: str, engine_id: str | None, stream: bool) -> DeploymentHandle:
        """Serve routes by the adapter's id to a replica that holds it. Only ids of existing versions come here."""
        key = (base, engine_id, stream)
        if key not in self._handles:
            # Over gRPC: Ray makes an object of each item of a stream otherwise.
            self._handles[key] = self._engines[base].options(
                stream=stream, multiplexed_model_id=engine_id or "", _by_reference=False
            )
        return self._handles[key]

    async def _retrieved(self, request: Request, collection: str, rights: Rights) -> tuple[Any, list[Hit], Body]:
        messages: Any = request.body.get("messages")
        found = await self._search(collection, last_question(messages), request.top_k, rights)
        if found.status == 503 and self._settings.answer_without:
            return messages, [], {"retrieval": {"collection": collection, "failed": found.reason}}
        if found.status != 200:
            code = {404: "collection_not_found", 503: "retrieval_unavailable"}.get(found.status)
            raise ApiError(found.status, found.reason, param="model", code=code)
        hits = fit(found.hits, self._settings.prompt_tokens)
        told = {"collection": collection, **found.timings} | ({"missing": found.missing} if found.missing else {})
        return render(messages, hits), hits, {"retrieval": told}

    async def _search(self, collection: str, question: str, top_k: int | None, rights: Rights) -> Retrieval:
        if self._retriever is None:
            return Retrieval(404, f"There is no collection {collection!r}: this endpoint serves without retrieval.")
        try:
            async with asyncio.timeout(self._settings.retrieval_timeout_s):
                found: Retrieval = await self._retriever.search.remote(collection, question, top_k, rights)
                return found
        except (TimeoutError, RayActorError, DeploymentUnavailableError):
            return Retrieval(503, "Retrieval gave no answer in time. Ask again, or ask without a collection.")

    async def _names(self) -> list[ModelName]:
        names = [ModelName(base) for base in self._engines]
        for base in self._engines:
            served = await self._served_base(base)
            names += [ModelName(base, name) for name in self._registry.names() if self._fits(name, served)]
        collections = await self._known_collections()
        return names + [replace(name, collection=collection) for name in names for collection in collections]

    def _fits(self, adapter: str, base: ServedBase) -> bool:
        try:
            check_adapter(find_adapter(self._registry, adapter, None), base)
        except ApiError:
            return False
        return True

    async def _known_collections(self) -> list[str]:
        asked, known = self._collections
        if self._retriever is not None and time.monotonic() - asked > COLLECTIONS_TTL_S:
            known = await self._retriever.collections.remote() or []
            self._collections = (time.monotonic(), known)
        return known


def _wants_usage(body: Body) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _choice_text(choice: Body) -> str:
    return (choice.get("message") or {}).get("content") or choice.get("text") or ""


async def _chained(first: str, rest: DeploymentResponseGenerator[str]) -> AsyncGenerator[str]:
    yield first
    async for item in rest:
        yield item


async def _until(events: AsyncGenerator[str], deadline: float) -> AsyncGenerator[str]:
    try:
        async with asyncio.timeout_at(deadline), aclosing(events):
            async for event in events:
                yield event
    except TimeoutError:
        yield 'data: {"error": {"message": "No time left.", "type": "timeout_error", "param": null, "code": null}}\n\n'
