"""What a server answers when something is wrong, as errors that a user can read."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cluster.errors import TandemError
from retrieval.errors import RetrievalUnavailable
from retrieval.store.store import Store


@pytest.fixture
def strict_server() -> Iterator[str]:
    """A gRPC server that knows no token."""
    import grpc

    class Refuse(grpc.ServerInterceptor):  # type: ignore[misc]
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            def refuse(request: Any, context: Any) -> None:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(1), interceptors=[Refuse()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_refused_token_names_the_variable_and_not_the_token(
    strict_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    with pytest.raises(TandemError, match="MILVUS_TOKEN") as raised:
        Store(strict_server, timeout_s=2)
    assert not isinstance(raised.value, RetrievalUnavailable)
    assert "secret" not in str(raised.value)


def test_an_address_where_nothing_listens_fails_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(RetrievalUnavailable, match=f"127.0.0.1:{port} does not answer"):
        Store(f"http://127.0.0.1:{port}", timeout_s=2)
    assert time.monotonic() - started < 5


def test_something_that_is_not_milvus_fails_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(RetrievalUnavailable):
            Store(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=1)
        assert time.monotonic() - started < 5


def test_errors_are_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RetrievalUnavailable):
        Store("http://127.0.0.1:9", timeout_s=1)
    assert capfd.readouterr() == ("", "")
