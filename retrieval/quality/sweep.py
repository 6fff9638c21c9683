"""Which chunk size, mode and fusion find the sources of judged questions best: all of them are tried, on Ray.

    with ray_session(cluster):
        found = sweep(config, "help-desk", uri, judged, chunk_tokens=(100, 200, 400))

Each chunk size is a Ray task that builds a collection of its own, ranks every question in each way, and is dropped at
the end. The best of many looks better than it is, so its difference to the present setting comes with an interval that
is widened for the number of settings (Bonferroni).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.filters.rights import NOBODY, Rights
from retrieval.index.forgetting.forgotten import NOTHING, Forgotten
from retrieval.index.indexing import index_documents
from retrieval.quality.evaluate import CONFIDENCE, NDCG, Scores, bootstrap_interval, ranked, score_ranking
from retrieval.quality.judgments import JudgedQuestion, JudgedSet
from retrieval.search.fusion import Ranking
from retrieval.search.search import Searcher
from retrieval.store.store import Store

CHUNK_TOKENS = (100, 200, 400)
WEIGHTS = (0.25, 0.5, 0.75)
SINGLE = (Ranking("dense"), Ranking("bm25"))
HYBRID = tuple(Ranking("hybrid", fusion, weight) for fusion in ("rrf", "weighted") for weight in WEIGHTS)
MAX_NAME = 63
CANCEL_S = 10.0
Progress = Callable[[str], None]


@dataclass(frozen=True)
class SearchSetting:
    chunk_tokens: int
    ranking: Ranking


@dataclass(frozen=True)
class SweepTrial:
    """What a setting found; `scores` has a value for each question by metric."""

    setting: SearchSetting
    num_chunks: int
    scores: Scores

    @property
    def means(self) -> dict[str, float]:
        return {metric: float(np.mean(values)) for metric, values in self.scores.items()}


@dataclass(frozen=True)
class Sweep:
    """Every setting, the best by nDCG@10 first."""

    tried: list[SweepTrial]
    own: SweepTrial
    """The project's present setting."""
    gain: float
    """Mean nDCG@10 of the best less that of the present one, over the same questions."""
    low: float | None
    high: float | None
    """The interval of `gain`, widened for the number of settings; None with a single question."""

    @property
    def best(self) -> SweepTrial:
        return self.tried[0]

    @property
    def separated(self) -> bool:
        return self.low is not None and self.low > 0


def sweep_settings(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    judged: JudgedSet,
    chunk_tokens: Sequence[int] = CHUNK_TOKENS,
    on_progress: Progress = print,
    rights: Rights = NOBODY,
    forgotten: Forgotten = NOTHING,
) -> Sweep:
    """Try every chunk size with every ranking, as a caller with these rights; inside a Ray session.

    Args:
        collection: the collections are named after it; it is not touched itself.
        forgotten: documents that are left out.

    Raises:
        TandemError: sources, model or store are not as they must be. Nothing that was built for the sweep is left.
    """
    import ray

    sizes = sorted({*chunk_tokens, config.chunk_tokens})
    rankings = _rankings(config, _has_bm25(config, uri))
    names = {size: _name(collection, size) for size in sizes}
    # Ray hides no GPU from a task that asks for none, and each of them would take memory of the first one.
    attempt = ray.remote(num_cpus=1, runtime_env={"env_vars": {"CUDA_VISIBLE_DEVICES": ""}})(_try)
    running = {
        attempt.remote(
            config.model_copy(update={"chunk_tokens": size, "embedding_workers": 0}),
            names[size],
            uri,
            judged.questions,
            rankings,
            rights,
            forgotten,
        ): size
        for size in sizes
    }
    tried: list[SweepTrial] = []
    try:
        for size, evaluations in _finished(running):
            tried += evaluations
            on_progress(f"{len(tried) // len(rankings)} of {len(sizes)} chunk sizes tried: {size} tokens")
    finally:
        _, unfinished = ray.wait(list(running), num_returns=len(running), timeout=0)
        _cancel(unfinished)
        _drop(config, uri, list(names.values()))
    return _compared(tried, SearchSetting(config.chunk_tokens, rankings[0]))


def _cancel(running: list[Any]) -> None:
    """Ends what runs still. Gently first: a task that ends by itself while it is killed ends this process too, by a
    check that fails in Ray 2.60."""
    import ray

    for force in (False, True):
        for reference in running:
            ray.cancel(reference, force=force)
        if running:
            _, running = ray.wait(running, num_returns=len(running), timeout=CANCEL_S)


def _try(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    questions: list[JudgedQuestion],
    rankings: Sequence[Ranking],
    rights: Rights,
    forgotten: Forgotten,
) -> list[SweepTrial]:
    """Build a collection with one chunk size and ask it everything in every way; runs in a Ray task."""
    report = index_documents(config, collection, uri, lambda line: None, forgotten)
    searcher = Searcher(config.model_copy(update={"mode": "dense"}), uri)
    try:
        return [
            SweepTrial(
                SearchSetting(config.chunk_tokens, ranking),
                report.num_chunks,
                score_ranking(questions, ranked(searcher, collection, questions, ranking, rights)),
            )
            for ranking in rankings
        ]
    finally:
        searcher.close()


def _rankings(config: RetrievalConfig, has_bm25: bool) -> list[Ranking]:
    """The project's own first, as it is written among the others."""
    own = Ranking(config.mode, config.fusion, config.dense_weight) if config.mode == "hybrid" else Ranking(config.mode)
    others = [*SINGLE, *HYBRID] if has_bm25 else [Ranking("dense")]
    return list(dict.fromkeys([own, *others]))


def _finished(running: dict[object, int]) -> Iterator[tuple[int, list[SweepTrial]]]:
    """Each chunk size with what it gave, as they end; the first that fails is raised."""
    import ray
    from ray.exceptions import RayTaskError

    waiting = list(running)
    while waiting:
        (done, *_), waiting = ray.wait(waiting, num_returns=1)
        try:
            yield running[done], ray.get(done)
        except RayTaskError as error:
            if isinstance(error.cause, TandemError):
                raise error.cause from None
            raise


def _compared(tried: Sequence[SweepTrial], own: SearchSetting) -> Sweep:
    ordered = sorted(tried, key=lambda one: -one.means[NDCG])
    present = next(one for one in ordered if one.setting == own)
    values = np.subtract(ordered[0].scores[NDCG], present.scores[NDCG]).tolist()
    low, high = bootstrap_interval(values, 1 - (1 - CONFIDENCE) / max(1, len(ordered) - 1)) or (None, None)
    return Sweep(ordered, present, float(np.mean(values)), low, high)


def _has_bm25(config: RetrievalConfig, uri: str) -> bool:
    store = Store(uri, config.milvus)
    try:
        return store.has_bm25
    finally:
        store.close()


def _name(collection: str, chunk_tokens: int) -> str:
    suffix = f"-sweep-{chunk_tokens}"
    return collection[: MAX_NAME - len(suffix)].rstrip("-") + suffix


def _drop(config: RetrievalConfig, uri: str, names: Sequence[str]) -> None:
    store = Store(uri, config.milvus)
    try:
        for name in names:
            store.drop(name)
    finally:
        store.close()
