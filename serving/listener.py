"""The port of the endpoint, opened by the gateway's replica itself.

Behind Ray Serve's own proxy every token would take one more hop between two processes. Several gateways on one machine
share the port (SO_REUSEPORT).
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

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
