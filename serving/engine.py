"""The engine deployment: one base model, its adapters, and requests as plain dictionaries.

It is light to import: vLLM is loaded in the replica only, never in the process that deploys it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.registry import Registry
from serving.errors import error_body

if TYPE_CHECKING:
    from serving.llm_server import AdapterServer

Kind = Literal["chat", "completions"]
Body = dict[str, Any]


@dataclass(frozen=True)
class EngineSettings:
    """What an engine replica needs to start."""

    name: str
    source: str
    engine_kwargs: dict[str, Any]
    kind: str
    max_loaded_adapters: int
    adapters: Path


class Engine:
    """One vLLM engine. Requests name the base model or the engine's id of an adapter."""

    async def __init__(self, settings: EngineSettings) -> None:
        from serving.llm_server import start_server

        registry = Registry(settings.adapters)
        self._server: AdapterServer = await start_server(
            settings.name,
            settings.source,
            settings.engine_kwargs,
            settings.kind,
            settings.max_loaded_adapters,
            lambda engine_id: adapter_folder(registry, engine_id),
        )

    async def answer(self, kind: Kind, body: Body) -> tuple[int, Body]:
        """Status and body of an answer that is not streamed."""
        async for item in self._responses(kind, body):
            if isinstance(item, tuple):
                return item
            return 200, item.model_dump(mode="json")
        raise AssertionError("the engine ended without an answer")

    async def stream(self, kind: Kind, body: Body) -> AsyncIterator[tuple[int, Body] | str]:
        """Server-sent events as text; or, in place of the first, status and body of an error."""
        async for item in self._responses(kind, body):
            if isinstance(item, list):
                yield "".join(item)
            else:
                yield item

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises here, and by the gateway's /health."""
        await self._server.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_server"):
            self._server.stop()

    async def _responses(self, kind: Kind, body: Body) -> AsyncIterator[Any]:
        from ray.serve.llm.openai_api_models import ErrorResponse

        from serving.llm_server import parse_request

        try:
            request = parse_request(kind, body)
            responses = await getattr(self._server, kind)(request)
        except ValueError as error:
            yield 400, error_body(400, str(error))
            return
        async for response in responses:
            if isinstance(response, list) and response and not isinstance(response[0], str):
                response = response[0]
            if isinstance(response, ErrorResponse):
                status = int(response.error.code)
                yield status, error_body(status, response.error.message, response.error.param)
                return
            yield response


def adapter_folder(registry: Registry, engine_id: str) -> Path:
    """The folder of the version that `engine_id` names. Raises TandemError where it has gone or has another content."""
    name, version, _ = engine_id.split(".")
    found = registry.get(name, int(version.removeprefix("v")))
    assert found.engine_id == engine_id, "a published version never changes"
    return found.path
