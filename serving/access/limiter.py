"""How much each key has used lately. One for all gateways, so that a limit holds however many there are.

It counts what was admitted, not what has ended: a request is in its windows from the moment at which it may begin.
"""

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ray.serve.handle import DeploymentHandle

from cluster.storage.files import write_atomically
from serving.access.keys import Limits

MINUTE_S = 60.0
DAY_S = 86_400
WRITE_EVERY_S = 5.0
USAGE = "usage/daily.json"


@dataclass(frozen=True)
class Admitted:
    """A request that may begin; `ticket` ends it."""

    ticket: int


@dataclass(frozen=True)
class Refusal:
    """One that may not, why, and when it makes sense to try again."""

    reason: str
    retry_after_s: int
    limit: str = ""
    """Its name in `Limits`."""


@dataclass
class _Used:
    """What a key has used: times of requests, tickets with their times and tokens, and who is still being answered."""

    requests: deque[float] = field(default_factory=deque)
    tokens: dict[int, tuple[float, int]] = field(default_factory=dict)
    running: dict[int, float] = field(default_factory=dict)
    """When each ticket ends by itself: a gateway that died gives nothing back."""

    def forget(self, now: float) -> None:
        while self.requests and self.requests[0] <= now - MINUTE_S:
            self.requests.popleft()
        while self.tokens and (oldest := next(iter(self.tokens))) and self.tokens[oldest][0] <= now - MINUTE_S:
            del self.tokens[oldest]
        for ticket in [ticket for ticket, ends in self.running.items() if ends <= now]:
            del self.running[ticket]

    @property
    def num_tokens(self) -> int:
        return sum(number for _, number in self.tokens.values())


class Limiter:
    """A deployment of one replica; its calls never wait, so that one follows the other.

    Args:
        daily: the file in which the tokens of the day are kept over a restart.
        longest_s: how long a request may take.
    """

    def __init__(self, daily: Path, longest_s: float, clock: Callable[[], float] = time.time) -> None:
        self._daily, self._longest_s, self._clock = daily, longest_s, clock
        self._used: dict[str, _Used] = {}
        self._last_ticket, self._written = 0, 0.0
        self._day, self._of_day = _read(daily)

    async def admit(self, key: str, limits: Limits, num_tokens: int) -> Admitted | Refusal:
        """Whether a request that may take so many tokens (prompt and answer) may begin."""
        now = self._clock()
        self._turn(now)
        used = self._used.setdefault(key, _Used())
        used.forget(now)
        refused = self._refusal(key, used, limits, num_tokens, now)
        if refused:
            return refused
        self._last_ticket += 1
        used.requests.append(now)
        used.tokens[self._last_ticket] = now, num_tokens
        used.running[self._last_ticket] = now + self._longest_s
        self._of_day[key] = self._of_day.get(key, 0) + num_tokens
        return Admitted(self._last_ticket)

    async def settle(self, key: str, ticket: int, reserved: int, num_tokens: int) -> None:
        """A request has ended, and has taken `num_tokens` instead of those that were reserved for it."""
        now = self._clock()
        self._turn(now)
        used = self._used.setdefault(key, _Used())
        began = used.running.pop(ticket, now + self._longest_s) - self._longest_s
        if ticket in used.tokens:
            used.tokens[ticket] = used.tokens[ticket][0], num_tokens
        if int(began) // DAY_S == self._day:  # else it was counted on a day that is over
            self._of_day[key] = max(0, self._of_day.get(key, 0) + num_tokens - reserved)
        if now - self._written >= WRITE_EVERY_S:
            self._written = now
            write_atomically(self._daily, json.dumps({"day": self._day, "tokens": self._of_day}))

    def _refusal(self, key: str, used: _Used, limits: Limits, num_tokens: int, now: float) -> Refusal | None:
        if limits.concurrency is not None and len(used.running) >= limits.concurrency:
            return refusal("concurrency", limits, 0)
        if limits.requests_per_minute is not None and len(used.requests) >= limits.requests_per_minute:
            freed = used.requests[len(used.requests) - limits.requests_per_minute]
            return refusal("requests_per_minute", limits, freed + MINUTE_S - now)
        if limits.tokens_per_minute is not None and used.num_tokens + num_tokens > limits.tokens_per_minute:
            freed = next(iter(used.tokens.values()))[0] if used.tokens else now
            return refusal("tokens_per_minute", limits, freed + MINUTE_S - now)
        if limits.tokens_per_day is not None and self._of_day.get(key, 0) + num_tokens > limits.tokens_per_day:
            return refusal("tokens_per_day", limits, DAY_S - now % DAY_S)
        return None

    def _turn(self, now: float) -> None:
        if (day := int(now) // DAY_S) != self._day:
            self._day, self._of_day = day, {}


class RemoteLimiter:
    """The limiter as a gateway asks for it."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def admit(self, key: str, limits: Limits, num_tokens: int) -> Admitted | Refusal:
        decision: Admitted | Refusal = await self._handle.admit.remote(key, limits, num_tokens)
        return decision

    async def settle(self, key: str, ticket: int, reserved: int, num_tokens: int) -> None:
        self._handle.settle.remote(key, ticket, reserved, num_tokens)


def refusal(limit: str, limits: Limits, wait_s: float) -> Refusal:
    """Why a request may not begin: the name of the limit, as in `Limits`."""
    most = getattr(limits, limit)
    reasons = {
        "concurrency": f"may have {most} requests answered at a time",
        "requests_per_minute": f"may send {most} requests a minute",
        "tokens_per_minute": f"may use {most} tokens a minute",
        "tokens_per_day": f"may use {most} tokens a day (UTC)",
    }
    return Refusal(f"This key {reasons[limit]}", max(1, int(wait_s) + 1), limit)


def _read(daily: Path) -> tuple[int, dict[str, int]]:
    try:
        kept = json.loads(daily.read_text())
        return int(kept["day"]), {str(key): int(number) for key, number in kept["tokens"].items()}
    except (FileNotFoundError, ValueError, KeyError):
        return 0, {}
