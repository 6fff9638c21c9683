"""The engine deployment: one base model, its adapters, and requests as plain dictionaries.

It is light to import: vLLM is loaded in the replica only, never in the process that deploys it.
"""

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.errors import TandemError
from cluster.registry.mirror import Mirror
from cluster.registry.registry import Registry, UnknownAdapter
from cluster.session import serve_log_kept
from serving.api.errors import error_body
from serving.engine.kernels import prepare_kernels
from serving.engine.sharing import UTILIZATION
from serving.engine.start_turns import start_turn, wait_for_free_memory

if TYPE_CHECKING:
    # It imports vLLM, which takes ten seconds: in the replica only.
    from serving.engine.llm_server import AdapterServer

Kind = Literal["chat", "completions", "tokenize", "detokenize"]
Body = dict[str, Any]
KEEP_AFTER_S = 60.0
"""Until what an engine compiled at its start is kept; the first requests compile a little more."""
ENGINE_STOPPED = "The engine has stopped and is being replaced."

_LOGGED = r"^\(EngineCore[^)]*\) (?:ERROR [^\]]*\] )?"
_EXCEPTION = re.compile(_LOGGED + r"((?:\w+\.)*\w*(?:Error|Exception): .*)$", re.MULTILINE)


@dataclass(frozen=True)
class EngineSettings:
    """What an engine replica needs to start."""

    name: str
    source: str
    engine_kwargs: dict[str, Any]
    kind: str
    max_loaded_adapters: int
    adapters: Path
    preload: tuple[str, ...] = ()
    """Adapters whose live version is loaded before the engine is ready."""
    adapter_registry: str | None = None
    """Where a version is taken from that this node does not have."""
    has_adapters: bool = True
    num_gpus: int = 1
    """GPUs that the engine is spread over."""
    shares_gpu: bool = False
    """Whether other engines may start on the same GPU."""


class EngineNotStarted(Exception):
    """vLLM did not start; the message is its own."""


class Engine:
    """One vLLM engine. Requests name the base model or the engine's id of an adapter."""

    async def __init__(self, settings: EngineSettings) -> None:  # type: ignore[misc]  # Serve awaits it
        registry = Registry(settings.adapters)
        if settings.kind == "cpu":
            # Here, not where it is deployed: this node's cores count. Ray says 1 for an actor of one CPU.
            os.environ["OMP_NUM_THREADS"] = str(num_threads())
        engine_kwargs, cache = settings.engine_kwargs, None
        if settings.kind == "gpu":
            try:
                cache, engine_kwargs = await asyncio.to_thread(prepare_kernels, settings.source, settings.engine_kwargs)
            except TandemError as error:
                raise EngineNotStarted(str(error)) from error
        try:
            with serve_log_kept():
                # It imports vLLM, which takes ten seconds: in the replica only.
                from serving.engine.llm_server import start_server

                async with _start_place(settings):
                    self._server: AdapterServer = await start_server(
                        settings.name,
                        settings.source,
                        engine_kwargs,
                        settings.kind,
                        settings.max_loaded_adapters if settings.has_adapters else None,
                        lambda engine_id: adapter_folder(registry, engine_id, settings.adapter_registry),
                    )
        except RuntimeError as error:
            raise EngineNotStarted(root_cause(_own_log()) or str(error)) from error
        for name in settings.preload:
            await self._server.load(registry.resolve(name).engine_id)
        if cache:
            keeping = threading.Timer(KEEP_AFTER_S, cache.keep)
            keeping.daemon = True
            keeping.start()

    async def answer(self, kind: Kind, body: Body, headers: dict[str, str]) -> tuple[int, Body]:
        """Status and body of an answer that is not streamed; `headers` carry its trace."""
        async for item in self._responses(kind, body, headers):
            if isinstance(item, tuple):
                return item
            return 200, item.model_dump(mode="json")
        raise AssertionError("the engine ended without an answer")

    async def stream(self, kind: Kind, body: Body, headers: dict[str, str]) -> AsyncIterator[tuple[int, Body] | str]:
        """Server-sent events as text; or, in place of the first, status and body of an error."""
        async for item in self._responses(kind, body, headers):
            if isinstance(item, list):
                yield "".join(item)
            else:
                yield item

    async def template_hash(self) -> str:
        """SHA-256 of the served chat template, as it stands in an adapter's manifest."""
        return hashlib.sha256(self._server.chat_template().encode()).hexdigest()

    async def loaded_adapters(self) -> list[str]:
        """Adapters that are ready, by the engine's ids of them."""
        return await self._server.loaded()

    async def num_unfinished(self) -> int:
        """Requests that the engine is computing or has waiting."""
        return self._server.num_unfinished()

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises here, and by the gateway's /health."""
        await self._server.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_server"):
            self._server.stop()

    async def _responses(self, kind: Kind, body: Body, headers: dict[str, str]) -> AsyncIterator[Any]:
        """The engine's answers; a pair of status and body is an error and the only item."""
        # It imports vLLM, which takes ten seconds: in the replica only.
        from serving.engine.llm_server import FATAL_ERRORS, error_response, parse_engine_request, raw_request

        try:
            request = parse_engine_request(kind, body)
        except ValueError as error:
            yield 400, error_body(400, str(error))
            return
        try:
            responses = await getattr(self._server, kind)(request, raw_request(headers))
        except (TandemError, ValueError) as error:
            yield 409, error_body(409, f"The adapter cannot be loaded: {error}", "model", "adapter_refused")
            return
        try:
            async for response in responses:
                yield error_response(response) or response
        except FATAL_ERRORS:
            yield 503, error_body(503, ENGINE_STOPPED, None, "engine_unavailable")


@asynccontextmanager
async def _start_place(settings: EngineSettings) -> AsyncIterator[None]:
    """The GPU's memory is free, and where the GPU is shared no other engine starts meanwhile."""
    with ExitStack() as stack:
        if settings.shares_gpu:
            await asyncio.to_thread(stack.enter_context, start_turn())
        if settings.kind == "gpu":
            utilization = float(settings.engine_kwargs.get("gpu_memory_utilization", UTILIZATION))
            await asyncio.to_thread(wait_for_free_memory, utilization, settings.num_gpus)
        yield


def num_threads() -> int:
    """Threads of the computation on a CPU: one core is left to the processes around the engine.

    Cores are those that this process may use: a pod's limit counts.
    """
    from joblib import cpu_count

    return max(1, int(cpu_count()) - 1)


def root_cause(log: str) -> str | None:
    """The last exception that vLLM's child process printed. Its parent only learns that it has failed."""
    exceptions = _EXCEPTION.findall(log)
    return exceptions[-1] if exceptions else None


def _own_log() -> str:
    """What this process and its children wrote; Ray gives each worker a file as standard error."""
    try:
        return Path("/proc/self/fd/2").readlink().read_text(errors="replace")
    except OSError:
        return ""


def adapter_folder(registry: Registry, engine_id: str, store: str | None = None) -> Path:
    """The folder of the version that `engine_id` names, taken from a store where it is not here.

    Raises TandemError where it has gone or has another content.
    """
    name, version, _ = engine_id.split(".")
    number = int(version.removeprefix("v"))
    try:
        found = registry.get(name, number)
    except UnknownAdapter:
        if store is None:
            raise
        Mirror(store, registry.root).pull()
        found = registry.get(name, number)
    assert found.engine_id == engine_id, "a published version never changes"
    return found.path
