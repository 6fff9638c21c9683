"""Many at once, and clients that go away: what nobody waits for is not computed."""

import asyncio
import json
import time
from functools import cache
from typing import Any

import httpx
import pytest

from tests.serving.served_app import ADAPTER, COLLECTION, Endpoint

pytestmark = pytest.mark.slow

LONG = {
    "model": "base", "messages": [{"role": "user", "content": "Tell me everything."}], "max_tokens": 1800,
    "ignore_eos": True, "temperature": 0,
}  # fmt: skip


@cache
def engine() -> Any:
    from ray import serve

    return serve.get_deployment_handle("engine-base", "tandem")


def num_unfinished() -> int:
    return int(engine().num_unfinished.remote().result())


def wait_for(number: int, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while num_unfinished() != number:
        assert time.monotonic() < deadline, f"{num_unfinished()} are computed, not {number}"
        time.sleep(0.05)


def test_a_client_that_leaves_a_stream_ends_its_generation(endpoint: Endpoint) -> None:
    wait_for(0, 10)
    with httpx.stream("POST", f"{endpoint.url}/chat/completions", json=LONG | {"stream": True}, timeout=10) as body:
        assert body.status_code == 200
        lines = body.iter_lines()  # kept: httpx closes the connection with it
        assert next(lines)
        assert num_unfinished() == 1
    wait_for(0, 5)  # to its end it would take twelve


def test_a_client_that_waits_no_longer_ends_its_generation(endpoint: Endpoint) -> None:
    wait_for(0, 10)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{endpoint.url}/chat/completions", json=LONG, timeout=2)
    wait_for(0, 5)


def test_two_hundred_streams_and_half_of_them_cut(endpoint: Endpoint) -> None:
    names = ["base", f"base:{ADAPTER}", "base", f"base:{ADAPTER}+{COLLECTION}"]

    async def ask(client: httpx.AsyncClient, number: int) -> str:
        """The last line, or `cut`."""
        body = LONG | {"model": names[number % 4], "stream": True, "max_tokens": 12}
        last = ""
        async with client.stream("POST", f"{endpoint.url}/chat/completions", json=body) as response:
            assert response.status_code == 200
            async for line in response.aiter_lines():
                if number % 8 >= 4:
                    return "cut"
                if line:
                    last = line
        return last

    async def ask_all() -> list[str]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(200)))

    ended = asyncio.run(ask_all())
    assert ended.count("data: [DONE]") == 100
    assert ended.count("cut") == 100
    wait_for(0, 5)
    answer = httpx.post(f"{endpoint.url}/chat/completions", json=LONG | {"max_tokens": 2}, timeout=30)
    assert json.loads(answer.content)["usage"]["completion_tokens"] == 2
