"""The deployment that users reach: a gateway, and the port that its replica opens itself.

Behind Ray Serve's own proxy every token would take one more hop between two processes. Several gateways on one machine
share the port (SO_REUSEPORT).
"""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
from ray.serve.handle import DeploymentHandle

from cluster.errors import TandemError
from cluster.registry.mirror import Mirror
from serving.access.keys import follow_keys
from serving.gateway.gateway import Gateway
from serving.gateway.routes import make_app
from serving.gateway.settings import GatewaySettings
from serving.gateway.telemetry import tracing

if TYPE_CHECKING:
    from fastapi import FastAPI


BACKLOG = 2048
KEEP_ALIVE_S = 15
POLL_S = 0.02


class Listener:
    """An HTTP server in the running event loop."""

    def __init__(self, app: "FastAPI", host: str, port: int) -> None:
        self._socket = _opened(host, port)
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", access_log=False, log_config=None, log_level="warning",
            server_header=False, backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_S,
        )  # fmt: skip
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when connections are accepted."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._socket]))
        while not self._server.started:
            await asyncio.sleep(POLL_S)
            self.check()

    def check(self) -> None:
        """Raises RuntimeError where it listens no more."""
        if self._task is None or self._task.done():
            raise RuntimeError("the HTTP server of the gateway has ended")

    async def stop(self) -> None:
        """Accept nothing new and close what is open."""
        self._server.should_exit = self._server.force_exit = True
        if self._task is not None:
            await self._task


class _Server(uvicorn.Server):
    """Signals are for Ray, which ends the replica."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _opened(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        opened.setsockopt(socket.SOL_SOCKET, option, 1)
    opened.bind((host, port))
    return opened


PULL_EVERY_S = 2.0
logger = logging.getLogger("ray.serve")


async def follow_registry(settings: GatewaySettings) -> None:
    """Take what is new in the stores of adapters and keys, for as long as the gateway lives. While they do not answer,
    what is here is served."""
    assert settings.adapter_registry
    mirror, reported = Mirror(settings.adapter_registry, settings.adapters), set[str]()
    while True:
        try:
            if settings.keys and settings.key_registry:
                await asyncio.to_thread(follow_keys, settings.key_registry, settings.keys)
            await asyncio.to_thread(mirror.pull)
        except TandemError as error:
            logger.warning("%s", error)
        for name in mirror.refused.keys() - reported:
            logger.warning("%s", mirror.refused[name])
            reported.add(name)
        await asyncio.sleep(PULL_EVERY_S)


class Endpoint:
    """A replica of the gateway, which listens from its start to its end."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: GatewaySettings,
        engines: dict[str, DeploymentHandle],
        retriever: DeploymentHandle | None,
        limiter: DeploymentHandle | None,
        host: str,
        port: int,
    ) -> None:
        tracing.start_tracing(settings.otlp_endpoint)
        self._gateway = Gateway(settings, engines, retriever, limiter)
        self._following = asyncio.create_task(follow_registry(settings)) if settings.adapter_registry else None
        self._listener = Listener(make_app(self._gateway), host, port)
        await self._listener.start()

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises here."""
        self._listener.check()

    async def __del__(self) -> None:
        """New requests are turned away, and those that are being answered have time to end."""
        if self._following:
            self._following.cancel()
        await self._gateway.drain()
        await self._listener.stop()
