"""Text from an engine: names -> versions, retrieval around the engine, OpenAI's shapes out."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse, Response, StreamingResponse
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from starlette.types import Message, Receive, Scope, Send

from cluster.fingerprints.digests import digest_json
from cluster.registry.versions import AdapterManifest
from retrieval.filters.rights import NOBODY, Rights
from retrieval.prompt import fit, render
from retrieval.search.hits import Hit
from serving.access.admission import AccessRequest
from serving.access.keys import Key
from serving.access.token_usage import TokenUsage
from serving.api.errors import ApiError, error_body
from serving.api.requests import Body, GenerationRequest, check_template_arguments, parse_model_name, search_query
from serving.engine.engine import ENGINE_STOPPED, Kind
from serving.gateway.served_models import ServedModels
from serving.gateway.services import ServiceCall, Services, raise_for_status
from serving.gateway.settings import GatewaySettings
from serving.gateway.stream import citations, relay_stream
from serving.gateway.telemetry import tracing
from serving.gateway.telemetry.record import RequestRecord


@dataclass(frozen=True)
class PreparedRequest:
    """A request as the engine gets it, and what is added to its answer."""

    handle: DeploymentHandle
    body: Body
    public_name: str
    hits: list[Hit] | None
    extras: Body
    record: RequestRecord
    token_usage: TokenUsage
    with_passages: bool
    hides_usage: bool
    """Whether the engine was told to count tokens and the caller did not ask for it."""

    def began(self, answer_id: str) -> None:
        """The answer's id is known."""
        self.record.answer_id = answer_id

    def fields(self, text: str) -> Body:
        """Fields of the answer that the engine knows nothing of; `text` is the whole answer."""
        self.record.answer = text
        cited = {} if self.hits is None else {"citations": citations(self.hits, text, self.with_passages)}
        return cited | self.extras


class StreamedAnswer(StreamingResponse):  # type: ignore[misc]
    """Closes what it holds when it ends, however it ends, also where its client left before the first byte."""

    held: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await self.held.aclose()  # before the last byte: whoever has that may ask again at once
            await send(message)

        async with self.held:
            await super().__call__(scope, receive, send_on)


class Generation:
    """Asks the engines."""

    def __init__(self, settings: GatewaySettings, bases: ServedModels, services: Services) -> None:
        self._settings, self._bases, self._services = settings, bases, services

    async def answer(
        self, kind: Kind, request: GenerationRequest, record: RequestRecord, deadline: float, held: AsyncExitStack
    ) -> Response:
        """The engine's answer with what is ours. A stream takes what is in `held` with it.

        Raises:
            ApiError: the request is refused.
        """
        prepared = await self._prepare(kind, request, record)
        if request.stream:
            return await self._streamed(kind, prepared, deadline, held)
        with ExitStack() as until:
            headers = tracing.enter_span(record.span, "engine", until)
            status, body = await self._whole(kind, prepared, headers)
        if status == 200:
            text = "\n".join(_choice_text(choice) for choice in body["choices"])
            prepared.token_usage.reported, record.answer_id = body["usage"]["total_tokens"], body["id"]
            body = body | {"model": prepared.public_name} | prepared.fields(text)
        return JSONResponse(body, status)

    def tokens(self, kind: Kind, body: Body) -> ServiceCall:
        """Text into tokens and back, by the tokenizer of a base model; its adapters have the same."""
        name = parse_model_name(body.get("model"))
        check_template_arguments(body)
        self._bases.check(name)
        if name.collection:
            raise ApiError(400, "Tokens are a model's: leave the collection out.", param="model")

        async def run(_: Rights) -> Body:
            engine, defaults = self._bases.engine(name.base, None, stream=False), {}
            if name.adapter and "messages" in body:
                defaults = template_defaults((await self._bases.adapter(name, "")).manifest, body)
            status, answer = await engine.answer.remote(kind, body | {"model": name.base} | defaults, {})
            if status != 200:
                raise ApiError(status, answer["error"]["message"], param=answer["error"]["param"])
            tokens: Body = answer
            return tokens

        return ServiceCall(AccessRequest(str(name), name.model, None, TokenUsage.of_texts([])), run)

    async def _whole(self, kind: Kind, prepared: PreparedRequest, headers: dict[str, str]) -> tuple[int, Body]:
        """Where an engine dies, one of the others is asked once more: nothing has been sent yet."""
        try:
            answer: tuple[int, Body] = await prepared.handle.answer.remote(kind, prepared.body, headers)
        except RayActorError:
            if self._settings.num_engines == 1:
                raise
            answer = await prepared.handle.answer.remote(kind, prepared.body, headers)
        return answer

    async def _streamed(self, kind: Kind, prepared: PreparedRequest, deadline: float, held: AsyncExitStack) -> Response:
        """A response that leaves `held` to be closed with it; the engine is told to stop where nobody listens."""
        headers = tracing.enter_span(prepared.record.span, "engine", held)
        try:
            first, items = await self._begun(kind, prepared, headers, held)
        except RayActorError:
            if self._settings.num_engines == 1:
                raise
            first, items = await self._begun(kind, prepared, headers, held)
        if not isinstance(first, str):
            status, body = first
            return JSONResponse(body, status)
        events = relay_stream(_chained(first, items), prepared)
        return StreamedAnswer(_until(events, deadline), media_type="text/event-stream")

    async def _begun(
        self, kind: Kind, prepared: PreparedRequest, headers: dict[str, str], held: AsyncExitStack
    ) -> "tuple[tuple[int, Body] | str, DeploymentResponseGenerator[tuple[int, Body] | str]]":
        """The first item of a stream, and those that follow."""
        items = prepared.handle.stream.remote(kind, prepared.body, headers)
        held.callback(items.cancel)
        return await anext(items), items

    async def _prepare(self, kind: Kind, request: GenerationRequest, record: RequestRecord) -> PreparedRequest:
        name, key = request.name, record.key
        self._bases.check(name)
        engine_id, defaults, stops = None, {}, tuple[int, ...]()
        if name.adapter:
            version = await self._bases.adapter(name, caller(request.body, record))
            name, engine_id, stops = name.pinned(version.version), version.engine_id, version.manifest.stop_token_ids
            defaults = template_defaults(version.manifest, request.body)
        record.model = name.pinned_model
        body = end_where_taught(request.body, stops) | {"model": engine_id or name.base}
        if kind == "chat":
            body |= defaults
            record.shown = {name: body[name] for name in ("tools", "chat_template_kwargs") if body.get(name)}
        hits: list[Hit] | None = None
        extras: Body = {}
        if name.collection:
            if kind == "completions":
                raise ApiError(400, "Retrieval needs chat messages: POST /v1/chat/completions.", param="model")
            messages, hits, extras = await self._retrieved(request, name.collection, record)
            body["messages"] = messages
        if request.return_messages:
            extras = extras | {"messages": body.get("messages")}
        if key and key.tenant:
            body["cache_salt"] = digest_json([key.tenant, body.get("cache_salt")])
        hides_usage = request.stream and not _wants_usage(body)
        if hides_usage:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        handle = self._bases.engine(name.base, engine_id, request.stream)
        record.exists = True
        assert record.token_usage is not None
        return PreparedRequest(
            handle, body, str(name), hits, extras, record, record.token_usage, request.return_passages, hides_usage
        )

    async def _retrieved(
        self, request: GenerationRequest, collection: str, record: RequestRecord
    ) -> tuple[Any, list[Hit], Body]:
        messages: Any = request.body.get("messages")
        rights, started = record.key.rights if record.key else NOBODY, asyncio.get_running_loop().time()
        question = request.query or search_query(messages)
        with tracing.inside_span(record.span, "retrieval"):
            retrieval = await self._services.find(collection, question, request.top_k, rights, request.where)
        record.retrieval_s = asyncio.get_running_loop().time() - started
        if retrieval.status == 503 and self._settings.answer_without:
            return messages, [], {"retrieval": {"collection": collection, "failed": retrieval.reason}}
        hits = fit(raise_for_status(retrieval).hits, self._settings.prompt_tokens)
        record.sources = [hit.citation for hit in hits]
        retrieval_fields = {"collection": collection, **retrieval.timings} | (
            {"missing": retrieval.missing} if retrieval.missing else {}
        )
        return render(messages, hits), hits, {"retrieval": retrieval_fields}


