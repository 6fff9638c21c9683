"""The gateway as it is, over an engine that answers at once, or after a fixed time: what is left is the gateway."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.hardware import Hardware, Node
from serving.config import ServingConfig
from serving.deploy.serve_options import FAST_PATH, gateway_options, limiter_options, max_requests
from serving.gateway.settings import GatewaySettings

APP = "gateway-only"
CPU = Hardware((Node(1, 0),))
TEXT = "An answer of some words that take no time."


@dataclass(frozen=True)
class Work:
    """What each answer takes of an engine, one after the other, and how many pieces it comes in."""

    seconds: float = 0.0
    on_core: bool = False
    """Whether the engine computes for so long, or waits as for a device of its own."""

    text: str = TEXT


class InstantEngine:
    """What a gateway calls an engine for. Its answers tell which replica gave them, as `system_fingerprint`."""

    def __init__(self, work: Work) -> None:
        from ray import serve

        self._id = serve.get_replica_context().replica_id.unique_id
        self._work, self._turn = work, asyncio.Lock()

    async def answer(self, kind: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        message = {"role": "assistant", "content": TEXT}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, {
            "id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice],
            "system_fingerprint": self._id, "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
        }  # fmt: skip

    async def stream(self, kind: str, body: dict[str, Any], headers: dict[str, str]) -> AsyncIterator[str]:
        await self._compute()
        head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
        words = self._work.text.split()
        for delta in ({"role": "assistant", "content": ""}, *({"content": f"{word} "} for word in words)):
            chunk = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            yield f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"
        yield "data: [DONE]\n\n"

    async def _compute(self) -> None:
        if not self._work.seconds:
            return
        async with self._turn:
            if not self._work.on_core:
                await asyncio.sleep(self._work.seconds)
            ends = time.process_time() + self._work.seconds
            while self._work.on_core and time.process_time() < ends:
                pass

    async def template_hash(self) -> str:
        return ""

    async def check_health(self) -> None:
        pass


@contextmanager
def gateway_only(
    config: ServingConfig,
    keys: Path | None,
    num_gateways: int = 1,
    logs: Path | None = None,
    work: Work = Work(),
    app: str = APP,
    **engine: Any,
) -> Iterator[str]:
    """The URL (with /v1) of such gateways, inside a Ray session; all of them listen on one port.

    `engine` are options of the engine's deployment.
    """
    from ray import serve

    from serving.access.limiter import USAGE, Limiter
    from serving.gateway.endpoint import Endpoint

    engine_options = {
        "name": "engine", "max_ongoing_requests": 1000, "max_queued_requests": 1000,
        "ray_actor_options": {"num_cpus": 0, "runtime_env": {"env_vars": FAST_PATH}},
    }  # fmt: skip
    engine_app = serve.deployment(InstantEngine, **engine_options | engine).bind(work)
    limiter = None
    if keys and config.redis_url is None:
        limiter = serve.deployment(Limiter, **limiter_options()).bind(keys / USAGE, 60.0)
    with tempfile.TemporaryDirectory() as adapters:
        settings = GatewaySettings(
            bases={"base": ""}, adapters=Path(adapters), max_lora_rank=8, request_timeout_s=config.request_timeout_s,
            answer_without=False, prompt_tokens=0, retrieval_timeout_s=0.0, max_requests=max_requests(config, CPU),
            drain_s=config.drain_s, keys=keys, redis_url=config.redis_url, logs=logs,
        )  # fmt: skip
        options = gateway_options(config) | {"num_replicas": num_gateways}
        gateway = serve.deployment(Endpoint, **options).bind(
            settings, {"base": engine_app}, None, limiter, config.host, config.port
        )
        serve.start(proxy_location="Disabled")
        serve.run(gateway, name=app, route_prefix=None)
        try:
            yield f"http://{config.host}:{config.port}/v1"
        finally:
            serve.delete(app)
