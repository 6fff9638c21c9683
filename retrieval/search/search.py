"""A question -> the passages that may answer it.

searcher = Searcher(config, uri)
result = searcher.search("help-desk", "How do I reset my password?")

Stages: the legs (embeddings, words, a live engine) side by side, their fusion, the reranker, the threshold,
repetitions, neighbours. A hit carries the scores of all that saw it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from operator import mul
from typing import TYPE_CHECKING

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.analysis.analyzer import Analyzer, read_analyzer
from retrieval.analysis.normalization import readable
from retrieval.config import Mode, RetrievalConfig
from retrieval.embedding.embedder import Embedder, check_device, make_embedder
from retrieval.errors import unknown_collection
from retrieval.filters.filters import And, Filter
from retrieval.filters.rights import NOBODY, Rights, allowed
from retrieval.search.candidates import CandidateRequest, CandidateSearch
from retrieval.search.collections import CollectionRetrievers
from retrieval.search.exact_terms import put_exact_first
from retrieval.search.fusion import AS_CONFIGURED, Ranking, ResolvedRanking, dense_weight, fuse_rankings, to_hit
from retrieval.search.hits import Hit
from retrieval.search.live_engine import LiveEngine
from retrieval.search.passages import passages_of, widen_passages
from retrieval.search.reranker import Reranker
from retrieval.search.retrievers import Retrievers
from retrieval.store.collection import SCHEMA_VERSION, collections_of
from retrieval.store.store import Store, require_search_mode

if TYPE_CHECKING:
    from retrieval.embedding.endpoint import EndpointEmbedder

# More threads wait for each other where the cores are busy with a model, and one question gains little from them.
EMBED_THREADS = 1
CHECK_EVERY_S = 2.0


@dataclass(frozen=True)
class SearchResult:
    """Hits, the best first, and how long each stage took, in milliseconds."""

    hits: list[Hit]
    embed_ms: float = 0.0
    search_ms: float = 0.0
    """Everything after the question's embedding."""
    index_ms: float = 0.0
    """Of `search_ms`: Milvus, both ways to search it."""
    live_ms: float | None = None
    """The live engine, which is asked meanwhile; None without one."""
    rerank_ms: float | None = None
    """Of `search_ms`: the reranker; None without one."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Legs that did not answer (`live`), with the reason: the hits are without them."""

    @property
    def took_ms(self) -> float:
        return round(self.embed_ms + self.search_ms, 2)

    @property
    def timings(self) -> dict[str, float]:
        """The milliseconds of the stages that there were, and of all together."""
        stages = ("took_ms", "embed_ms", "search_ms", "index_ms", "live_ms", "rerank_ms")
        return {name: value for name in stages if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class SearchModels:
    """What questions are embedded and candidates reranked with."""

    embedder: "Embedder | EndpointEmbedder"
    reranker: Reranker | None

    @classmethod
    def load(cls, config: RetrievalConfig, device: str = "cpu") -> "SearchModels":
        """Raises TandemError where a model cannot be loaded, or there is no such device."""
        check_device(device, "questions are", "Set `serving.gpus_per_retriever: 0` to embed and rerank on a CPU.")
        reranker = Reranker(config.reranker, device) if config.reranker else None
        return cls(make_embedder(config, device, EMBED_THREADS), reranker)


def digest_search_settings(config: RetrievalConfig, uri: str) -> str:
    """What two searchers have in common that give the same answers: the settings, the store, and our version."""
    return digest_json([version("tandem"), config.model_dump(mode="json"), uri])


@dataclass(frozen=True)
class _Checked:
    """A collection as it was a moment ago."""

    physical: str
    at: float
    """When it was looked at, on the monotonic clock."""
    analyzer: Analyzer | None
    languages: frozenset[str]
    is_known: bool
    """False where an analyzer made its terms that this version does not have."""


class Searcher:
    """Searches the collections of one store with one embedding model. Thread-safe.

    Args:
        uri: http(s) address of Milvus; for `local` the one that `local_server` gives.
        device: where questions are embedded and candidates reranked, as torch writes it.
        models: those of `config` where they are loaded already; they stay on their device.

    Raises:
        RetrievalUnavailable: the store does not answer.
        TandemError: a model cannot be loaded, or the server has no BM25 and the mode needs it.
    """

    def __init__(
        self, config: RetrievalConfig, uri: str, device: str = "cpu", models: "SearchModels | None" = None
    ) -> None:
        self.config = config
        self._store = Store(uri, config.milvus, config.timeout_s)
        require_search_mode(self._store, config)
        self._legs = CollectionRetrievers(Retrievers(self._store))
        self._asking = CandidateSearch(self._legs, LiveEngine(config.live) if config.live else None, config.timeout_s)
        models = models or SearchModels.load(config, device)
        self._embedder, self._reranker = models.embedder, models.reranker
        self._checked: dict[str, _Checked] = {}
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
        vector: list[float] | None = None,
    ) -> SearchResult:
        """The `top_k` best passages for `question` among those that `rights` and `where` both let through.

        `collection` may name several, as `handbook+tickets`: sources then begin with the collection's name.
        Without rights nothing of a tenant and nothing with labels is found. Nothing in `where` can widen that.
        `mode` and `ranking` take the place of the project's settings for this search. `vector` is the question's where
        it was embedded already.

        Raises:
            UnknownCollection: it has not been built.
            RetrievalUnavailable: the store does not answer within `config.timeout_s`, or a live engine that is
                required does not.
            TandemError: the collection was built with another embedding model or by another version; the filter is
                malformed or too large.
        """
        ranking = replace(ranking, mode=mode or ranking.mode)
        top_k = top_k or self.config.top_k
        started = time.perf_counter()
        request = self._asked(collection, question, ranking, rights, where, vector)
        ranked = self._ranked(request, max(top_k, self.config.rerank_candidates), started)
        hits = self._passages(request, ranked.hits, top_k) if ranked.hits else []
        return replace(ranked, hits=hits, search_ms=round(_ms(started) - ranked.embed_ms, 2))

    def candidates(
        self,
        collection: str,
        question: str,
        ranking: Ranking = AS_CONFIGURED,
        *,
        rights: Rights = NOBODY,
        where: Filter | None = None,
    ) -> SearchResult:
        """The ranked chunks, up to 50 of each leg, of which `search` makes its passages. Raises as it does."""
        started = time.perf_counter()
        request = self._asked(collection, question, ranking, rights, where)
        return self._ranked(request, self.config.rerank_candidates, started)

    def collections(self) -> list[str]:
        """Names of the collections that can be searched."""
        return self._store.collections()

    def keep_export(self) -> str | None:
        """Keep an export of the embedding model for the searches that come, where it had to be loaded for this one.

        Returns:
            Why it cannot be exported, where that is known.
        """
        return self._embedder.keep_export() or self._embedder.not_exported

    def close(self) -> None:
        self._asking.close()
        self._legs.close()
        self._store.close()

    def _asked(
        self,
        collection: str,
        question: str,
        ranking: Ranking,
        rights: Rights,
        where: Filter | None,
        vector: list[float] | None = None,
    ) -> CandidateRequest:
        question = readable(question)
        mode = ranking.mode or self.config.mode
        weight = self.config.dense_weight if ranking.dense_weight is None else ranking.dense_weight
        if weight is None:
            weight = dense_weight(self._embedder.fluency(question) if mode == "hybrid" else 1.0)
        settled = ResolvedRanking(mode, ranking.fusion or self.config.fusion, weight)
        visible = allowed(rights) if where is None else And((allowed(rights), where))
        embedded = settled.mode != "bm25" and question.strip()
        if embedded and vector is None:
            vector = self._embedder.embed_question(question)
        return CandidateRequest(
            collection, question, vector if embedded and vector else [], settled, rights, where, visible
        )

    def _ranked(self, asked: CandidateRequest, num_reranked: int, started: float) -> SearchResult:
        embed_ms = _ms(started) if asked.vector else 0.0
        if not asked.question.strip():
            return SearchResult([])
        words = {each: self._words(each, asked) for each in collections_of(asked.collection)}
        answers = self._asking.ask(replace(asked, words=words))
        hits, rerank_ms = fuse_rankings(answers.legs, asked.settled), None
        if len(answers.legs) > 1:
            hits = put_exact_first(hits, asked.question)
        if self._reranker is not None:
            reranking = time.perf_counter()
            hits = self._reranker.rerank(asked.question, hits, num_reranked)
            rerank_ms = _ms(reranking)
        return SearchResult(
            hits, embed_ms, round(_ms(started) - embed_ms, 2), answers.index_ms, answers.live_ms, rerank_ms,
            answers.missing,
        )  # fmt: skip

    def _words(self, collection: str, asked: CandidateRequest) -> str:
        """What BM25 is asked: the question's terms, made as those of the collection's documents were."""
        self._check(collection, asked.settled.mode)
        checked = self._checked[collection]
        if asked.settled.mode != "dense" and not checked.is_known:
            raise TandemError(
                f"The collection {collection} was analysed for BM25 by another version of Tandem.",
                "Questions are taken apart into words as the documents were.",
                "Build it again with `tandem index`; its vectors are taken over.",
            )
        if checked.analyzer is None:
            return asked.question
        return checked.analyzer.question_terms(asked.question, checked.languages)

    def _passages(self, asked: CandidateRequest, hits: Sequence[Hit], top_k: int) -> list[Hit]:
        config = self.config
        if self._reranker is not None:
            hits = [hit for hit in hits if hit.scores.rerank is not None]
        if config.min_score is not None:
            hits = self._above(asked, hits, config.min_score)
        passages = passages_of(hits, top_k, config.prompt_tokens)
        if not config.neighbours:
            return passages
        around = self._legs.around(asked.collection, passages, config.neighbours, asked.visible, config.timeout_s)
        return widen_passages(passages, [to_hit(candidate) for candidate in around], config.prompt_tokens)

    def _above(self, asked: CandidateRequest, hits: Sequence[Hit], min_score: float) -> list[Hit]:
        """The hits that reach the threshold by the reranker's score, or by the cosine, computed where it's missing."""
        if self._reranker is not None:
            return [hit for hit in hits if hit.score >= min_score]
        if not asked.vector:
            return list(hits)
        cosines = self._cosines(asked, [hit for hit in hits if hit.scores.dense is None])
        known = [
            hit if hit.scores.dense is not None else replace(hit, scores=replace(hit.scores, dense=cosines.get(hit.id)))
            for hit in hits
        ]
        return [hit for hit in known if hit.scores.dense is not None and hit.scores.dense >= min_score]

    def _cosines(self, asked: CandidateRequest, hits: Sequence[Hit]) -> dict[str, float]:
        """Of hits that were found in other ways. Vectors have length one, so a product is the cosine."""
        indexed = [hit.id for hit in hits if not hit.is_live]
        vectors = self._legs.vectors(asked.collection, indexed, asked.visible, self.config.timeout_s)
        if live := [hit for hit in hits if hit.is_live]:
            embedded = self._embedder.embed_documents([f"{hit.title}\n{hit.text}" for hit in live])
            vectors |= {hit.id: vector.tolist() for hit, vector in zip(live, embedded, strict=True)}
        return {key: sum(map(mul, vector, asked.vector)) for key, vector in vectors.items()}

    def _check(self, collection: str, mode: Mode) -> None:
        """The alias may be switched to another model's collection while we run, so this is asked again and again."""
        seen = self._checked.get(collection)
        if seen is not None and time.monotonic() - seen.at < CHECK_EVERY_S:
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
        analyzer = read_analyzer(settings.analyzer)
        if seen is None or physical != seen.physical:
            self._store.load(physical)
        languages = self._store.languages(physical) if analyzer else frozenset[str]()
        is_known = analyzer is not None or not settings.analyzer
        self._checked[collection] = _Checked(physical, time.monotonic(), analyzer, languages, is_known)


def _ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
