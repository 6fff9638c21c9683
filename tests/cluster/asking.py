"""Clients that ask an endpoint all the time and write down how each request ended."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

LONGEST_S = 60.0


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent and ended (seconds of time.monotonic), and what went wrong."""

    sent: float
    ended: float
    failure: str | None

    def was_in_flight(self, loss: tuple[float, float]) -> bool:
        """Whether it was sent before the loss was over, and ended after it began."""
        return self.sent <= loss[1] and self.ended >= loss[0]


@dataclass
class Clients:
    """What has been asked so far."""

    asked: list[Asked] = field(default_factory=list)

    @property
    def failed(self) -> list[Asked]:
        return [one for one in self.asked if one.failure]

    def told(self, loss: tuple[float, float]) -> str:
        """How those ended that were in flight or sent later, for the report of a test."""
        ended = [one for one in self.asked if one.ended >= loss[0]]
        flight = [one for one in ended if one.was_in_flight(loss)]
        longest = max((one.ended - one.sent for one in ended), default=0.0)
        answered = min((one.ended for one in ended if one.sent > loss[1] and not one.failure), default=float("inf"))
        failed = [f"{one.sent - loss[0]:+.2f} to {one.ended - loss[0]:+.2f} s: {one.failure}" for one in self.failed]
        return (
            f"lost within {loss[1] - loss[0]:.2f} s; {len(ended)} requests ended, {len(flight)} of them in flight "
            f"then, the longest took {longest:.1f} s; the first that was sent afterwards was answered after "
            f"{answered - loss[1]:.1f} s; {len(failed)} failed: {failed}"
        )


@contextmanager
def asking(url: str, bodies: list[dict[str, Any]], headers: dict[str, str], pause_s: float = 0.0) -> Iterator[Clients]:
    """As many clients as bodies, each of which asks its own again and again until the block ends."""
    clients, ending = Clients(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask_all(clients, ending, url, bodies, headers, pause_s)))
    thread.start()
    try:
        yield clients
    finally:
        ending.set()
        thread.join()


async def _ask_all(
    clients: Clients,
    ending: threading.Event,
    url: str,
    bodies: list[dict[str, Any]],
    headers: dict[str, str],
    pause_s: float,
) -> None:
    async def ask_on(client: aiohttp.ClientSession, body: dict[str, Any]) -> None:
        while not ending.is_set():
            sent = time.monotonic()
            failure = await _failure(client, url, body)
            clients.asked.append(Asked(sent, time.monotonic(), failure))
            await asyncio.sleep(pause_s)

    timeout = aiohttp.ClientTimeout(LONGEST_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as client:
        await asyncio.gather(*(ask_on(client, body) for body in bodies))


async def _failure(client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> str | None:
    """Why it failed; None for a whole answer."""
    try:
        async with client.post(url, json=body) as answer:
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__
    if answer.status != 200:
        return f"{answer.status}: {text[:300]}"
    if body.get("stream") and ("data: [DONE]" not in text or '"error"' in text):
        return f"a stream that was cut: {text[-300:]}"
    return None
