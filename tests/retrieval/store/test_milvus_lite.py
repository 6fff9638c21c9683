"""The life of a Milvus Lite server: one per folder, for its users only, gone when they are."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.store.milvus_lite import local_server, running_server
from retrieval.store.store import Store

ROOT = str(Path(__file__).parents[3])
USER = """
import sys, time
from pathlib import Path
from retrieval.store.milvus_lite import local_server
try:
    with local_server(Path(sys.argv[1])) as uri:
        print(uri, flush=True)
        time.sleep(300)
except KeyboardInterrupt:
    print("ended", flush=True)
"""
GONE_S = 8.0


@contextmanager
def user(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that uses the server of `folder`, and the address it was given."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        env={**os.environ, "PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_a_file_left_by_a_dead_server_is_not_believed(tmp_path: Path) -> None:
    """Even where its port answers: the lock decides, not the port."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        stale = {"pid": os.getpid(), "host": socket.gethostname(), "port": foreign.getsockname()[1]}
        (tmp_path / "server.json").write_text(json.dumps(stale))
        assert running_server(tmp_path) is None


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TandemError, match="cannot be written"), local_server(tmp_path / "file/milvus"):
        pass


@pytest.mark.slow
def test_users_share_a_server_which_ends_with_the_last_of_them(tmp_path: Path) -> None:
    with user(tmp_path) as (first, uri):
        server = running_server(tmp_path)
        assert server is not None and server.uri == uri
        with local_server(tmp_path) as shared:
            assert shared == uri
            first.kill()
            time.sleep(1.0)
            assert alive(server.pid), "it must live on for its second user"
            assert Store(shared).version.startswith("milvus_lite")
        assert not alive(server.pid), "the last user waits for the end"
    assert running_server(tmp_path) is None


@pytest.mark.slow
def test_a_killed_user_leaves_no_server_and_the_next_finds_the_data(tmp_path: Path) -> None:
    with user(tmp_path) as (process, uri):
        server = running_server(tmp_path)
        assert server is not None
        Store(uri).client.create_collection("kept", dimension=4, timeout=10)
        process.kill()
        assert gone_within(server.pid, GONE_S)
    (tmp_path / "server.json").write_text(json.dumps({"pid": 1, "host": "elsewhere", "port": 1}))
    with local_server(tmp_path) as uri:
        assert Store(uri).client.list_collections() == ["kept"]


@pytest.mark.slow
def test_ctrl_c_reaches_the_user_and_not_the_server(tmp_path: Path) -> None:
    with user(tmp_path) as (process, _):
        server = running_server(tmp_path)
        assert server is not None
        assert os.getsid(server.pid) != os.getsid(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None and process.stdout.readline() == "ended\n"
        assert process.wait(timeout=GONE_S) == 0
        assert not alive(server.pid)


@pytest.mark.slow
def test_nobody_else_can_listen_on_the_servers_port(tmp_path: Path) -> None:
    """gRPC's default would let a second server share the port, and half of the calls would go to it."""
    with local_server(tmp_path):
        server = running_server(tmp_path)
        assert server is not None
        with socket.socket() as other, pytest.raises(OSError):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", server.port))


@pytest.mark.slow
def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    with local_server(tmp_path) as first:
        server = running_server(tmp_path)
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)
        assert gone_within(server.pid, GONE_S)
        while running_server(tmp_path):  # the kernel closes a dead process' files and sockets a moment later
            time.sleep(0.05)
        with local_server(tmp_path) as second:
            assert Store(second).collections() == []
            assert first != second


@pytest.mark.slow
def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(TandemError, match=r"did not start in .*data"), local_server(tmp_path):
        pass
