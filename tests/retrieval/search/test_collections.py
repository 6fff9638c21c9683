"""Several collections in one question: one list by score, names that say whence, and each asked for its own alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.errors import UnknownCollection
from retrieval.filters.rights import NOBODY, Rights, allowed
from retrieval.index.indexing import index_documents
from retrieval.search.collections import CollectionRetrievers
from retrieval.search.fusion import to_hit
from retrieval.search.hits import Hit
from retrieval.search.retrievers import Candidate, Retrievers
from retrieval.search.search import Searcher

EVERYBODY = allowed(NOBODY)


class Two:
    """Two collections with documents of the same names, as `Retrievers` would find them."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def dense(self, name: str, *_: Any) -> list[Candidate]:
        if name == "gone":
            raise UnknownCollection("There is none.", "", "")
        scores = {"a": (0.9, 0.5), "b": (0.7, 0.6)}[name]
        return [
            Candidate(f"{number}", "x.md", number, f"T\n{name}{number}", each) for number, each in enumerate(scores)
        ]

    bm25 = dense

    def around(self, name: str, hits: list[Hit], *_: Any) -> list[Candidate]:
        self.asked.append((name, [(hit.id, hit.source, hit.position) for hit in hits]))
        return [Candidate("9", "x.md", 9, "T\nbeside", 0.0)] if hits else []

    def vectors(self, name: str, ids: list[str], *_: Any) -> dict[str, list[float]]:
        self.asked.append((name, ids))
        return {each: [1.0] for each in ids}


@pytest.fixture
def two() -> Two:
    return Two()


@pytest.fixture
def several(two: Two) -> CollectionRetrievers:
    return CollectionRetrievers(cast(Retrievers, two))


def test_what_is_found_is_one_list_by_score(several: CollectionRetrievers) -> None:
    found = several.dense("a+b", [1.0], EVERYBODY, 3, 1)
    assert [(one.id, one.source, one.score) for one in found] == [
        ("a/0", "a/x.md", 0.9), ("b/0", "b/x.md", 0.7), ("b/1", "b/x.md", 0.6),
    ]  # fmt: skip
    words = {"a": "x", "b": "x"}
    assert [one.id for one in several.bm25("b+a", words, EVERYBODY, 10, 1)] == ["a/0", "b/0", "b/1", "a/1"]
    assert [one.id for one in several.dense("a", [1.0], EVERYBODY, 10, 1)] == ["0", "1"], "one alone is as it was"


def test_a_collection_that_cannot_be_searched_is_not_left_out(several: CollectionRetrievers) -> None:
    with pytest.raises(UnknownCollection):
        several.dense("a+gone", [1.0], EVERYBODY, 3, 1)


def test_each_collection_is_asked_for_its_own_chunks(two: Two, several: CollectionRetrievers) -> None:
    hits = [to_hit(one) for one in several.dense("a+b", [1.0], EVERYBODY, 2, 1)]
    beside = several.around("a+b", hits, 1, EVERYBODY, 1)
    assert {one.id for one in beside} == {"a/9", "b/9"} and {one.source for one in beside} == {"a/x.md", "b/x.md"}
    assert set(several.vectors("a+b", ["a/0", "b/1"], EVERYBODY, 1)) == {"a/0", "b/1"}
    asked = sorted(two.asked, key=str)
    assert asked == [("a", ["0"]), ("a", [("0", "x.md", 0)]), ("b", ["1"]), ("b", [("0", "x.md", 0)])]


@pytest.mark.slow
def test_two_real_collections(milvus: str, tmp_path: Path, quiet: Callable[[str], None]) -> None:
    texts = {"metals": ("iron.md", "The symbol of Iron is Fe."), "gases": ("iron.md", "The symbol of Neon is Ne.")}
    for name, (file, text) in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(f"# {text.split()[3]}\n\n{text}\n")
        (tmp_path / name / "second.md").write_text(f"# Pay\n\nPay of the {name} comes on the 25th.\n")
        source = {"path": str(tmp_path / name / "second.md"), "tenant": "acme"}
        config = RetrievalConfig.model_validate({"sources": [{"path": str(tmp_path / name / file)}, source]})
        index_documents(config, f"several-{name}", milvus, quiet)
    searcher = Searcher(RetrievalConfig(timeout_s=20, neighbours=1, min_score=-1), milvus)
    both = "several-metals+several-gases"
    result = searcher.search(both, "What is the symbol of Neon?", top_k=5)
    assert [hit.source.split("/")[0] for hit in result.hits] == ["several-gases", "several-metals"]
    assert result.hits[0].text.endswith("Ne.") and result.hits[0].scores.fused is not None
    assert {hit.title for hit in searcher.search(both, "pay", top_k=9).hits} == {"Neon", "Iron"}, "rights hold in each"
    found = searcher.search(both, "pay", top_k=9, rights=Rights("acme", frozenset())).hits
    assert sum("Pay of the" in hit.text for hit in found) == 2
    with pytest.raises(TandemError, match="nowhere"):
        searcher.search("several-metals+nowhere", "Neon?")
    searcher.close()
