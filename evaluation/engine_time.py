"""How long an engine was busy, and whose calls it was busy with: the machine time of an answer.

    engine = EngineTime()
    with engine.measure() as spent:      # one question, however many requests it takes
        ...
        with in_flight():                # one request, from sending it to the end of its response
            ...
    spent.seconds

An engine is busy while a request is in flight at it. Each instant is shared equally among the requests in flight then
(processor sharing), so that the shares of all requests add up to the time in which the engine was busy: nothing is
paid twice, and an engine that has little to do beside others' slow endpoints is not cheap for it. Requests that fail
and those that are tried again keep it busy too. Pauses between tries do not.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Spent:
    """The engine's time that a question has taken so far, in seconds, and the engine."""

    engine: "EngineTime"
    seconds: float = 0


_SPENT: ContextVar[Spent | None] = ContextVar("spent", default=None)


class EngineTime:
    """The busy time of one engine.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._in_flight = 0
        self._now = clock()
        # What a request that had been in flight from the beginning would have taken: the sum of 1 / number in flight.
        self._share: float = 0
        self.busy_s: float = 0
        """Seconds in which at least one request was in flight."""

    @contextmanager
    def measure(self) -> Iterator[Spent]:
        """Collect what the requests take that are made in this context, by `in_flight`."""
        spent = Spent(self)
        token = _SPENT.set(spent)
        try:
            yield spent
        finally:
            _SPENT.reset(token)

    def begin(self) -> float:
        """A request is sent. Returns what `end` takes."""
        self._pass()
        self._in_flight += 1
        return self._share

    def end(self, begun: float) -> float:
        """A request has ended, in whatever way. Returns its share of the engine's time, in seconds."""
        self._pass()
        self._in_flight -= 1
        return self._share - begun

    def _pass(self) -> None:
        now = self._clock()
        if self._in_flight:
            self.busy_s += now - self._now
            self._share += (now - self._now) / self._in_flight
        self._now = now


@contextmanager
def in_flight() -> Iterator[None]:
    """A request is in flight: it takes time of the engine that is measured in this context, if one is."""
    spent = _SPENT.get()
    if spent is None:
        yield
        return
    begun = spent.engine.begin()
    try:
        yield
    finally:
        spent.seconds += spent.engine.end(begun)
