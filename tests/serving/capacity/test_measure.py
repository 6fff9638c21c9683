"""Unit costs of a running endpoint: the real gateway over an engine that takes a fixed time for each answer."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cluster.errors import TandemError
from serving.access.keys import Keys
from serving.capacity.measure import MeasuredEndpoint, busy_seconds, measure_costs, processor_seconds
from tests.ports import free_port
from tests.serving.gateway_process import gateway_process

WORK_S = 0.05


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[MeasuredEndpoint]":
    keys = tmp_path_factory.mktemp("keys")
    _, secret = Keys(keys).create("plan")
    with gateway_process(free_port(), keys, WORK_S) as url:
        yield MeasuredEndpoint(url, "base", secret, tokens_in=10, tokens_out=8, engines=1, gpus=0, cores=2)


@pytest.mark.slow
def test_the_engines_time_is_found_again(endpoint: MeasuredEndpoint) -> None:
    """One answer at a time, so that a batch shares nothing but what the way through the gateway hides."""
    told: list[str] = []
    found = measure_costs(endpoint, "some/model", "here", 2.0, told.append)
    engine = found.engine("some/model")
    assert engine.each_s(10, 8) >= 0.7 * WORK_S
    assert len(told) == 3
    assert 0 < found["gateway_s"].value < 0.2
    assert "retriever_s" not in found.costs


@pytest.mark.slow
def test_what_the_processes_took(endpoint: MeasuredEndpoint) -> None:
    roles = processor_seconds(urlsplit(endpoint.url).port or 0)
    assert {"gateway", "engine", "limiter", "controller", "ray"} <= roles.keys()
    assert all(seconds > 0 for seconds in roles.values())
    assert sum(roles.values()) < busy_seconds()


@pytest.mark.slow
def test_who_is_not_let_in_is_told_why(endpoint: MeasuredEndpoint) -> None:
    for changed, seen in (({"key": "wrong"}, "status 401"), ({"model": "nobody"}, "status 404")):
        with pytest.raises(TandemError, match=seen):
            measure_costs(MeasuredEndpoint(**{**vars(endpoint), **changed}), "m", "here", 1.0, lambda _: None)


def test_a_port_where_nothing_of_ours_listens() -> None:
    assert processor_seconds(free_port()) == {}


def test_an_address_that_answers_something_else(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Garbage(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Garbage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with pytest.raises(TandemError, match="none of a chat completion"):
            measure_costs(MeasuredEndpoint(url, "base", None, 10, 8, 1, 0, 2), "m", "here", 1.0, lambda _: None)
        server.shutdown()
