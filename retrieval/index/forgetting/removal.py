"""Taking forgotten documents out of a collection, also while another thread writes to it.

with closing(Remover(store, "help-desk", forgotten, writer.lock)) as remover:
    ...                                  # what is put on the list meanwhile goes within a few seconds
"""

import threading
from collections.abc import Iterable
from contextlib import suppress

from cluster.errors import TandemError
from retrieval.filters.filters import FieldComparison, Filter, In, unfit
from retrieval.index.forgetting.check import read_origin
from retrieval.index.forgetting.forgotten import Forgotten, ForgottenDocument, ForgottenSource
from retrieval.store.rows import EVERY_ROW, StoredChunk
from retrieval.store.store import Store

POLL_S = 1.0
# Names of 4 KiB each make a filter that is just short enough.
NAMES_AT_ONCE = 50


def remove_documents(
    store: Store, collection: str, left_out: Forgotten, documents: Iterable[ForgottenDocument]
) -> dict[str, int]:
    """Remove what everything built for `collection` holds of some forgotten documents, under whatever name.

    Returns:
        By the documents' names in the index, the number of rows that were removed.
    """
    removed: dict[str, int] = {}
    for physical in store.filled(collection):
        store.load(physical)
        for document in documents:
            by_source = find_rows(store, physical, left_out, document)
            ids = [row.id for rows in by_source.values() for row in rows]
            if ids:
                store.delete(physical, ids)
                store.finish(physical)
                store.compact(physical)
            for source, rows in by_source.items():
                removed[source] = removed.get(source, 0) + len(rows)
    return removed


def find_rows(
    store: Store, physical: str, left_out: Forgotten, document: ForgottenDocument
) -> dict[str, list[StoredChunk]]:
    """The rows of a forgotten document, by the name under which they stand."""
    names = {*document.names}
    if document.texts:
        names |= {row.source for row in store.chunks(physical, In("identity", document.texts))}
    by_source: dict[str, list[StoredChunk]] = {}
    for start in range(0, len(names), NAMES_AT_ONCE):
        page = sorted(names)[start : start + NAMES_AT_ONCE]
        for row in store.chunks(physical, named_filter(tuple(page))):
            if row.source in page:
                by_source.setdefault(row.source, []).append(row)
    return {source: rows for source, rows in by_source.items() if _is_forgotten(left_out, document, source, rows)}


def _is_forgotten(left_out: Forgotten, document: ForgottenDocument, source: str, rows: list[StoredChunk]) -> bool:
    """The name may have become that of another document. What an earlier version indexed has nothing but the name."""
    text, origin = max(row.identity for row in rows), read_origin(max(row.origin for row in rows))
    if not text and not origin:
        return source in document.names
    return bool(left_out.find(source, origin) or left_out.find_text(text, origin))


def named_filter(names: tuple[str, ...]) -> Filter:
    """A file may have a name that no filter can hold; then every row is looked at."""
    if any(unfit(name) for name in names):
        return EVERY_ROW
    return FieldComparison("source", "==", names[0]) if len(names) == 1 else In("source", names)


class Remover:
    """Looks at the list of what is forgotten while a collection is written, and removes what is new on it."""

    def __init__(self, store: Store, collection: str, forgotten: ForgottenSource, lock: threading.Lock) -> None:
        self.noticed = threading.Event()
        """Set where the list has changed, until the next run takes it up."""
        self._store, self._collection, self._forgotten, self._lock = store, collection, forgotten, lock
        self._ended = threading.Event()
        self._seen = forgotten.read()
        self._thread = threading.Thread(target=self._follow, daemon=True, name=f"forgetting-{collection}")
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(POLL_S):
            # A list or a store that does not answer now is asked again; the run itself ends where it cannot read it.
            with suppress(TandemError, OSError):
                self._look()

    def _look(self) -> None:
        if (now := self._forgotten.read()) == self._seen:
            return
        known = {*self._seen.documents}
        if new := [document for document in now.documents if document not in known]:
            with self._lock:
                remove_documents(self._store, self._collection, now, new)
        self._seen = now
        self.noticed.set()
