"""The retrieval deployment with real models, outside of Ray Serve; its store is Milvus Lite."""

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.config import RetrievalConfig
from retrieval.filters.rights import NOBODY
from retrieval.index.indexing import index_documents
from retrieval.store.milvus_lite import local_server
from serving.retriever import Retriever
from tests.retrieval import tiny_cross_encoder
from tests.serving.served_app import documents

pytestmark = pytest.mark.slow
QUESTIONS = [f"What is the atomic number of {name}?" for name in ("Iron", "Gold", "Neon", "Zinc")] * 10


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    folder = tmp_path_factory.mktemp("retriever")
    config = RetrievalConfig(sources=[documents(folder / "docs")])
    with local_server(folder / "milvus") as uri:
        index_documents(config, "elements", uri, lambda _: None)
        yield Retriever(config, uri)


def test_questions_at_once_are_embedded_together_and_each_finds_its_own(retriever: Retriever) -> None:
    batches: list[int] = []
    embedder = retriever._models.embedder
    embed = embedder.embed_questions

    def counted(texts: list[str]) -> object:
        batches.append(len(texts))
        return embed(texts)

    embedder.embed_questions = counted  # type: ignore[method-assign, assignment]

    async def ask_all() -> list[str]:
        found = await asyncio.gather(*(retriever.search("elements", one, 1, NOBODY) for one in QUESTIONS))
        assert all(each.status == 200 and each.timings["embed_ms"] > 0 for each in found)
        return [each.hits[0].source for each in found]

    try:
        assert asyncio.run(ask_all()) == ["iron.md", "gold.md", "neon.md", "zinc.md"] * 10
    finally:
        embedder.embed_questions = embed  # type: ignore[method-assign]
    assert sum(batches) == len(QUESTIONS) and len(batches) <= 5, batches


def test_a_caller_is_not_told_the_names_of_other_collections(retriever: Retriever) -> None:
    refused = asyncio.run(retriever.search("nowhere", "Iron?", 1, NOBODY))
    assert refused.status == 404 and "nowhere" in refused.reason and "elements" not in refused.reason


def test_texts_are_embedded_and_scored(retriever: Retriever) -> None:
    vectors = asyncio.run(retriever.embed(["Iron", "Gold"], as_questions=False))
    assert vectors.status == 200 and vectors.num_tokens == 2
    iron = struct.unpack("<384f", vectors.rows[0])
    assert sum(x * x for x in iron) == pytest.approx(1, abs=1e-5)
    pairs = [("What is iron?", "Iron is a metal."), ("What is iron?", "The library opens at nine.")]
    cosines = asyncio.run(retriever.score(pairs, with_reranker=False))
    assert cosines.scores[0] > cosines.scores[1] + 0.2
    assert asyncio.run(retriever.score(pairs, with_reranker=True)).status == 404


def test_a_reranker_scores_where_there_is_one(tmp_path: Path) -> None:
    reranker = tiny_cross_encoder.save(tmp_path / "reranker", QUESTIONS)
    retriever = Retriever(RetrievalConfig(reranker=str(reranker)), "http://127.0.0.1:9")
    pairs = [("What is Iron?", "Gold"), ("What is Iron?", "Iron")]
    found = asyncio.run(retriever.score(pairs, with_reranker=True))
    expected = [tiny_cross_encoder.own_score(reranker, *pair) for pair in pairs]
    assert found.scores == pytest.approx(expected, abs=1e-5) and expected[0] != expected[1]


def test_a_text_that_would_be_cut_is_refused(retriever: Retriever) -> None:
    refused = asyncio.run(retriever.embed(["short", "long " * 2000], as_questions=False))
    assert refused.status == 400 and "Text 1 has 2000 tokens" in refused.reason
