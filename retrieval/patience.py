"""Waiting for a store that went away: the calls of a sync are repeated, since each of them may be."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from retrieval.errors import NotLoaded, RetrievalUnavailable

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 3.0
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Waiting(Protocol):
    """What waits: `patience_s` seconds in all, counted from when the store was last known to answer."""

    patience_s: float
    gone_since: float | None

    def load(self, physical: str) -> None: ...


Self = TypeVar("Self", bound=Waiting)
Method = Callable[Concatenate[Self, Arguments], Result]


def patient(method: Method[Self, Arguments, Result]) -> Method[Self, Arguments, Result]:
    """Repeat a method that may be repeated, with growing pauses, while the store does not answer.

    Methods that call each other share one budget: the store is gone for all of them, or for none.

    Raises:
        RetrievalUnavailable: (by the method) it did not answer for `patience_s` seconds.
    """

    @wraps(method)
    def call(self: Self, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        started, pause = time.monotonic(), FIRST_WAIT_S
        while True:
            try:
                result = method(self, *arguments, **named)
            except RetrievalUnavailable:
                self.gone_since = self.gone_since or started
                if time.monotonic() + pause > self.gone_since + self.patience_s:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_WAIT_S)
            else:
                self.gone_since = None
                return result

    return call


def loaded(
    method: Callable[Concatenate[Self, str, Arguments], Result],
) -> Callable[Concatenate[Self, str, Arguments], Result]:
    """Load the collection, which is the first argument, and repeat once: Milvus Lite forgets that when it restarts."""

    @wraps(method)
    def call(self: Self, physical: str, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return method(self, physical, *arguments, **named)
        except NotLoaded:
            self.load(physical)
            return method(self, physical, *arguments, **named)

    return call
