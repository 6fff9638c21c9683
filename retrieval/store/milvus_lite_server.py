"""The process that serves one Milvus Lite folder on loopback for as long as somebody uses it.

    python -m retrieval.store.milvus_lite_server FOLDER        (started by retrieval/store/milvus_lite.py, not by hand)

It holds an exclusive lock on FOLDER/server.json for its whole life and writes its port there: whoever finds the lock
taken knows that the address comes from a living server of this folder. Its users hold a shared lock on FOLDER/users,
which the kernel drops when they die, however they die; the server ends when it gets that lock for itself.
"""

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

POLL_S = 0.3
LOCK_S = 5.0
NUM_THREADS = 10
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
DRAIN_S = 5
OPTIONS = [
    # milvus-lite's own run_server lets a second process bind the same port; without SO_REUSEPORT nobody else can.
    ("grpc.so_reuseport", 0),
    # pymilvus pings idle connections every 10 s; by default a server hangs up on that after a while.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


def main(folder: Path) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with (folder / "server.json").open("a+") as address, (folder / "users").open("a") as users:
        if not _locked_within(address, LOCK_S):
            raise SystemExit(f"another server holds {address.name}")
        address.truncate(0)
        _serve(folder / "data", address, users, stop)
        # The lock is given up by the end of the process and not before, so whoever finds it free finds us gone.
        os._exit(0)


def _serve(data: Path, address: IO[str], users: IO[str], stop: threading.Event) -> None:
    import grpc
    from milvus_lite.adapter.grpc import server as lite
    from milvus_lite.db import MilvusLite

    database = MilvusLite(str(data))
    server = grpc.server(ThreadPoolExecutor(NUM_THREADS), options=OPTIONS)
    lite.milvus_pb2_grpc.add_MilvusServiceServicer_to_server(lite.MilvusServicer(database), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "port": port}))
    address.flush()
    while not stop.is_set() and not _try_lock(users):
        stop.wait(POLL_S)
    server.stop(grace=DRAIN_S).wait()
    database.close()


def _locked_within(file: IO[str], timeout_s: float) -> bool:
    """Whoever asks whether a server lives holds this lock for an instant, so one refusal proves nothing."""
    deadline = time.monotonic() + timeout_s
    while not (locked := _try_lock(file)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return locked


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
