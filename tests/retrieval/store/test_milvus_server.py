"""The real Milvus server (2.3.5, from the package `milvus`): dense search works, and what it lacks is said at start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.index.indexing import index_documents
from retrieval.search.search import Searcher
from retrieval.store.preflight import check_milvus
from tests.retrieval.hostile import check_store

pytestmark = pytest.mark.slow


@pytest.mark.matrix
def test_hostile_values_come_back_and_find_their_own(server: str) -> None:
    check_store(server, "hostile")


def test_dense_search_on_the_real_server(
    server: str, config: RetrievalConfig, documents: Path, quiet: Callable[[str], None]
) -> None:
    with pytest.raises(TandemError, match=r"v2\.3\.5.*no BM25.*mode: dense"):
        index_documents(config, "facts", server, quiet)
    with pytest.raises(TandemError, match=r"no BM25"):
        Searcher(config, server)

    dense = config.model_copy(update={"mode": "dense"})
    assert index_documents(dense, "facts", server, quiet).added == 4
    (documents / "gold.md").unlink()
    (documents / "iron.md").write_text("# Iron\n\nThe symbol of Iron is Fe.\n")
    report = index_documents(dense, "facts", server, quiet)
    assert (report.added, report.changed, report.unchanged, report.deleted) == (0, 1, 2, 1)
    searcher = Searcher(dense, server)
    hits = searcher.search("facts", "What is the symbol of Gold?", top_k=10).hits
    assert (hits[0].source, hits[0].text) == ("iron.md", "The symbol of Iron is Fe.")
    assert {hit.source for hit in hits} == {"iron.md", "codes.md", "people/curie.txt"}
    assert "facts" in searcher.collections()
    smaller = dense.model_copy(update={"chunk_tokens": 50})
    assert index_documents(smaller, "facts", server, quiet).added == 3
    assert len(searcher.search("facts", "symbol of Iron", top_k=10).hits) == 3


def test_the_preflight_says_what_its_version_lacks(server: str, config: RetrievalConfig) -> None:
    connected, features = check_milvus(config, server)
    assert connected.status == "ok" and connected.values["version"].startswith("v2.3.5")
    assert features.status == "failed" and "Milvus 2.5 or newer" in features.remedy
    assert [one.status for one in check_milvus(config.model_copy(update={"mode": "dense"}), server)] == ["ok", "ok"]
