"""One question asked of several collections of a store: `handbook+tickets`.

retrievers = CollectionRetrievers(Retrievers(store))
found = retrievers.dense("handbook+tickets", vector, allowed(rights), top_k=10, timeout_s=3)

What is found in each is one list, by its score. Cosines of one embedding model can be compared. Scores of BM25 can
nearly be: each collection counts for itself how rare a word is. The id and the source of what is found begin with the
collection's name (`tickets/2024/a.md`). A single name is searched as before.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from retrieval.filters.filters import Filter
from retrieval.search.hits import Hit
from retrieval.search.retrievers import Candidate, Retrievers
from retrieval.store.collection import SEPARATOR, collections_of

Found = TypeVar("Found")
NUM_THREADS = 32


class CollectionRetrievers:
    """`Retrievers` whose names may stand for several collections. Thread-safe. Raises as they do: where one collection
    cannot be searched, nothing is found in the others."""

    def __init__(self, one: Retrievers) -> None:
        self._one = one
        self._threads = ThreadPoolExecutor(NUM_THREADS, "collection")

    def dense(self, name: str, vector: list[float], where: Filter, top_k: int, timeout_s: float) -> list[Candidate]:
        return self._best(name, top_k, lambda each: self._one.dense(each, vector, where, top_k, timeout_s))

    def bm25(self, name: str, words: Mapping[str, str], where: Filter, top_k: int, timeout_s: float) -> list[Candidate]:
        """`words` has the question's terms for each collection: each has an analyzer and languages of its own."""
        return self._best(name, top_k, lambda each: self._one.bm25(each, words[each], where, top_k, timeout_s))

    def around(self, name: str, hits: Sequence[Hit], distance: int, where: Filter, timeout_s: float) -> list[Candidate]:
        if SEPARATOR not in name:
            return self._one.around(name, hits, distance, where, timeout_s)

        def beside(collection: str) -> list[Candidate]:
            own = [
                replace(hit, id=_without(collection, hit.id), source=_without(collection, hit.source))
                for hit in hits
                if _is_in(collection, hit.id)
            ]
            return self._one.around(collection, own, distance, where, timeout_s)

        return [_named(each, one) for each, found in self._each(name, beside) for one in found]

    def vectors(self, name: str, ids: Sequence[str], where: Filter, timeout_s: float) -> dict[str, list[float]]:
        if SEPARATOR not in name:
            return self._one.vectors(name, ids, where, timeout_s)

        def own(collection: str) -> dict[str, list[float]]:
            inside = [_without(collection, key) for key in ids if _is_in(collection, key)]
            return self._one.vectors(collection, inside, where, timeout_s)

        return {f"{each}/{key}": vector for each, found in self._each(name, own) for key, vector in found.items()}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _best(self, name: str, top_k: int, search: Callable[[str], list[Candidate]]) -> list[Candidate]:
        if SEPARATOR not in name:
            return search(name)
        found = [_named(each, one) for each, candidates in self._each(name, search) for one in candidates]
        return sorted(found, key=lambda one: -one.score)[:top_k]

    def _each(self, name: str, ask: Callable[[str], Found]) -> Iterable[tuple[str, Found]]:
        names = collections_of(name)
        return zip(names, self._threads.map(ask, names), strict=True)


def _named(collection: str, candidate: Candidate) -> Candidate:
    return replace(candidate, id=f"{collection}/{candidate.id}", source=f"{collection}/{candidate.source}")


def _is_in(collection: str, key: str) -> bool:
    return key.startswith(f"{collection}/")


def _without(collection: str, key: str) -> str:
    return key.removeprefix(f"{collection}/")
