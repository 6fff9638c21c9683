"""Fusion with values worked out by hand."""

import pytest

from retrieval.search.fusion import ResolvedRanking, RetrieverName, fuse_rankings
from retrieval.search.hits import Hit
from retrieval.search.retrievers import CANDIDATES, Candidate


def found(**scores: float) -> list[Candidate]:
    return [Candidate(name, f"{name}.md", 0, f"T\ntext of {name}", score) for name, score in scores.items()]


LEGS: dict[RetrieverName, list[Candidate]] = {"dense": found(a=0.9, b=0.8, c=0.4), "bm25": found(b=12.0, d=6.0, a=4.0)}


def fused(legs: dict[RetrieverName, list[Candidate]], how: str = "rrf", dense_weight: float = 0.5) -> dict[str, float]:
    hits = fuse_rankings(legs, ResolvedRanking("hybrid", how, dense_weight))  # type: ignore[arg-type]
    return {hit.id: hit.score for hit in hits}


def test_reciprocal_ranks() -> None:
    scores = fused(LEGS)
    assert list(scores) == ["b", "a", "d", "c"]
    assert scores["b"] == pytest.approx((61 / 62 + 1) / 2)
    assert scores["a"] == pytest.approx((1 + 61 / 63) / 2)
    assert scores["c"] == pytest.approx(61 / 63 / 2)


def test_scores_scaled_to_their_range() -> None:
    scores = fused(LEGS, "weighted", 0.75)
    assert scores == pytest.approx({"b": 0.75 * 0.8 + 0.25, "a": 0.75 + 0.25 * 4 / 12, "d": 0.25 * 6 / 12, "c": 0.0})
    assert list(scores) == ["b", "a", "d", "c"]


def test_the_last_of_a_full_leg_of_words_is_worth_nothing_and_of_a_short_one_something() -> None:
    full = [Candidate(f"{n:02}", f"{n}.md", 0, "T\nt", 100.0 - n) for n in range(CANDIDATES)]
    assert fused({"dense": [], "bm25": full}, "weighted")["49"] == 0.0
    assert fused({"dense": found(z=0.5), "bm25": full[:2]}, "weighted", 0.1)["01"] > 0.8


def test_the_weights_at_their_ends_are_single_legs() -> None:
    for how in ("rrf", "weighted"):
        assert list(fused(LEGS, how, 1.0))[:2] == ["a", "b"]
        assert list(fused(LEGS, how, 0.0))[:2] == ["b", "d"]


def test_a_single_leg_keeps_its_order_and_its_scores() -> None:
    hits = fuse_rankings({"bm25": LEGS["bm25"]}, ResolvedRanking("bm25", "weighted", 0.7))
    assert [(hit.id, hit.score, hit.scores.bm25, hit.scores.fused) for hit in hits] == [
        ("b", 12.0, 12.0, None), ("d", 6.0, 6.0, None), ("a", 4.0, 4.0, None)
    ]  # fmt: skip


def test_the_scores_of_every_leg_are_kept() -> None:
    best, *_, last = fuse_rankings(LEGS, ResolvedRanking("hybrid", "rrf", 0.5))
    assert isinstance(best, Hit)
    assert (best.scores.dense, best.scores.bm25, best.scores.live) == (0.8, 12.0, None)
    assert best.scores.fused == best.score
    assert (last.scores.dense, last.scores.bm25) == (0.4, None)
    assert (best.title, best.text, best.source, best.citation) == ("T", "text of b", "b.md", "b.md#0")


@pytest.mark.parametrize("how", ["rrf", "weighted"])
def test_a_third_leg_and_empty_ones(how: str) -> None:
    assert fused({"dense": [], "bm25": []}, how) == {}
    assert fused({"dense": found(a=0.5), "bm25": []}, how) == {"a": pytest.approx(0.5)}
    three = fused({**LEGS, "live": found(e=3.0)}, how, 0.5)
    assert three["e"] == pytest.approx(1 / 3) and max(three.values()) <= 1
    assert fused({"dense": found(a=0.5, b=0.5), "bm25": found(a=1.0, b=1.0)}, how)["a"] == 1.0
