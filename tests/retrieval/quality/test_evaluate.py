"""Metrics with values worked out by hand, intervals with known answers, and a measurement on a small collection."""

from collections.abc import Callable
from math import log2
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.errors import UnknownCollection
from retrieval.filters.rights import Rights
from retrieval.index.indexing import index_documents
from retrieval.quality.evaluate import NDCG, bootstrap_interval, evaluate_search, score_ranking
from retrieval.quality.judgments import JudgedQuestion, JudgedSet


def one(grades: dict[str, int], ranking: list[str]) -> dict[str, float]:
    scores = score_ranking([JudgedQuestion("q", "?", grades)], [ranking])
    return {metric: values[0] for metric, values in scores.items()}


def test_graded_sources() -> None:
    """Found at ranks 2 (grade 3) and 4 (grade 1); one of grade 2 is not found."""
    found = one({"a": 3, "b": 1, "c": 2}, ["x", "a", "y", "b"])
    assert found["recall@1"] == 0
    assert found["recall@3"] == pytest.approx(1 / 3)
    assert found["recall@10"] == pytest.approx(2 / 3)
    assert found["MRR@10"] == 1 / 2
    ideal = 3 + 2 / log2(3) + 1 / log2(4)
    assert found[NDCG] == pytest.approx((3 / log2(3) + 1 / log2(5)) / ideal)


def test_the_tenth_counts_and_the_eleventh_does_not() -> None:
    others = [f"x{number:02}" for number in range(10)]
    tenth, eleventh = one({"a": 1}, [*others[:9], "a"]), one({"a": 1}, [*others, "a"])
    assert tenth == {
        "recall@1": 0, "recall@3": 0, "recall@10": 1, "MRR@10": pytest.approx(0.1), NDCG: pytest.approx(1 / log2(11)),
    }  # fmt: skip
    assert set(eleventh.values()) == {0}


def test_the_order_is_the_rankings_and_not_the_names() -> None:
    """trec_eval breaks ties by name, from the last."""
    assert one({"a": 1}, ["a", "z"])["MRR@10"] == 1
    assert one({"z": 1}, ["a", "z"])["MRR@10"] == 1 / 2


def test_a_question_that_finds_nothing_counts_as_nought_in_its_place() -> None:
    questions = [
        JudgedQuestion("same", "?", {"a": 1}),
        JudgedQuestion("b", "?", {"b": 1}),
        JudgedQuestion("c", "?", {"c": 1}),
    ]
    scores = score_ranking(questions, [["a"], [], ["x", "c"]])
    assert scores["MRR@10"] == [1, 0, 1 / 2]
    assert scores["recall@1"] == [1, 0, 0]


def test_intervals() -> None:
    assert bootstrap_interval([0.25] * 8) == (0.25, 0.25)
    assert bootstrap_interval([1.0]) is None
    found = bootstrap_interval([1.0] * 50 + [0.0] * 50)
    assert found is not None and found == bootstrap_interval([1.0] * 50 + [0.0] * 50), "the seed is fixed"
    # The mean of 100 draws of 0 or 1 is binomial: 95 % lie between 40 and 60 of them.
    assert found == (pytest.approx(0.4, abs=0.011), pytest.approx(0.6, abs=0.011))


def test_pairing_shows_a_difference_that_is_small_beside_the_spread() -> None:
    low, high = bootstrap_interval([0.01] * 90 + [0.0] * 10) or (0.0, 0.0)
    assert 0 < low < 0.009 < high < 0.01


@pytest.fixture
def long_documents(tmp_path: Path) -> RetrievalConfig:
    """Iron fills many chunks that all say `Fe`; Gold is one."""
    folder = tmp_path / "docs"
    folder.mkdir()
    parts = "".join(
        f"## Part {part}\n\n" + f"Iron, whose symbol is Fe, is used in part {part}. " * 8 + "\n\n" for part in range(8)
    )
    (folder / "iron.md").write_text(f"# Iron\n\n{parts}")
    (folder / "gold.md").write_text("# Gold\n\nThe symbol of Gold is Au, not that of Iron.\n")
    return RetrievalConfig(sources=[folder], chunk_tokens=64)


@pytest.mark.slow
def test_a_source_counts_once_in_every_mode(
    long_documents: RetrievalConfig, milvus: str, quiet: Callable[[str], None]
) -> None:
    assert index_documents(long_documents, "judged", milvus, quiet).num_chunks > 8
    questions = [
        JudgedQuestion("1", "Iron Fe", {"iron.md": 1, "gold.md": 1}),
        JudgedQuestion("2", "symbol of Gold", {"gold.md": 1, "silver.md": 1}),
    ]
    said: list[str] = []
    found = evaluate_search(long_documents, milvus, "judged", JudgedSet(questions, 3), said.append)
    assert [mode.mode for mode in found.modes] == ["dense", "bm25", "hybrid"]
    for mode in found.modes:
        assert mode.rankings == [["iron.md", "gold.md"], ["gold.md", "iron.md"]], mode.mode
        assert mode.means["recall@1"] == 0.5 and mode.means["recall@10"] == 0.75
        assert mode.means[NDCG] == pytest.approx((1 + 1 / (1 + 1 / log2(3))) / 2)
        assert 0 < mode.latency_p50_ms <= mode.latency_p95_ms
        assert (mode.embed_s == 0) == (mode.mode == "bm25")
    assert (found.num_without, found.missing) == (3, ["silver.md"])
    pairs = {(each.first, each.second) for each in found.differences}
    assert pairs == {("hybrid", "bm25"), ("hybrid", "dense"), ("bm25", "dense")}
    assert all(each.difference == each.low == each.high == 0 and not each.separated for each in found.differences)
    assert said[-1] == "hybrid: 2 of 2 questions"


@pytest.mark.slow
def test_a_collection_without_the_judged_sources_is_refused(
    config: RetrievalConfig, milvus: str, quiet: Callable[[str], None]
) -> None:
    index_documents(config, "unjudged", milvus, quiet)
    judged = JudgedSet([JudgedQuestion("1", "symbol of Gold", {"elements/gold.md": 1})], 0)
    with pytest.raises(TandemError, match=r"none of the 1 relevant sources, such as elements/gold\.md\..*codes\.md"):
        evaluate_search(config, milvus, "unjudged", judged, quiet)
    with pytest.raises(UnknownCollection, match="never-built does not exist"):
        evaluate_search(config, milvus, "never-built", judged, quiet)


@pytest.mark.slow
def test_questions_are_asked_as_a_caller_with_rights(
    documents: Path, milvus: str, quiet: Callable[[str], None]
) -> None:
    config = RetrievalConfig.model_validate({"sources": [{"path": documents, "tenant": "acme"}]})
    index_documents(config, "judged-tenants", milvus, quiet)
    judged = JudgedSet([JudgedQuestion("1", "symbol of Gold", {"gold.md": 1})], 0)
    for rights, recall in ((Rights("acme"), 1.0), (Rights("globex"), 0.0), (Rights(), 0.0)):
        found = evaluate_search(config, milvus, "judged-tenants", judged, quiet, rights)
        assert {mode.means["recall@1"] for mode in found.modes} == {recall}
