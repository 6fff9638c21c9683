"""How well each mode finds the sources that answer judged questions, and how long it takes.

    found = evaluate(config, uri, "help-desk", read(Path("questions.jsonl")))

A source counts once, at the rank of its best chunk. Metrics are trec_eval's, through ir_measures: recall@k is the share
of a question's relevant sources among the first k, MRR@10 one over the rank of the first relevant one, nDCG@10 with the
grade as gain and log2(rank + 1) as discount. A question for which nothing relevant is found counts 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cluster.errors import TandemError
from retrieval.config import Mode, RetrievalConfig
from retrieval.errors import unknown_collection
from retrieval.filters.rights import NOBODY, Rights
from retrieval.quality.judgments import JudgedQuestion, JudgedSet
from retrieval.search.fusion import Ranking
from retrieval.search.search import Searcher
from retrieval.store.store import Store

NDCG, MRR = "nDCG@10", "MRR@10"
CUTOFFS = (1, 3, 10)
COMPARED = ("recall@10", MRR, NDCG)
"""What is shown with its differences; all are computed."""
MODES: tuple[Mode, ...] = ("dense", "bm25", "hybrid")
CONFIDENCE = 0.95
NUM_DRAWS = 10_000
SEED = 20
MAX_DRAWN_AT_ONCE = 10_000_000

Scores = dict[str, list[float]]
"""By metric, one value for each question."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ModeResult:
    """What one mode found, and at which cost."""

    mode: Mode
    rankings: list[list[str]]
    """For each question its sources, the best first."""
    scores: Scores
    latency_p50_ms: float
    """Of a search for `retrieval.top_k` passages, the question's embedding included."""
    latency_p95_ms: float
    embed_s: float
    """Seconds spent on embedding all questions once: nought where the mode embeds none."""

    @property
    def means(self) -> dict[str, float]:
        return {metric: float(np.mean(values)) for metric, values in self.scores.items()}


