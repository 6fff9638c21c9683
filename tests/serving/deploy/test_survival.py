"""Overload, and engines that are killed under load. The last of the tests that share the app: it starts anew here."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import httpx
import psutil
import pytest

from tests.serving.served_app import CAPACITY, COLLECTION, Endpoint

pytestmark = pytest.mark.slow
BODY: dict[str, Any] = {
    "model": "base", "messages": [{"role": "user", "content": "Iron?"}], "max_tokens": 40, "ignore_eos": True,
}  # fmt: skip
REPLACED_S = 150


def test_ten_times_as_many_as_can_be_held_are_refused_or_answered(endpoint: Endpoint) -> None:
    """Answers while it lasts are those of the admitted; none fails, none waits for ever, and memory is given back."""
    gateway = process_of("gateway")

    async def ask(client: aiohttp.ClientSession) -> tuple[int, str]:
        async with client.post(f"{endpoint.url}/chat/completions", json=BODY | {"max_tokens": 4}) as answer:
            await answer.read()
            return answer.status, answer.headers.get("retry-after", "")

    async def ask_all(number: int) -> list[tuple[int, str]]:
        connections = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connections, timeout=aiohttp.ClientTimeout(120)) as client:
            return await asyncio.gather(*(ask(client) for _ in range(number)))

    asyncio.run(ask_all(CAPACITY))
    before = gateway.memory_info().rss
    found = asyncio.run(ask_all(10 * CAPACITY))
    statuses = Counter(status for status, _ in found)
    assert set(statuses) == {200, 429}, statuses
    assert statuses[200] >= CAPACITY, "those for whom there is room are answered"
    assert all(wait for status, wait in found if status == 429), "each is told when to come again"
    assert gateway.memory_info().rss - before < 100 * 2**20
    assert asyncio.run(ask_all(1)) == [(200, "")]


@pytest.mark.parametrize("victim", ["EngineCore", pytest.param("replica", marks=pytest.mark.matrix)])
def test_an_engine_that_is_killed_under_load_is_replaced(endpoint: Endpoint, victim: str) -> None:
    """Whoever asks meanwhile hears of it in OpenAI's shape and in time; the gateway lives on."""
    gateway, replica = process_of("gateway"), process_of("engine-base")
    assert httpx.get(f"{endpoint.url}/models", timeout=30).status_code == 200, "known from now on"
    found: list[tuple[int, str | None, float]] = []
    ending = threading.Event()

    def ask_on() -> None:
        with httpx.Client(timeout=100) as client:
            while not ending.is_set():
                started = time.monotonic()
                answer = client.post(f"{endpoint.url}/chat/completions", json=BODY)
                body = answer.json()
                code = body["error"]["code"] if "error" in body else None
                found.append((answer.status_code, code, time.monotonic() - started))
                time.sleep(0.2)

    def streams() -> Iterator[str]:
        with httpx.stream(
            "POST", f"{endpoint.url}/chat/completions", json=BODY | {"stream": True, "max_tokens": 1500}, timeout=100
        ) as answer:
            assert answer.status_code == 200
            yield from (line for line in answer.iter_lines() if line)

    with ThreadPoolExecutor(6) as threads:
        asking = [threads.submit(ask_on) for _ in range(6)]
        stream = streams()
        try:
            next(stream)
            os.kill(engine_core(replica).pid if victim == "EngineCore" else replica.pid, signal.SIGKILL)
            assert any('"error"' in line for line in stream), "a stream that is cut says so"
            assert httpx.get(f"{endpoint.url}/models", timeout=30).status_code == 200
            deadline = time.monotonic() + REPLACED_S
            while httpx.get(f"{endpoint.root}/health", timeout=30).status_code != 503:
                assert time.monotonic() < deadline
            while httpx.get(f"{endpoint.root}/health", timeout=30).status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.5)
        finally:
            ending.set()
        for each in asking:
            each.result()
    assert {status for status, _, _ in found} <= {200, 503}
    assert {code for status, code, _ in found if status == 503} == {"engine_unavailable"}
    assert max(seconds for *_, seconds in found) < endpoint.config.request_timeout_s
    assert gateway.is_running() and not replica.is_running()
    answer = httpx.post(f"{endpoint.url}/chat/completions", json=BODY | {"model": f"base+{COLLECTION}"}, timeout=60)
    assert answer.status_code == 200 and answer.json()["citations"]


def process_of(deployment: str) -> psutil.Process:
    """The process of a deployment's replica, of this test's app: another test may serve beside it."""
    (found,) = (each for each in psutil.Process().children(recursive=True) if f"tandem:{deployment}" in _command(each))
    return found


def _command(process: psutil.Process) -> str:
    """Empty for one that has ended and is not yet taken away."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def engine_core(replica: psutil.Process) -> psutil.Process:
    (found,) = (child for child in replica.children(recursive=True) if "EngineCore" in _command(child))
    return found
