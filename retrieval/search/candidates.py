"""The legs of a search, side by side: embeddings and words in Milvus, and a live engine beside them."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field

from cluster.errors import TandemError
from retrieval.errors import RetrievalUnavailable
from retrieval.filters.filters import Filter
from retrieval.filters.rights import Rights
from retrieval.search.collections import CollectionRetrievers
from retrieval.search.fusion import ResolvedRanking, RetrieverName
from retrieval.search.live_engine import LiveEngine
from retrieval.search.live_query import NotTranslatable
from retrieval.search.retrievers import CANDIDATES, Candidate

NUM_THREADS = 64


@dataclass(frozen=True)
class CandidateRequest:
    """One question, as the stages need it."""

    collection: str
    question: str
    vector: list[float]
    """Of the question; empty where nothing goes by meaning."""
    settled: ResolvedRanking
    rights: Rights
    where: Filter | None
    """What the caller wants to be found."""
    visible: Filter
    """That, and what the caller may find."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What BM25 is asked, by collection."""


@dataclass(frozen=True)
class CandidateLists:
    """What each leg found, in its own order, and how long it took in milliseconds."""

    legs: dict[RetrieverName, list[Candidate]]
    index_ms: float
    live_ms: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """Legs that did not answer, with the reason."""


class CandidateSearch:
    """Asks the legs of one store and one live engine. Thread-safe."""

    def __init__(self, legs: CollectionRetrievers, live: LiveEngine | None, timeout_s: float) -> None:
        self._legs, self._live, self._timeout_s = legs, live, timeout_s
        self._threads = ThreadPoolExecutor(NUM_THREADS, "leg")

    def ask(self, asked: CandidateRequest) -> CandidateLists:
        """Raises RetrievalUnavailable where the store does not answer, or a live engine that is required."""
        started = time.perf_counter()
        waiting = self._threads.submit(self._ask_live, asked) if self._live is not None else None
        legs = self._index(asked)
        index_ms = _ms(started)
        if waiting is None:
            return CandidateLists(legs, index_ms)
        return self._with_live(CandidateLists(legs, index_ms), waiting, started)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._live is not None:
            self._live.close()

    def _index(self, asked: CandidateRequest) -> dict[RetrieverName, list[Candidate]]:
        """Side by side: they cost as much as one after the other, and where a core is free the slower one is waited
        for alone (docs/decisions/017)."""
        mode, common = asked.settled.mode, (asked.visible, CANDIDATES, self._timeout_s)
        if mode == "dense":
            return {"dense": self._legs.dense(asked.collection, asked.vector, *common)}
        if mode == "bm25":
            return {"bm25": self._legs.bm25(asked.collection, asked.words, *common)}
        words = self._threads.submit(self._legs.bm25, asked.collection, asked.words, *common)
        return {"dense": self._legs.dense(asked.collection, asked.vector, *common), "bm25": words.result()}

    def _ask_live(self, asked: CandidateRequest) -> tuple[list[Candidate], float]:
        assert self._live is not None
        started = time.perf_counter()
        return self._live.search(asked.question, asked.rights, asked.where), _ms(started)

    def _with_live(
        self, answers: CandidateLists, waiting: "Future[tuple[list[Candidate], float]]", started: float
    ) -> CandidateLists:
        assert self._live is not None
        config = self._live.config
        try:
            candidates, live_ms = waiting.result(max(0.0, started + config.timeout_s - time.perf_counter()))
        except NotInTime:
            waiting.cancel()
            error: TandemError = self._live.late()
        except (RetrievalUnavailable, NotTranslatable) as refused:
            error = refused
        else:
            return CandidateLists({**answers.legs, "live": candidates}, answers.index_ms, live_ms)
        if config.required:
            raise error
        return CandidateLists(answers.legs, answers.index_ms, _ms(started), {"live": error.seen})


def _ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
