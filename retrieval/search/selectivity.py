"""How much of a collection a filter lets through: Milvus Lite's search of its graph has to know.

    share = Shares(store).of("help-desk", encode(allowed(rights)), timeout_s=3)

Lite counts by reading every row that matches, vectors included: 1 s for 10,000 rows. So only a few are read, of those
that pass and of those that do not; where both are many, they are counted beside the searches, not before them.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from cluster.errors import TandemError
from retrieval.store.collection import alias_of
from retrieval.store.connection import explained_connection
from retrieval.store.store import Store

FEW = 500
KEPT_S = 5.0
# Counting takes at most this part of the time.
COUNTED_SHARE = 0.02
COUNT_S = 60.0
MAX_KEPT = 1000

Key = tuple[str, str]
"""A collection's name, and a filter as Milvus reads it."""


@dataclass(frozen=True)
class _Known:
    share: float
    until: float
    """When it is counted again, on the monotonic clock."""


class Selectivity:
    """The shares of one store's collections, as they were a few seconds ago. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Key, _Known] = {}
        self._counting: set[Key] = set()
        self._lock = threading.Lock()

    def of(self, name: str, expression: str, timeout_s: float) -> float:
        """From 0 to 1. Until many rows have been counted it is a lower bound, so that a search looks at too many
        vectors, not at too few.

        Raises:
            UnknownCollection: it has not been built.
            RetrievalUnavailable: the store does not answer within `timeout_s`.
        """
        key = (name, expression)
        known = self._known.get(key)
        if known is None:
            share, exact = self._looked(key, timeout_s)
            known = self._keep(key, share, KEPT_S if exact else 0.0)
        if known.until <= time.monotonic():
            self._count_beside(key)
        return known.share

    def _looked(self, key: Key, timeout_s: float) -> tuple[float, bool]:
        """The share, and whether it is exact."""
        name, expression = key
        with explained_connection(self._store.uri, name):
            total = self._store.count(alias_of(name), "", "Bounded", timeout_s)
        if not total or (hidden := self._few(name, f"not ({expression})", timeout_s)) == 0:
            return 1.0, True
        if hidden < FEW:
            return max(0.0, 1 - hidden / total), True
        visible = self._few(name, expression, timeout_s)
        return min(1.0, visible / total), visible < FEW

    def _few(self, name: str, expression: str, timeout_s: float) -> int:
        """The number of rows that match, up to FEW."""
        with explained_connection(self._store.uri, name):
            rows = self._store.client.query(
                alias_of(name), filter=expression, output_fields=["position"], limit=FEW, timeout=timeout_s
            )
        return len(rows)

    def _count_beside(self, key: Key) -> None:
        with self._lock:
            if key in self._counting:
                return
            self._counting.add(key)
        threading.Thread(target=self._count, args=(key,), name="share", daemon=True).start()

    def _count(self, key: Key) -> None:
        name, expression = key
        started = time.monotonic()
        try:
            # A store that is gone, or was closed meanwhile, is told to whoever searches.
            with suppress(TandemError, ValueError):
                share, exact = self._looked(key, COUNT_S)
                if not exact:
                    with explained_connection(self._store.uri, name):
                        total, visible = (
                            self._store.count(alias_of(name), each, "Bounded", COUNT_S) for each in ("", expression)
                        )
                    share = min(1.0, visible / total) if total else 1.0
                self._keep(key, share, max(KEPT_S, (time.monotonic() - started) / COUNTED_SHARE))
        finally:
            self._counting.discard(key)

    def _keep(self, key: Key, share: float, seconds: float) -> _Known:
        if len(self._known) >= MAX_KEPT:
            self._known.clear()
        known = self._known[key] = _Known(share, time.monotonic() + seconds)
        return known
