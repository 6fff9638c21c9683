"""The rows of a collection: read, written, deleted and counted."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.config import MilvusConfig
from retrieval.errors import RequestRefused, RetrievalUnavailable, wrong_replicas
from retrieval.filters.filters import FieldComparison, Filter, encode
from retrieval.store.collection import ChunkRow
from retrieval.store.connection import explained_connection
from retrieval.store.retries import load_when_needed, retry_patiently

PAGE_ROWS = 1000
STALE_WAITS_S = (0.2, 1.0, 3.0)
# A server compacts a segment by itself from a fifth of deleted rows on, but looks only now and then.
COMPACT_SHARE = 0.2
_STORED = ("id", "source", "source_hash", "num_chunks")
_STORED_SINCE = ("identity", "origin")
EVERY_ROW = FieldComparison("id", "!=", "")
_IMPORTED, _NOT_IMPORTED = "Completed", ("Failed", "Failed and cleaned")
_LISTED_IMPORTS = 10_000


@dataclass(frozen=True)
class StoredChunk:
    """What a sync needs to know of a row."""

    id: str
    source: str
    source_hash: str
    num_chunks: int
    identity: str = ""
    """In the first row of a document what its text is known by; empty in the others, and in those of earlier
    versions."""
    origin: str = ""
    """The same, of where it is kept."""


@dataclass(frozen=True)
class ImportState:
    """How far an import job is."""

    is_complete: bool
    failed: str | None
    """The server's reason; None where it did not fail."""


