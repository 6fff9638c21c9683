"""An S3 server on loopback, with the credentials for it in the environment, and what can go wrong with it.

TANDEM_TEST_STORE=s3://bucket names a store of yours instead, for the tests that need no such thing: the credentials are
in the environment.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"


@dataclass
class Faults:
    """What stands in front of the server: it lets through one change at a time, and what a test tells it to.

    moto looks at a condition and then puts, without a lock in between; S3 does both at once.
    """

    app: App
    address: str = ""
    expired: set[str] = field(default_factory=set)
    """Access keys whose tokens have expired."""
    puts_left: int | None = None
    """Puts until the connections are cut off, and all later ones."""
    lost_answers: int = 0
    """Puts that are done, and whose answers do not arrive."""
    delay_s: float = 0.0
    requests: list[str] = field(default_factory=list)
    _one: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(f"{method} {path}")
        if self.delay_s:
            time.sleep(self.delay_s)
        if any(f"Credential={key}/" in environ.get("HTTP_AUTHORIZATION", "") for key in self.expired):
            start("400 Bad Request", [("Content-Type", "application/xml")])
            return [_EXPIRED]
        if self.puts_left is not None and not path.startswith("/moto-api"):
            if method in ("PUT", "POST"):
                self.puts_left = max(0, self.puts_left - 1)
            if self.puts_left == 0:
                cut_off(environ)
        with self._one:
            answer = list(self.app(environ, start))
        if method == "PUT" and self.lost_answers:
            self.lost_answers -= 1
            cut_off(environ)
        return answer

    def reset(self) -> None:
        """Nothing goes wrong, and there is one empty bucket named `bucket`."""
        self.expired.clear()
        self.puts_left, self.lost_answers, self.delay_s = None, 0, 0.0
        httpx.post(f"{self.address}/moto-api/reset", timeout=60).raise_for_status()
        httpx.put(f"{self.address}/bucket", timeout=60).raise_for_status()
        self.requests.clear()


def cut_off(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


@contextmanager
def s3_server() -> Iterator[str]:
    """Its address; what is started meanwhile finds it, and a bucket named `bucket`."""
    with faulty_server() as faults:
        yield faults.address


@contextmanager
def faulty_server() -> Iterator[Faults]:
    """The same, to be disturbed."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):  # type: ignore[misc]
        def log(self, *_: object) -> None:
            pass

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Quiet)
    faults.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in environment_of(faults.address).items():
                environment.setenv(name, value)
            faults.reset()
            yield faults
    finally:
        server.shutdown()
        thread.join()


def environment_of(address: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
    }  # fmt: skip


@contextmanager
def store() -> Iterator[str]:
    """The URL of an empty place in a store: the one that the environment names, or a server of our own."""
    named = os.environ.get("TANDEM_TEST_STORE")
    if named:
        yield f"{named}/{uuid.uuid4().hex}"
        return
    with s3_server():
        yield f"s3://bucket/{uuid.uuid4().hex}"
