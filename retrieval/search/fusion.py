"""Several rankings of passages -> one, with the scores of each kept.

    hits = fuse({"dense": found, "bm25": others}, Settled("hybrid", "weighted", dense_weight=0.7))

`rrf` adds weighted reciprocal ranks (Cormack, Clarke, Büttcher, SIGIR 2009), `weighted` the scores themselves, each
scaled to its leg's range. Weights are relative: fused scores end at 1 whatever the number of legs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retrieval.config import Fusion, Mode
from retrieval.search.hits import NO_SCORES, Hit, Scores
from retrieval.search.retrievers import CANDIDATES, Candidate

RetrieverName = Literal["dense", "bm25", "live"]

RRF_K = 60
DENSE_WEIGHTS = (0.1, 0.75)
"""Of a model that does not know the question's language, and of one that does (docs/decisions/017 and 047)."""


@dataclass(frozen=True)
class Ranking:
    """How one search ranks; what is None is as the project's settings have it."""

    mode: Mode | None = None
    fusion: Fusion | None = None
    dense_weight: float | None = None
    """Weight of the dense leg, from 0 to 1; BM25 has the rest."""


AS_CONFIGURED = Ranking()


@dataclass(frozen=True)
class ResolvedRanking:
    """A Ranking with nothing left open."""

    mode: Mode
    fusion: Fusion
    dense_weight: float


def fuse_rankings(legs: Mapping[RetrieverName, Sequence[Candidate]], ranking: ResolvedRanking) -> list[Hit]:
    """The passages of all legs, the best first; of a single leg they are as it ranked them, with its own scores.

    A passage that a leg did not find has nothing from it.
    """
    if len(legs) == 1:
        ((leg, candidates),) = legs.items()
        return [to_hit(one, Scores(**{leg: one.score}), one.score) for one in candidates]
    weights = _weights(legs, ranking.dense_weight)
    fused: dict[str, float] = {}
    for leg, candidates in legs.items():
        shares = _reciprocal_ranks(candidates) if ranking.fusion == "rrf" else _scaled(candidates, leg)
        for one, share in zip(candidates, shares, strict=True):
            fused[one.id] = fused.get(one.id, 0.0) + weights[leg] * share
    own = {leg: {one.id: one.score for one in candidates} for leg, candidates in legs.items()}
    known = {one.id: one for candidates in legs.values() for one in candidates}
    ordered = sorted(fused, key=lambda key: (-fused[key], key))
    return [
        to_hit(
            known[key], Scores(**{leg: scores.get(key) for leg, scores in own.items()}, fused=fused[key]), fused[key]
        )
        for key in ordered
    ]


def dense_weight(fluency: float) -> float:
    """The weight of the embeddings for a question whose language the model knows so well, from 0 to 1."""
    least, most = DENSE_WEIGHTS
    return least + fluency * (most - least)


def _weights(legs: Iterable[RetrieverName], dense_weight: float) -> dict[RetrieverName, float]:
    """A live leg weighs as much as BM25: both go by words."""
    raw = {leg: dense_weight if leg == "dense" else 1 - dense_weight for leg in legs}
    total = sum(raw.values())
    return {leg: weight / total for leg, weight in raw.items()} if total else dict.fromkeys(raw, 1 / len(raw))


def _reciprocal_ranks(candidates: Sequence[Candidate]) -> list[float]:
    """1 for the first, falling as 1 / (60 + rank)."""
    return [(RRF_K + 1) / (RRF_K + rank) for rank in range(1, len(candidates) + 1)]


def _scaled(candidates: Sequence[Candidate], leg: RetrieverName) -> list[float]:
    """1 for the best score, and 0 for the worst: of words that is 0 itself where they found all that has any of them.
    Else the last of two would be worth no more than what has none of the words."""
    scores = [one.score for one in candidates]
    if not scores or max(scores) == min(scores):
        return [1.0] * len(scores)
    low, high = min(scores), max(scores)
    if leg == "bm25" and len(candidates) < CANDIDATES:
        low = 0.0
    return [(score - low) / (high - low) for score in scores]


def to_hit(candidate: Candidate, scores: Scores = NO_SCORES, score: float = 0.0) -> Hit:
    title, _, text = candidate.content.partition("\n")
    return Hit(title, text, candidate.id, candidate.source, candidate.position, score, scores)