@dataclass(frozen=True)
class ModeDifference:
    """The mean of `first` less that of `second` over the same questions, with its 95 % interval."""

    first: Mode
    second: Mode
    metric: str
    difference: float
    low: float | None
    high: float | None
    """None with a single question."""

    @property
    def separated(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class SearchEvaluation:
    collection: str
    questions: list[JudgedQuestion]
    num_without: int
    """Questions without a relevant source, which were left out."""
    missing: list[str]
    """Relevant sources that the collection does not hold: they are counted as not found."""
    modes: list[ModeResult]
    differences: list[ModeDifference]


def evaluate_search(
    config: RetrievalConfig,
    uri: str,
    collection: str,
    judged: JudgedSet,
    on_progress: Progress = print,
    rights: Rights = NOBODY,
) -> SearchEvaluation:
    """Ask `collection` every question in every mode that its server has, as a caller with these rights.

    Raises:
        UnknownCollection: it has not been built.
        RetrievalUnavailable: the store stopped answering; nothing is measured by halves.
        TandemError: the collection holds none of the relevant sources, or another model's vectors.
    """
    has_bm25, missing = _look_at(config, uri, collection, judged)
    # Loads the model and warms it up, whatever the project's own mode is.
    searcher = Searcher(config.model_copy(update={"mode": "dense"}), uri)
    try:
        modes = [
            _measured(searcher, collection, judged.questions, mode, on_progress, rights)
            for mode in (MODES if has_bm25 else MODES[:1])
        ]
    finally:
        searcher.close()
    pairs = combinations(reversed(modes), 2)
    differences = [_difference(first, second, metric) for first, second in pairs for metric in first.scores]
    return SearchEvaluation(collection, judged.questions, judged.num_without, missing, modes, differences)


def ranked(
    searcher: Searcher, collection: str, questions: Sequence[JudgedQuestion], ranking: Ranking, rights: Rights
) -> list[list[str]]:
    """For each question the sources of its candidates, the best first and each once."""
    rankings = []
    for question in questions:
        hits = searcher.candidates(collection, question.question, ranking, rights=rights).hits
        rankings.append(list(dict.fromkeys(hit.source for hit in hits)))
    return rankings


def score_ranking(questions: Sequence[JudgedQuestion], rankings: Sequence[Sequence[str]]) -> Scores:
    """Every metric for each question; `rankings` are of distinct sources, in the questions' order."""
    from ir_measures import RR, Qrel, R, ScoredDoc, iter_calc, nDCG

    measures = {R @ cutoff: f"recall@{cutoff}" for cutoff in CUTOFFS} | {RR @ 10: MRR, nDCG @ 10: NDCG}
    qrels = [
        Qrel(str(number), source, grade)
        for number, question in enumerate(questions)
        for source, grade in question.grades.items()
    ]
    # Scores fall by one from rank to rank: trec_eval sorts by score, and ties by name.
    run = [
        ScoredDoc(str(number), source, -rank)
        for number, ranking in enumerate(rankings)
        for rank, source in enumerate(ranking)
    ]
    scores: Scores = {name: [0.0] * len(questions) for name in measures.values()}
    for metric in iter_calc(list(measures), qrels, run):
        scores[measures[metric.measure]][int(metric.query_id)] = float(metric.value)
    return scores


def bootstrap_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The interval of a mean over questions: percentiles of 10,000 bootstrap draws with a fixed seed. Of paired
    differences it is the paired bootstrap. None with a single question."""
    from scipy.stats import bootstrap

    if len(values) < 2:
        return None
    result = bootstrap(
        (np.asarray(values),), np.mean, n_resamples=NUM_DRAWS, batch=max(1, MAX_DRAWN_AT_ONCE // len(values)),
        confidence_level=confidence, method="percentile", rng=SEED,
    ).confidence_interval  # fmt: skip
    return float(result.low), float(result.high)


def _look_at(config: RetrievalConfig, uri: str, collection: str, judged: JudgedSet) -> tuple[bool, list[str]]:
    """Whether the server has BM25, and which relevant sources the collection does not hold."""
    store = Store(uri, config.milvus)
    try:
        physical = store.current(collection)
        if physical is None:
            raise unknown_collection(collection, store.collections())
        store.load(physical)
        held = {chunk.source for chunk in store.chunks(physical)}
        relevant = {source for question in judged.questions for source in question.grades}
        if not relevant & held:
            raise _none_held(collection, sorted(relevant), sorted(held))
        return store.has_bm25, sorted(relevant - held)
    finally:
        store.close()


def _measured(
    searcher: Searcher,
    collection: str,
    questions: Sequence[JudgedQuestion],
    mode: Mode,
    on_progress: Progress,
    rights: Rights,
) -> ModeResult:
    rankings, timed = [], []
    for number, question in enumerate(questions, start=1):
        rankings += ranked(searcher, collection, [question], Ranking(mode), rights)
        timed.append(searcher.search(collection, question.question, mode=mode, rights=rights))
        on_progress(f"{mode}: {number} of {len(questions)} questions")
    p50, p95 = np.percentile([one.took_ms for one in timed], [50, 95])
    embed_s = sum(one.embed_ms for one in timed) / 1000
    return ModeResult(mode, rankings, score_ranking(questions, rankings), float(p50), float(p95), embed_s)


def _difference(first: ModeResult, second: ModeResult, metric: str) -> ModeDifference:
    """The same questions were asked of both, so their differences are what is drawn from."""
    values = np.subtract(first.scores[metric], second.scores[metric]).tolist()
    low, high = bootstrap_interval(values) or (None, None)
    return ModeDifference(first.mode, second.mode, metric, float(np.mean(values)), low, high)


def _none_held(collection: str, relevant: Sequence[str], held: Sequence[str]) -> TandemError:
    return TandemError(
        f"The collection {collection} holds none of the {len(relevant)} relevant sources, such as {relevant[0]}.",
        "A source is named by its path below its source folder"
        + (f", as the collection has it: {held[0]}." if held else ", and the collection is empty."),
        "Correct the names in the judged file, or bring the collection up to date with `tandem index`.",
    )
