"""Milvus Lite for this machine: one server per folder, started by its first user, stopped after its last.

    with local_server(storage.milvus) as uri:       # http://127.0.0.1:PORT
        ...

Nothing is left running when the last user ends, also when it is killed:
retrieval/store/milvus_lite_server.py has the locks.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cluster.errors import TandemError

START_S = 60.0
STOP_S = 15.0
POLL_S = 0.05
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Address:
    """Where a folder's server listens."""

    pid: int
    host: str
    port: int

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def local_server(folder: Path) -> Iterator[str]:
    """The URI of the server of `folder` (created if missing), which runs at least until the block ends.

    Raises:
        TandemError: the folder cannot be written, the server does not start, or it runs on another machine.
    """
    with _opened_for_users(folder) as users:
        _lock(users, fcntl.LOCK_SH, STOP_S, folder)
        try:
            yield _found_or_started(folder).uri
        finally:
            _stop_if_last(folder, users)


def running_server(folder: Path) -> Address | None:
    """The server of `folder`, if there is one that answers. A file left by a dead server is not believed."""
    return _look(folder)[1]


def _look(folder: Path) -> tuple[bool, Address | None]:
    """Whether a server lives, which its lock tells, and its address once it has written it."""
    with suppress(FileNotFoundError), (folder / "server.json").open() as address:
        try:
            fcntl.flock(address, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = address.read()
            return True, Address(**json.loads(text)) if text.endswith("}") else None
    return False, None


def _opened_for_users(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "users").open("a")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _found_or_started(folder: Path) -> Address:
    with (folder / "starting").open("a") as starting:
        _lock(starting, fcntl.LOCK_EX, START_S, folder)
        deadline = time.monotonic() + START_S
        lives, address = _look(folder)
        while lives and not _listens(address):  # it is still starting, or just dying
            if time.monotonic() > deadline:
                raise _stuck(folder, START_S)
            time.sleep(POLL_S)
            lives, address = _look(folder)
        address = address if lives and address else _start(folder)
    if address.host != socket.gethostname():
        raise TandemError(
            f"The Milvus Lite folder {folder} is served on the machine {address.host}.",
            "A Milvus Lite folder is used from one machine at a time.",
            f"End what runs on {address.host}, or set retrieval.uri to a Milvus server that both machines reach.",
        )
    return address


def _listens(address: Address | None) -> bool:
    if address is None:
        return False
    if address.host != socket.gethostname():
        return True
    with suppress(OSError), socket.create_connection(("127.0.0.1", address.port), timeout=1.0):
        return True
    return False


def _start(folder: Path) -> Address:
    """A session of its own keeps the terminal's Ctrl-C away from the server while its users still finish."""
    # Else a dead server's address could be read in the instant in which the new one has the lock but not written yet.
    (folder / "server.json").unlink(missing_ok=True)
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "retrieval.store.milvus_lite_server", str(folder.absolute())],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if (address := running_server(folder)) is not None:
            _children[process.pid] = process
            return address
        time.sleep(POLL_S)
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()
    raise TandemError(
        f"Milvus Lite did not start in {folder}: {_last_line(folder / 'server.log')}.",
        f"A server that listens on loopback within {START_S:.0f} s is needed.",
        f"Read {folder / 'server.log'}, or set retrieval.uri to a Milvus server.",
    )


def _stop_if_last(folder: Path, users: IO[str]) -> None:
    """The last user sends SIGINT and waits for the end; the exclusive lock makes a new user wait for it too."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    address = running_server(folder)
    if address is None or address.host != socket.gethostname():
        return
    with suppress(ProcessLookupError):
        os.kill(address.pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_S
    while running_server(folder) is not None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if (child := _children.pop(address.pid, None)) is not None:
        child.wait()


def _lock(file: IO[str], kind: int, timeout_s: float, folder: Path) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _stuck(folder, timeout_s) from None
            time.sleep(POLL_S)


def _stuck(folder: Path, seconds: float) -> TandemError:
    return TandemError(
        f"The Milvus Lite folder {folder} stayed locked for {seconds:.0f} s.",
        "Its server starts and stops in a few seconds.",
        f"Look at {folder / 'server.log'} and end the process named in {folder / 'server.json'}.",
    )


def _unwritable(folder: Path, error: OSError) -> TandemError:
    return TandemError(
        f"The folder {folder} cannot be written: {error.strerror}.",
        "Milvus Lite keeps its data in a folder that you may write.",
        "Set storage in the project file to such a folder, or retrieval.uri to a Milvus server.",
    )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip().rstrip(".") for line in reversed(lines) if line.strip()), "it said nothing")
