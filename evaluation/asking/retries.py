"""When a call is tried again, and how many calls to a model are in flight meanwhile.

A 429 slows all calls to the model down (half as many in flight, none before the endpoint is ready again); each answer
then adds a little (additive increase, multiplicative decrease: Chiu and Jain, 1989). Other failures cost the call alone
a pause.
"""

import asyncio
import heapq
import math
import random
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 16.0
SHORTEST_WAIT_S = 0.05
EPOCH_S = 1e9
"""A larger number of seconds is a point in time."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)")
_UNITS_S = {"ms": 1e-3, "mi": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_IN_WORDS = re.compile(rf"(?:try|retry)\s+(?:again\s+)?(?:in|after)\s+((?:{_DURATION.pattern}\s*)+)", re.IGNORECASE)


def wait_asked_for(headers: Mapping[str, str], texts: Iterable[str] = (), now: datetime | None = None) -> float | None:
    """Seconds that an endpoint asks to wait; None where it does not say so in a way that is known.

    Args:
        headers: of the response, whose names are read in upper and lower case.
        texts: of the error; OpenAI's says "Please try again in 20s".
    """
    found = {name.casefold(): value for name, value in headers.items()}
    now = now or datetime.now(UTC)
    if (wait_s := _number(found.get("retry-after-ms"))) is not None:
        return wait_s / 1000
    if (wait_s := _wait(found.get("retry-after"), now)) is not None:
        return wait_s
    if (wait_s := _wait_for_reset(found, now)) is not None:
        return wait_s
    matches = (match for text in texts if (match := _IN_WORDS.search(text)))
    return next((_duration(match[1]) for match in matches), None)


def backoff_s(num_tries: int, asked_s: float | None = None) -> float:
    """Seconds before the next try: those asked for or, without, twice as many each time; with a random part, so that
    calls that failed together do not come back together."""
    exponential = min(FIRST_WAIT_S * 2.0 ** (num_tries - 1), LONGEST_WAIT_S)
    if asked_s is None:
        return exponential * random.uniform(0.5, 1.0)
    # The wait grows here as well: an endpoint that always asks for a few milliseconds is not asked ten times in one.
    least_s = min(SHORTEST_WAIT_S * 2.0 ** (num_tries - 1), LONGEST_WAIT_S)
    return max(asked_s, least_s) + random.uniform(0.0, min(0.1 * asked_s, 1.0) + SHORTEST_WAIT_S)


def _wait_for_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Until the limit that is used up is there again: `x-ratelimit-reset-tokens`, `anthropic-ratelimit-...-reset`."""
    waits, used_up = [], []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        if (wait_s := _wait(value, now)) is None:
            continue
        waits.append(wait_s)
        if _number(headers.get(name.replace("reset", "remaining"))) == 0:
            used_up.append(wait_s)
    return max(used_up, default=min(waits, default=None))


def _wait(value: str | None, now: datetime) -> float | None:
    """Seconds from a number, a duration (6m0s), a point in time in words (HTTP, ISO 8601) or as a number."""
    if value is None:
        return None
    if (number := _number(value)) is not None:
        if number < EPOCH_S:
            return number
        since = number / 1000 if number > EPOCH_S * 1000 else number
        return max(since - now.timestamp(), 0.0)
    if (seconds := _duration(value)) is not None:
        return seconds
    try:
        when = datetime.fromisoformat(value.strip()) if value[:4].isdigit() else parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((when - now).total_seconds(), 0.0)


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _duration(value: str) -> float | None:
    """`1h2m3.5s` in seconds."""
    text = value.strip().casefold()
    if not re.fullmatch(rf"(?:{_DURATION.pattern}\s*)+", text):
        return None
    return sum(float(number) * _unit_s(unit) for number, unit in _DURATION.findall(text))


def _unit_s(unit: str) -> float:
    if unit in ("ms", "millisecond", "milliseconds"):
        return 1e-3
    return {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[unit[0]]


class Throttle:
    """How many calls to one model are in flight, at most `most`; those that wait are let in in the order of `place`.

    `failing_since`: the loop's time of the first of the failures since the last answer.
    """

    def __init__(self, most: int) -> None:
        self.most = self.limit = float(most)
        self.in_flight = 0
        self.failing_since: float | None = None
        self._closed_until = self._slowed_at = 0.0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, place: int) -> None:
        """Wait until the call may be made; `leave` ends it."""
        loop = asyncio.get_running_loop()
        if not self._waiting and self.in_flight < int(self.limit) and loop.time() >= self._closed_until:
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (place, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        self.in_flight -= 1
        if self._waiting:
            self._admit()

    def answered(self) -> None:
        """The endpoint gave an answer: where calls were slowed down, a few more are let in."""
        self.failing_since = None
        if self.limit < self.most:
            self.limit = min(self.limit + 1 / self.limit, self.most)

    def failed(self) -> float:
        """Note a failure that is tried again. Returns for how many seconds there was no answer."""
        now = asyncio.get_running_loop().time()
        self.failing_since = now if self.failing_since is None else self.failing_since
        return now - self.failing_since

    def slow_down(self, started: float, wait_s: float) -> None:
        """Let nobody in for a while, and then half as many; calls that were made together count once.

        Args:
            started: the loop's time at which the call was made that the endpoint refused.
        """
        now = asyncio.get_running_loop().time()
        self._closed_until = max(self._closed_until, now + wait_s)
        if started >= self._slowed_at:
            self.limit, self._slowed_at = max(1.0, min(self.limit, self.in_flight) // 2), now

    def _admit(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._closed_until:
            if self._timer is None:
                self._timer = loop.call_at(self._closed_until, self._on_time)
            return
        while self._waiting and self.in_flight < int(self.limit):
            _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def _on_time(self) -> None:
        self._timer = None
        self._admit()
