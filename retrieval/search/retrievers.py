"""The ways to search one collection: by meaning and by words.

legs = Legs(store)
found = legs.dense("help-desk", vector, allowed(rights), top_k=10, timeout_s=3)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from retrieval.filters.filters import And, FieldComparison, Filter, In, Or, unfit
from retrieval.search.hits import Hit
from retrieval.search.selectivity import Selectivity
from retrieval.store.collection import alias_of
from retrieval.store.connection import explained_connection
from retrieval.store.index_parameters import search_parameters
from retrieval.store.retries import load_when_needed
from retrieval.store.store import Store

# Each leg hands over this many candidates.
CANDIDATES = 50
MAX_EF = 32_768
_FOUND = ["source", "position", "content"]


@dataclass(frozen=True)
class Candidate:
    id: str
    source: str
    position: int
    content: str
    score: float


class Retrievers:
    """Searches in a store's collections. Thread-safe. `where` is what may be found, in each way of searching.

    Raises:
        UnknownCollection: (by any member) it has not been built.
        RetrievalUnavailable: (by any member) the store does not answer within `timeout_s`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shares = Selectivity(store)

    @load_when_needed
    def dense(self, name: str, vector: list[float], where: Filter, top_k: int, timeout_s: float) -> list[Candidate]:
        """By cosine similarity; scores from -1 to 1. `where` is what may be found, in each way of searching."""
        parameters = self._dense_parameters(name, where, top_k, timeout_s)
        return self._search(name, [vector], "vector", parameters, where, top_k, timeout_s)

    @load_when_needed
    def bm25(self, name: str, words: str, where: Filter, top_k: int, timeout_s: float) -> list[Candidate]:
        """By BM25; scores from 0 up. `words` are the question's as the collection's analyzer makes them."""
        if not words.strip():
            return []
        candidates = self._search(name, [words], "sparse", {"metric_type": "BM25"}, where, top_k, timeout_s)
        # Milvus Lite reports BM25 as a distance below zero; the order is the same.
        return [replace(hit, score=abs(hit.score)) for hit in candidates]

    def load(self, name: str) -> None:
        """Into the server's memory again, which forgets it where it restarts. Goes on there where it takes longer."""
        self._store.load(alias_of(name), self._store.timeout_s)

    def around(self, name: str, hits: Sequence[Hit], distance: int, where: Filter, timeout_s: float) -> list[Candidate]:
        """The chunks up to `distance` before and after each passage in its document, those that `where` lets through.

        They have no score.
        """
        asked = [
            (hit, positions) for hit in hits if not hit.is_live and (positions := _positions_around(hit, distance))
        ]
        if not asked:
            return []
        documents = self._documents(name, [hit for hit, _ in asked], where, timeout_s)
        beside = tuple(And((documents[hit.id], In("position", each))) for hit, each in asked if hit.id in documents)
        rows = self._rows(name, where, Or(beside), ["id", *_FOUND], timeout_s) if beside else []
        wanted = {(hit.source, position) for hit, positions in asked for position in positions}
        return [
            Candidate(**{key: row[key] for key in ("id", *_FOUND)}, score=0.0)
            for row in rows
            if (row["source"], row["position"]) in wanted
        ]

    def _documents(self, name: str, hits: Sequence[Hit], where: Filter, timeout_s: float) -> dict[str, Filter]:
        """By the id of each hit what holds for its document: its name, or its digest where a filter cannot hold that.
        Documents that say the same have the same digest."""
        strange = tuple(hit.id for hit in hits if unfit(hit.source))
        rows = self._rows(name, where, In("id", strange), ["id", "source_hash"], timeout_s) if strange else []
        digests: dict[str, Filter] = {
            row["id"]: FieldComparison("source_hash", "==", row["source_hash"]) for row in rows
        }
        return {hit.id: FieldComparison("source", "==", hit.source) for hit in hits if not unfit(hit.source)} | digests

    def vectors(self, name: str, ids: Sequence[str], where: Filter, timeout_s: float) -> dict[str, list[float]]:
        """The vectors of those of `ids` that `where` lets through."""
        if not ids:
            return {}
        rows = self._rows(name, where, In("id", tuple(ids)), ["id", "vector"], timeout_s)
        return {row["id"]: [float(each) for each in row["vector"]] for row in rows}

    @load_when_needed
    def _rows(self, name: str, where: Filter, which: Filter, fields: list[str], timeout_s: float) -> list[Any]:
        # Each is within the limits of its own: a caller's filter is as large as it may be without ours beside it.
        expression = f"({self._store.encode(where)}) and ({self._store.encode(which)})"
        with explained_connection(self._store.uri, name):
            rows: list[Any] = self._store.client.query(
                alias_of(name),
                filter=expression,
                output_fields=fields,
                timeout=timeout_s,
                consistency_level=self._store.consistency,
            )
        return rows

    def _dense_parameters(self, name: str, where: Filter, limit: int, timeout_s: float) -> dict[str, Any]:
        ef = 0
        if self._store.is_lite and (share := self._shares.of(name, self._store.encode(where), timeout_s)) < 1:
            # Milvus Lite walks the graph as if nothing were filtered, and then leaves out what is: it must look at as
            # many more vectors as there are to leave out. Recall@10 of 1% of 10,000 rows: 0.38 with 64, 1.0 so.
            ef = min(MAX_EF, int(4 * limit / max(share, 1e-9)))
        return {"metric_type": "COSINE", "params": search_parameters(self._store.config, limit, ef)}

    def _search(
        self,
        name: str,
        data: list[Any],
        field: str,
        parameters: dict[str, Any],
        where: Filter,
        top_k: int,
        timeout_s: float,
    ) -> list[Candidate]:
        with explained_connection(self._store.uri, name):
            hits = self._store.client.search(
                alias_of(name),
                data=data,
                anns_field=field,
                search_params=parameters,
                filter=self._store.encode(where),
                limit=top_k,
                output_fields=_FOUND,
                timeout=timeout_s,
                consistency_level=self._store.consistency,
            )[0]
        return [_found(hit) for hit in hits]


def _positions_around(hit: Hit, distance: int) -> tuple[int, ...]:
    before = range(max(0, hit.position - distance), hit.position)
    return (*before, *range(hit.last_position + 1, hit.last_position + 1 + distance))


def _found(hit: Any) -> Candidate:
    return Candidate(id=hit["id"], score=float(hit["distance"]), **{key: hit["entity"][key] for key in _FOUND})
