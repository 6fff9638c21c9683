"""A question -> the passages that may answer it.

searcher = Searcher(config, uri)
result = searcher.search("help-desk", "How do I reset my password?")
"""

import time
from dataclasses import dataclass, replace

from cluster.errors import TandemError
from retrieval.config import Mode, RetrievalConfig
from retrieval.embedding import Embedder
from retrieval.errors import unknown_collection
from retrieval.filters import And, Filter
from retrieval.fusion import AS_CONFIGURED, Leg, Ranking, Settled, fuse
from retrieval.hits import Hit
from retrieval.indexing import check_mode
from retrieval.legs import CANDIDATES, Found, Legs
from retrieval.rights import NOBODY, Rights, allowed
from retrieval.schema import SCHEMA_VERSION
from retrieval.store import Store

# More threads wait for each other where the cores are busy with a model, and one question gains little from them.
EMBED_THREADS = 1
CHECK_EVERY_S = 2.0


@dataclass(frozen=True)
class SearchResult:
    """Hits and how long they took, in milliseconds."""

    hits: list[Hit]
    embed_ms: float
    search_ms: float

    @property
    def took_ms(self) -> float:
        return round(self.embed_ms + self.search_ms, 2)


class Searcher:
    """Searches the collections of one store with one embedding model. Thread-safe.

    Args:
        uri: http(s) address of Milvus; for `local` the one that `local_server` gives.
        device: where questions are embedded, as torch writes it.

    Raises:
        RetrievalUnavailable: the store does not answer.
        TandemError: the model cannot be loaded, or the server has no BM25 and the mode needs it.
    """

    def __init__(self, config: RetrievalConfig, uri: str, device: str = "cpu") -> None:
        self.config = config
        self._store = Store(uri, timeout_s=config.timeout_s)
        self._legs = Legs(self._store)
        check_mode(self._store, config)
        self._embedder = Embedder(config.embedding_model, device, EMBED_THREADS)
        self._checked: dict[str, tuple[str, float]] = {}
        if config.mode != "bm25":
            self._embedder.embed_question("the first one is slow")

    def search(
        self,
        collection: str,
        question: str,
        top_k: int | None = None,
        mode: Mode | None = None,
        *,
        ranking: Ranking = AS_CONFIGURED,
        rights: Rights = NOBODY,
        where: Filter | None = None,
    ) -> SearchResult:
        """The `top_k` best passages for `question` among those that `rights` and `where` both let through.

        Without rights nothing of a tenant and nothing with labels is found. Nothing in `where` can widen that.
        `mode` and `ranking` take the place of the project's settings for this search.

        Raises:
            UnknownCollection: it has not been built.
            RetrievalUnavailable: the store does not answer within `config.timeout_s`.
            TandemError: the collection was built with another embedding model or by another version; the filter is
                malformed or too large.
        """
        ranking = replace(ranking, mode=mode or ranking.mode)
        found = self.candidates(collection, question, ranking, rights=rights, where=where)
        return replace(found, hits=found.hits[: top_k or self.config.top_k])

    def candidates(
        self,
        collection: str,
        question: str,
        ranking: Ranking = AS_CONFIGURED,
        *,
        rights: Rights = NOBODY,
        where: Filter | None = None,
    ) -> SearchResult:
        """The ranked chunks, up to 50 of each leg, from which `search` makes its passages. Raises as it does."""
        started = time.perf_counter()
        settled = self._settled(ranking)
        if not question.strip():
            return SearchResult([], 0.0, 0.0)
        vector = [] if settled.mode == "bm25" else self._embedder.embed_question(question)
        embedded = time.perf_counter()
        self._check(collection, settled.mode)
        visible = allowed(rights) if where is None else And((allowed(rights), where))
        legs = self._asked(collection, question, vector, visible, settled.mode)
        hits = fuse(legs, settled)
        ended = time.perf_counter()
        return SearchResult(hits, _ms(embedded - started), _ms(ended - embedded))

    def collections(self) -> list[str]:
        """Names of the collections that can be searched."""
        return self._store.collections()

    def close(self) -> None:
        self._store.close()

    def _settled(self, ranking: Ranking) -> Settled:
        config = self.config
        return Settled(
            ranking.mode or config.mode,
            ranking.fusion or config.fusion,
            config.dense_weight if ranking.dense_weight is None else ranking.dense_weight,
        )

    def _asked(
        self, collection: str, question: str, vector: list[float], where: Filter, mode: Mode
    ) -> dict[Leg, list[Found]]:
        timeout_s = self.config.timeout_s
        legs: dict[Leg, list[Found]] = {}
        if mode != "bm25":
            legs["dense"] = self._legs.dense(collection, vector, where, CANDIDATES, timeout_s)
        if mode != "dense":
            legs["bm25"] = self._legs.bm25(collection, question, where, CANDIDATES, timeout_s)
        return legs

    def _check(self, collection: str, mode: Mode) -> None:
        """The alias may be switched to another model's collection while we run, so this is asked again and again."""
        seen, checked = self._checked.get(collection, ("", -CHECK_EVERY_S))
        if time.monotonic() - checked < CHECK_EVERY_S:
            return
        physical = self._store.current(collection)
        if physical is None:
            raise unknown_collection(collection, self.collections())
        settings = self._store.settings(physical)
        if settings is None or settings.schema_version != SCHEMA_VERSION:
            raise TandemError(
                f"The collection {collection} was built by another version of Tandem.",
                f"This version reads schema {SCHEMA_VERSION}, in which each row says who may find it.",
                "Build it again with `tandem index`.",
            )
        if mode != "bm25" and settings.embedding_model != self._embedder.identity:
            raise TandemError(
                f"The collection {collection} was built with another embedding model than {self._embedder.name}.",
                "Questions and passages are embedded by the same model.",
                "Build it again with `tandem index`, or name the model that it was built with.",
            )
        if physical != seen:
            self._store.load(physical)
        self._checked[collection] = physical, time.monotonic()


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
