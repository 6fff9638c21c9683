"""What the endpoint does with a request: who asks, is there room, is it theirs to ask; then an answer, and a record."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace

from fastapi.responses import JSONResponse, Response
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from retrieval.filters.rights import NOBODY
from serving.access.admission import AccessRequest, Admission, UsageCounter
from serving.access.keys import Key, Keys
from serving.access.limiter import RemoteLimiter
from serving.access.token_usage import TokenUsage
from serving.api.errors import ApiError
from serving.api.model_name import ModelName
from serving.api.requests import Body, IncomingRequest, parse_json_object, parse_rating, parse_request
from serving.engine.engine import Kind
from serving.gateway import console
from serving.gateway.generation import Generation, StreamedAnswer
from serving.gateway.served_models import ServedModels
from serving.gateway.services import ServiceCall, Services
from serving.gateway.settings import GatewaySettings
from serving.gateway.telemetry.record import RequestRecord
from serving.gateway.telemetry.watch import RequestWatch

COLLECTIONS_TTL_S = 2.0
ENGINES_TIMEOUT_S = 5.0


class Gateway:
    """Holds handles to the engines by base name, to the retriever, and to the limiter of the keys."""

    def __init__(
        self,
        settings: GatewaySettings,
        engines: dict[str, DeploymentHandle],
        retriever: DeploymentHandle | None,
        limiter: DeploymentHandle | None = None,
    ) -> None:
        self._settings, self._retriever = settings, retriever
        keys = Keys(settings.keys) if settings.keys else None
        self._admission = Admission(settings.max_requests, keys, _counting(settings, limiter))
        self._watch = RequestWatch(settings.logs, settings.log_prompts)
        self._bases = ServedModels(settings, engines)
        self.services = Services(retriever, settings.retrieval_timeout_s, settings.search_settings)
        self.generation = Generation(settings, self._bases, self.services)
        self._started = int(time.time())
        self._collections: tuple[float, list[str]] = (0.0, [])

    def turn_away(self, kind: str, incoming: IncomingRequest) -> ApiError | None:
        """The refusal of a request that need not be read to be refused, counted and logged; None lets it in."""
        key = None
        try:
            key = self._admission.identify(incoming.authorization)
            self._admission.check_room()
            self._admission.check_wait(key)
        except ApiError as error:
            with ExitStack() as held:
                record = self._watch.begin(kind, incoming, held)
                record.key = key
                record.refused(error)
            return error
        return None

    async def answer(self, kind: Kind, incoming: IncomingRequest) -> Response:
        """The response to a request for text. Raises ApiError."""
        async with AsyncExitStack() as held:
            record = self._watch.begin(kind, incoming, held)
            with _told(record):
                response = await self._answer(kind, record, held)
            record.status = response.status_code
            if isinstance(response, StreamedAnswer):
                response.held = held.pop_all()
        return response

    async def call(self, kind: str, read: Callable[[Body], ServiceCall], incoming: IncomingRequest) -> Response:
        """The response to a request that needs no text computed. Raises ApiError."""
        async with AsyncExitStack() as held:
            record = self._watch.begin(kind, incoming, held)
            with _told(record):
                record.key = self._admission.identify(incoming.authorization)
                self._admission.enter(held)
                async with self._in_time(self._deadline()):
                    call = read(parse_json_object(incoming.raw))
                    access = call.wanted
                    record.model, record.collection = access.model or "", access.collection or ""
                    record.token_usage = access.token_usage
                    await self._admission.admit(record.key, access, held)
                    body = await call.run(record.key.rights if record.key else NOBODY)
                    record.exists = True
            record.status = 200
        return JSONResponse(body)

    async def rate(self, incoming: IncomingRequest) -> Response:
        """Keep what a caller thinks of an answer. Raises ApiError."""
        async with AsyncExitStack() as held:
            record = self._watch.begin("feedback", incoming, held)
            with _told(record):
                record.key = self._admission.identify(incoming.authorization)
                answer_id, thumb, comment = parse_rating(parse_json_object(incoming.raw))
                if record.key is None or not record.key.keep:
                    raise ApiError(403, "Nothing is kept for this caller: `tandem keys create --keep` allows it.")
            self._watch.rated(record, answer_id, thumb, comment)
            record.status = 200
        return JSONResponse({"id": answer_id, "rating": thumb})

    async def drain(self) -> None:
        """Take no new request, and wait for those that are being answered."""
        await self._admission.drain(self._settings.drain_s)

    async def models(self, authorization: str | None = None) -> list[Body]:
        """Every name that the caller may ask for, in OpenAI's shape.

        Raises ApiError 401, and 503 while an engine is away that has not yet said which adapters fit it.
        """
        key = self._admission.identify(authorization)
        wakes = self._settings.request_timeout_s if self._settings.sleeps else ENGINES_TIMEOUT_S
        async with _engines_within(wakes):
            names = await self._names()
        return [
            {"id": str(name), "object": "model", "created": self._started, "owned_by": "tandem"}
            for name in names
            if key is None or key.may_ask(name)
        ]

    def identify(self, authorization: str | None) -> Key | None:
        """Whose a request is; None where the endpoint asks for no keys. Raises ApiError 401."""
        return self._admission.identify(authorization)

    async def collections(self, authorization: str | None = None) -> list[str]:
        """The collections that the caller may search. Raises ApiError 401."""
        key = self.identify(authorization)
        return [name for name in await self._known_collections() if key is None or key.may_use(None, name)]

    async def adapters(self, authorization: str | None = None) -> list[Body]:
        """The published versions that the caller may use. Raises ApiError 401."""
        key = self._admission.identify(authorization)
        return console.list_adapter_versions(self._bases.registry, list(self._bases.engines), key)

    async def report(self, authorization: str | None = None) -> bytes:
        """The last comparison's report.json. Raises ApiError 401, 403 or 404."""
        return console.last_report(self._settings.reports, self._admission.identify(authorization))

    async def check_health(self) -> None:
        """Raises ApiError 503 while an engine does not answer. Engines that may sleep are not woken by the question."""
        if self._settings.sleeps:
            return
        engines = self._bases.engines.values()
        async with _engines_within(ENGINES_TIMEOUT_S):
            await asyncio.gather(*(engine.check_health.remote() for engine in engines))

    async def _answer(self, kind: Kind, record: RequestRecord, held: AsyncExitStack) -> Response:
        record.key = self._admission.identify(record.incoming.authorization)
        self._admission.enter(held)
        deadline = self._deadline()
        async with self._in_time(deadline):
            request = parse_request(record.incoming.raw)
            record.model, record.collection = request.name.model, request.name.collection or ""
            record.token_usage = TokenUsage.of_answer(request.body)
            record.question = request.body.get("messages") or request.body.get("prompt")
            access = AccessRequest(str(request.name), record.model, request.name.collection, record.token_usage)
            await self._admission.admit(record.key, access, held)
            return await self.generation.answer(kind, request, record, deadline, held)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._settings.request_timeout_s

    @asynccontextmanager
    async def _in_time(self, deadline: float) -> AsyncGenerator[None]:
        """Raises ApiError where the block is not through by then, or what it asks has no room or has gone."""
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError as error:
            raise ApiError(408, f"No answer within {self._settings.request_timeout_s:g} s.") from error
        except BackPressureError as error:
            raise ApiError(429, "Too many requests are waiting.", code="overloaded", retry_after_s=1) from error
        except (RayActorError, DeploymentUnavailableError) as error:
            raise ApiError(503, "The engine is being replaced.", code="engine_unavailable", retry_after_s=5) from error

    async def _names(self) -> list[ModelName]:
        names, collections = await self._bases.names(), await self._known_collections()
        asked = names + [replace(name, collection=collection) for name in names for collection in collections]
        return asked + [ModelName(name) for name in self.services.models()]

    async def _known_collections(self) -> list[str]:
        asked_at, known = self._collections
        if self._retriever is not None and time.monotonic() - asked_at > COLLECTIONS_TTL_S:
            known = await self._retriever.collections.remote() or []
            self._collections = (time.monotonic(), known)
        return known


def _counting(settings: GatewaySettings, limiter: DeploymentHandle | None) -> UsageCounter | None:
    if settings.redis_url:
        # It imports the Redis client, which most endpoints do without.
        from serving.access.redis_limiter import RedisLimiter

        return RedisLimiter(settings.redis_url, settings.request_timeout_s)
    return RemoteLimiter(limiter) if limiter else None


@asynccontextmanager
async def _engines_within(seconds: float) -> AsyncGenerator[None]:
    """Raises ApiError 503 where engines do not answer what the block asks: Serve alone would wait for a new one."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (TimeoutError, RayError, RayServeException) as error:
        raise ApiError(503, "An engine does not answer.", retry_after_s=1) from error


@contextmanager
def _told(record: RequestRecord) -> Iterator[None]:
    """Writes down why a request is refused."""
    try:
        yield
    except ApiError as error:
        record.refused(error)
        raise
    except Exception:
        record.status = 500
        raise
