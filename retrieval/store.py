"""Milvus: the only file that knows pymilvus.

A collection `help-desk` is an alias; behind it stands a collection whose name ends in a digest of the settings it was
built with (model, chunking, schema). New settings are built beside the old ones and the alias is switched when they
are complete. Reads of a sync are strong; searches take what is visible.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cluster.digests import digest_json
from retrieval.errors import TOKEN_VARIABLE, Refused, RetrievalUnavailable, translated, unknown_collection
from retrieval.filters import Comparison, Filter, encode
from retrieval.names import alias_of, name_of, physical_name
from retrieval.schema import Row, Settings, fields, indexes

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONNECT_S = 5.0
WRITE_S = 60.0
PAGE_ROWS = 1000
STALE_WAITS_S = (0.2, 1.0, 3.0)
BM25_SINCE = (2, 5)
SETTINGS_PROPERTY = "tandem.settings"
COLLECTION_NOT_FOUND = 100
ALIAS_NOT_FOUND = 1600
_STORED = ("id", "source", "source_hash", "num_chunks")
EVERY_ROW = Comparison("id", "!=", "")


@dataclass(frozen=True)
class StoredChunk:
    """What a sync needs to know of a row."""

    id: str
    source: str
    source_hash: str
    num_chunks: int


class Store:
    """A connection to one Milvus server. Thread-safe; every call has a deadline.

    Raises:
        RetrievalUnavailable: (by any member) the server does not answer in time.
        TandemError: the server refuses the token from MILVUS_TOKEN.
    """

    def __init__(self, uri: str, timeout_s: float = CONNECT_S) -> None:
        self.uri, self.timeout_s = uri, timeout_s
        self.client = _connected(uri, timeout_s)
        with explained(uri):
            self.version: str = self.client.get_server_version(timeout=timeout_s)

    @property
    def is_lite(self) -> bool:
        return self.version.startswith("milvus_lite")

    @property
    def has_bm25(self) -> bool:
        """Milvus Lite has it, servers since 2.5."""
        if self.is_lite:
            return True
        number = re.search(r"(\d+)\.(\d+)", self.version)
        return number is not None and (int(number[1]), int(number[2])) >= BM25_SINCE

    def filled(self, name: str) -> list[str]:
        """Every collection of `name` that may hold rows: the one that is searched, and unfinished ones.

        One without its indexes holds none: a run was killed while it was made, and the next one makes it anew.
        """
        with explained(self.uri):
            return [
                physical
                for physical in self._built().get(name, [])
                if self.client.list_indexes(physical, timeout=self.timeout_s)
            ]

    def collections(self) -> list[str]:
        """Names of the collections that can be searched."""
        return sorted({name for name in self._built() if self.current(name) is not None})

    def current(self, name: str) -> str | None:
        """The collection behind the alias of `name`; None where none is complete."""
        try:
            with explained(self.uri):
                described = self.client.describe_alias(alias_of(name), timeout=self.timeout_s)
        except Refused as refused:
            if refused.code == ALIAS_NOT_FOUND or "not exist" in refused.seen or "not found" in refused.seen:
                return None
            raise
        return str(described["collection_name"])

    def settings(self, physical: str) -> Settings | None:
        """What `physical` was built with; None where another version of the schema wrote it."""
        with explained(self.uri):
            described = self.client.describe_collection(physical, timeout=self.timeout_s)
        with suppress(KeyError, TypeError, ValueError):
            return Settings(**json.loads(described["properties"][SETTINGS_PROPERTY]))
        return None

    def load(self, physical: str) -> None:
        """Into the server's memory, where it must be to be read; Milvus Lite forgets that when it restarts."""
        with explained(self.uri):
            self.client.load_collection(physical, timeout=WRITE_S)

    def ensure(self, name: str, settings: Settings) -> str:
        """The collection of `name` with these settings, created empty where it does not exist."""
        physical = self.physical(name, settings)
        with explained(self.uri):
            exists = self.client.has_collection(physical, timeout=self.timeout_s)
            if exists and not self._indexed(physical, settings):
                self.client.drop_collection(physical, timeout=self.timeout_s)
                exists = False
            if not exists:
                self._create(physical, settings)
        return physical

    def physical(self, name: str, settings: Settings) -> str:
        return physical_name(name, digest_json(asdict(settings)))

    def publish(self, name: str, physical: str) -> None:
        """Point the alias of `name` at `physical` and drop what was built for it with other settings."""
        current = self.current(name)
        with explained(self.uri):
            if current is None:
                self.client.create_alias(physical, alias_of(name), timeout=self.timeout_s)
            elif current != physical:
                self.client.alter_alias(physical, alias_of(name), timeout=self.timeout_s)
            for other in self._built().get(name, []):
                if other != physical:
                    self.client.drop_collection(other, timeout=self.timeout_s)

    def chunks(self, physical: str, where: Filter = EVERY_ROW) -> list[StoredChunk]:
        """The rows of a collection, without their text and vector, with all that was written before the call."""
        found: list[StoredChunk] = []

        def collect(rows: Iterator[StoredChunk]) -> int:
            found[:] = rows
            return len(found)

        self.read_rows(physical, collect, where)
        return found

    def drop(self, name: str) -> None:
        """Remove everything that was built for `name`."""
        built = self._built().get(name, [])
        with explained(self.uri):
            if built and self.current(name):
                self.client.drop_alias(alias_of(name), timeout=self.timeout_s)
            for physical in built:
                self.client.drop_collection(physical, timeout=WRITE_S)

    def read_rows(
        self, physical: str, collect: Callable[[Iterator[StoredChunk]], int], where: Filter = EVERY_ROW
    ) -> None:
        """Hand `collect` the rows of a collection one by one; it returns their number, and may be called again.

        An iterator alone is not strong on a server: 2.3.5 leaves out what was written last, also where it is told to
        be. The count is, and makes the server catch up; where a replica still lags, the pages are read again.
        """
        expression = encode(where)
        with explained(self.uri):
            for wait_s in STALE_WAITS_S:
                expected = self.count(physical, expression, "Strong", WRITE_S)
                found = collect(self._rows(physical, expression))
                if found == expected:
                    return
                time.sleep(wait_s)
        raise RetrievalUnavailable(
            f"Milvus at {self.uri} shows {found} of the {expected} rows of {physical}.",
            "A server whose replicas catch up within seconds, and one writer of a collection.",
            "Run this again once the server is less busy.",
        )

    def _rows(self, physical: str, expression: str) -> Iterator[StoredChunk]:
        pages = self.client.query_iterator(
            physical, batch_size=PAGE_ROWS, filter=expression, output_fields=list(_STORED),
            consistency_level="Strong", timeout=WRITE_S,
        )  # fmt: skip
        try:
            while rows := pages.next():
                yield from (StoredChunk(**{key: row[key] for key in _STORED}) for row in rows)
        finally:
            pages.close()

    def vectors(self, physical: str, ids: Sequence[str]) -> dict[str, list[float]]:
        """The vectors of those of `ids` that exist."""
        found: dict[str, list[float]] = {}
        with explained(self.uri):
            for start in range(0, len(ids), PAGE_ROWS):
                page = list(ids[start : start + PAGE_ROWS])
                rows = self.client.get(physical, page, output_fields=["id", "vector"], timeout=WRITE_S)
                found |= {row["id"]: [float(x) for x in row["vector"]] for row in rows}
        return found

    def upsert(self, physical: str, rows: Sequence[Row]) -> None:
        with explained(self.uri):
            for start in range(0, len(rows), PAGE_ROWS):
                page = [row.record() for row in rows[start : start + PAGE_ROWS]]
                self.client.upsert(physical, page, timeout=WRITE_S)

    def delete(self, physical: str, ids: Sequence[str]) -> None:
        with explained(self.uri):
            for start in range(0, len(ids), PAGE_ROWS):
                self.client.delete(physical, ids=list(ids[start : start + PAGE_ROWS]), timeout=WRITE_S)

    def compact(self, physical: str) -> None:
        """Ask the server to rewrite its files without the rows that were deleted."""
        with explained(self.uri):
            self.client.compact(physical, timeout=WRITE_S)

    def finish(self, physical: str) -> int:
        """Flush (an unflushed Milvus Lite searches 30 times slower) and return the number of rows, all visible."""
        with explained(self.uri):
            self.client.flush(physical, timeout=WRITE_S)
            return self.count(physical, "", "Strong", WRITE_S)

    def count(self, physical: str, expression: str, consistency: str, timeout_s: float) -> int:
        counted = self.client.query(
            physical, filter=expression, output_fields=["count(*)"], consistency_level=consistency, timeout=timeout_s
        )
        return int(counted[0]["count(*)"])

    def close(self) -> None:
        self.client.close()

    def _built(self) -> dict[str, list[str]]:
        """Our collections on this server, also incomplete ones, by name."""
        with explained(self.uri):
            physicals = self.client.list_collections(timeout=self.timeout_s)
        built: dict[str, list[str]] = {}
        for physical in physicals:
            if (name := name_of(physical)) is not None:
                built.setdefault(name, []).append(physical)
        return built

    def _indexed(self, physical: str, settings: Settings) -> bool:
        """False where a process was killed between creating a collection and its indexes."""
        names = set(self.client.list_indexes(physical, timeout=self.timeout_s))
        return names >= {index.field_name for index in indexes(settings)}

    def _create(self, physical: str, settings: Settings) -> None:
        from pymilvus import DataType, Function, FunctionType

        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=True)
        for field in fields(settings):
            schema.add_field(field.name, DataType[field.kind], **field.options)
        if settings.bm25:
            schema.add_function(Function("bm25", FunctionType.BM25, ["content"], ["sparse"]))
        wanted = self.client.prepare_index_params()
        for index in indexes(settings):
            wanted.add_index(index.field_name, index_type=index.kind, metric_type=index.metric, params=index.params)
        self.client.create_collection(
            physical,
            schema=schema,
            index_params=wanted,
            consistency_level="Bounded",
            properties={SETTINGS_PROPERTY: json.dumps(asdict(settings))},
            timeout=WRITE_S,
        )


def _connected(uri: str, timeout_s: float) -> "MilvusClient":
    """A connection of its own: closing a shared one would close it for others in the process."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from pymilvus import MilvusClient

    # pymilvus logs each failure with its stack trace, also those that are explained here.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    with explained(uri):
        return MilvusClient(uri, token=os.environ.get(TOKEN_VARIABLE, ""), timeout=timeout_s, dedicated=True)


@contextmanager
def explained(uri: str, name: str | None = None) -> Iterator[None]:
    """Errors of pymilvus and gRPC as ours; `name` is the collection that was asked for."""
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, RpcError) as error:
        if name is not None and getattr(error, "code", None) == COLLECTION_NOT_FOUND:
            raise unknown_collection(name, []) from error
        raise translated(error, uri) from error