class Rows:
    """What a store does with rows. Every call but `begin_import` may be repeated, and is while the server is
    away."""

    uri: str
    client: Any
    config: MilvusConfig
    write_s: float
    patience_s: float
    gone_since: float | None
    before_write: Callable[[], None] | None
    _deleted: Counter[str]

    def check_writer(self) -> None:
        """Raises WriterReplaced where this process held the lease of a collection and lost it."""
        if self.before_write is not None:
            self.before_write()

    @retry_patiently
    def load(self, physical: str, timeout_s: float | None = None) -> None:
        """Into the server's memory, where it must be to be read; Milvus Lite forgets that when it restarts."""
        timeout_s = timeout_s or self.write_s
        try:
            with explained_connection(self.uri):
                self.client.load_collection(physical, replica_number=self.config.replicas, timeout=timeout_s)
        except RequestRefused as refused:
            if "replica" not in refused.seen and "node" not in refused.seen:
                raise
            raise wrong_replicas(physical, self.config.replicas, refused) from refused

    def chunks(self, physical: str, where: Filter = EVERY_ROW) -> list[StoredChunk]:
        """The rows of a collection, without their text and vector, with all that was written before the call."""
        stored: list[StoredChunk] = []

        def collect(rows: Iterator[StoredChunk]) -> int:
            stored[:] = rows
            return len(stored)

        self.read_rows(physical, collect, where)
        return stored

    @retry_patiently
    @load_when_needed
    def read_rows(
        self, physical: str, collect: Callable[[Iterator[StoredChunk]], int], where: Filter = EVERY_ROW
    ) -> None:
        """Hand `collect` the rows of a collection one by one; it returns their number, and may be called again.

        An iterator alone is not strong on a server: 2.3.5 leaves out what was written last, also where it is told to
        be. The count is, and makes the server catch up; where a replica still lags, the pages are read again.
        """
        expression = encode(where)
        with explained_connection(self.uri):
            for wait_s in STALE_WAITS_S:
                expected = self.count(physical, expression, "Strong", self.write_s)
                collected = collect(self._rows(physical, expression))
                if collected == expected:
                    return
                time.sleep(wait_s)
        raise RetrievalUnavailable(
            f"Milvus at {self.uri} shows {collected} of the {expected} rows of {physical}.",
            "A server whose replicas catch up within seconds, and one writer of a collection.",
            "Run this again once the server is less busy.",
        )

    def _rows(self, physical: str, expression: str) -> Iterator[StoredChunk]:
        pages = self.client.query_iterator(
            physical, batch_size=PAGE_ROWS, filter=expression, output_fields=[*_STORED, *_STORED_SINCE],
            consistency_level="Strong", timeout=self.write_s,
        )  # fmt: skip
        try:
            while rows := pages.next():
                for row in rows:
                    since = (str(row.get(key) or "") for key in _STORED_SINCE)
                    yield StoredChunk(*(row[key] for key in _STORED), *since)
        finally:
            pages.close()

    @retry_patiently
    @load_when_needed
    def vectors(self, physical: str, ids: Sequence[str]) -> dict[str, list[float]]:
        """The vectors of those of `ids` that exist."""
        by_id: dict[str, list[float]] = {}
        with explained_connection(self.uri):
            for start in range(0, len(ids), PAGE_ROWS):
                page = list(ids[start : start + PAGE_ROWS])
                rows = self.client.get(physical, page, output_fields=["id", "vector"], timeout=self.write_s)
                by_id |= {row["id"]: [float(x) for x in row["vector"]] for row in rows}
        return by_id

    @retry_patiently
    @load_when_needed
    def upsert(self, physical: str, rows: Sequence[ChunkRow]) -> None:
        self.check_writer()
        with explained_connection(self.uri):
            for start in range(0, len(rows), PAGE_ROWS):
                page = [row.record() for row in rows[start : start + PAGE_ROWS]]
                self.client.upsert(physical, page, timeout=self.write_s)

    @retry_patiently
    @load_when_needed
    def delete(self, physical: str, ids: Sequence[str]) -> None:
        self.check_writer()
        with explained_connection(self.uri):
            for start in range(0, len(ids), PAGE_ROWS):
                self.client.delete(physical, ids=list(ids[start : start + PAGE_ROWS]), timeout=self.write_s)
        self._deleted[physical] += len(ids)

    @retry_patiently
    @load_when_needed
    def compact(self, physical: str) -> None:
        """Ask the server to rewrite its files without the rows that were deleted."""
        with explained_connection(self.uri):
            self.client.compact(physical, timeout=self.write_s)
        del self._deleted[physical]

    @retry_patiently
    @load_when_needed
    def finish(self, physical: str, flush: bool = True) -> int:
        """The number of rows, all visible.

        Args:
            flush: an unflushed Milvus Lite searches 30 times slower. A server's flush takes three seconds and leaves
                one more small segment; it keeps its log and flushes by itself in time.

        Where much was deleted, the server is asked to compact too.
        """
        with explained_connection(self.uri):
            if flush:
                self.client.flush(physical, timeout=self.write_s)
            num_rows = self.count(physical, "", "Strong", self.write_s)
        num_deleted = self._deleted[physical]
        if num_deleted > COMPACT_SHARE * (num_rows + num_deleted):
            self.compact(physical)
        return num_rows

    def begin_import(self, physical: str, path: str, num_rows: int, dimensions: int) -> int:
        """Have the server import a file as it sees it; returns the number of the job.

        The one call that is not repeated: a server that took it and was not heard would import the rows twice.
        """
        self.check_writer()
        with explained_connection(self.uri):
            # MilvusClient has no method for this; the module functions that have are leaving pymilvus.
            job: int = self.client._get_connection().do_bulk_insert(physical, "", [path], timeout=self.write_s)
        return job

    @retry_patiently
    def import_state(self, job: int) -> ImportState:
        with explained_connection(self.uri):
            state = self.client._get_connection().get_bulk_insert_state(job, timeout=self.write_s)
        failed = (state.failed_reason or "it does not say why") if state.state_name in _NOT_IMPORTED else None
        return ImportState(state.state_name == _IMPORTED, failed)

    @retry_patiently
    def unfinished_imports(self, physical: str) -> list[int]:
        """The jobs of a collection that may still add rows to it."""
        with explained_connection(self.uri):
            states = self.client._get_connection().list_bulk_insert_tasks(
                _LISTED_IMPORTS, physical, timeout=self.write_s
            )
        return [state.task_id for state in states if state.state_name not in (_IMPORTED, *_NOT_IMPORTED)]

    @retry_patiently
    def reload(self, physical: str) -> None:
        """Bring in what was imported: a collection that is loaded gets it by and by. Nothing is found meanwhile."""
        with explained_connection(self.uri):
            self.client.release_collection(physical, timeout=self.write_s)
        self.load(physical)

    def count(self, physical: str, expression: str, consistency: str, timeout_s: float) -> int:
        counted = self.client.query(
            physical, filter=expression, output_fields=["count(*)"], consistency_level=consistency, timeout=timeout_s
        )
        return int(counted[0]["count(*)"])
