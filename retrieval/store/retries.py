"""Waiting for a store that went away: the calls of a sync are repeated, since each of them may be."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from retrieval.errors import CollectionNotLoaded, RetrievalUnavailable

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 3.0
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Waits(Protocol):
    """What waits: `patience_s` seconds in all, counted from when the store was last known to answer."""

    patience_s: float
    gone_since: float | None


class Loads(Protocol):
    """What brings a collection into the server's memory."""

    def load(self, collection: str, /) -> None: ...


Waiter = TypeVar("Waiter", bound=Waits)
Loader = TypeVar("Loader", bound=Loads)


def retry_patiently(
    method: Callable[Concatenate[Waiter, Arguments], Result],
) -> Callable[Concatenate[Waiter, Arguments], Result]:
    """Repeat a method that may be repeated, with growing pauses, while the store does not answer.

    Methods that call each other share one budget: the store is gone for all of them, or for none.

    Raises:
        RetrievalUnavailable: (by the method) it did not answer for `patience_s` seconds.
    """

    @wraps(method)
    def call(self: Waiter, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
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


def load_when_needed(
    method: Callable[Concatenate[Loader, str, Arguments], Result],
) -> Callable[Concatenate[Loader, str, Arguments], Result]:
    """Load the collection, which is the first argument, and repeat once: Milvus Lite forgets that when it restarts."""

    @wraps(method)
    def call(self: Loader, collection: str, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return method(self, collection, *arguments, **named)
        except CollectionNotLoaded:
            self.load(collection)
            return method(self, collection, *arguments, **named)

    return call