def template_defaults(manifest: AdapterManifest, body: Body) -> Body:
    """The settings of the chat template that a version was trained with, where the request says nothing else."""
    if not manifest.chat_template_kwargs:
        return {}
    return {"chat_template_kwargs": manifest.chat_template_kwargs | (body.get("chat_template_kwargs") or {})}


def caller(body: Body, record: RequestRecord) -> str:
    """Who asks, as far as it is known: the key or the address, and the user that the request names."""
    key: Key | None = record.key
    user = body.get("safety_identifier") or body.get("user")
    return f"{key.id if key else record.incoming.peer}/{user if isinstance(user, str) else ''}"


def end_where_taught(body: Body, stop_token_ids: Sequence[int]) -> Body:
    """The request with the tokens that an adapter's training taught as ends among `stop_token_ids`: vLLM ends answers
    at those of the base model alone.

    The caller's own stay. A caller who ignores ends (`ignore_eos`) ignores these as well; what is no list is left for
    vLLM to refuse.
    """
    own = body.get("stop_token_ids")
    if not stop_token_ids or body.get("ignore_eos") or not isinstance(own, list | None):
        return body
    return body | {"stop_token_ids": [*(own or []), *(token for token in stop_token_ids if token not in (own or []))]}


def _wants_usage(body: Body) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _choice_text(choice: Body) -> str:
    return (choice.get("message") or {}).get("content") or choice.get("text") or ""


async def _chained(first: str, rest: "DeploymentResponseGenerator[tuple[int, Body] | str]") -> AsyncGenerator[str]:
    yield first
    async for item in rest:
        yield item if isinstance(item, str) else _event(item[1])


async def _until(events: AsyncGenerator[str], deadline: float) -> AsyncGenerator[str]:
    try:
        async with asyncio.timeout_at(deadline), aclosing(events):
            async for event in events:
                yield event
    except TimeoutError:
        yield _event(error_body(408, "No time left."))
    except RayActorError:
        # Its beginning has been sent: nobody else can go on with it.
        yield _event(error_body(503, ENGINE_STOPPED, None, "engine_unavailable"))


def _event(body: Body) -> str:
    return f"data: {json.dumps(body)}\n\n"
