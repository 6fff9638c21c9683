"""Servers of one test file that can be killed and started again where they were: same data, same port."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.ports import free_port

START_S = 120.0


class LiteServer:
    """Milvus Lite as its own command serves it."""

    mode = "hybrid"

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = Path(sys.executable).parent / "milvus-lite"
        address = ["--host", "127.0.0.1", "--port", str(self._port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [command, "server", "--data-dir", self._folder / "data", *address], stdout=log, stderr=log
            )
        _wait_for(self._port)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class RealServer:
    """The server of the package `milvus`, which asks for a token. Its first user is root:Milvus."""

    mode = "dense"

    def __init__(self, folder: Path) -> None:
        from milvus import MilvusServer, MilvusServerConfig

        self._server = MilvusServer(MilvusServerConfig())
        self._server.set_base_dir(str(folder))
        self._server.config.set("authorization_enabled", True)

    def start(self) -> None:
        self._server.start()
        # Else it would look for other ports the next time, since those of a killed server are taken for a while.
        self._server.config.resolve = lambda: None
        self.uri = f"http://127.0.0.1:{self._server.listen_port}"

    def kill(self) -> None:
        process = self._server.server_proc
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self._server.stop()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on {port}")
