"""A cross-encoder's order is that of its own scores; what cannot rank is refused when it is loaded."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.search.hits import Hit, Scores
from retrieval.search.reranker import Reranker
from tests.retrieval.conftest import FACTS
from tests.retrieval.tiny_cross_encoder import own_score, save

pytestmark = pytest.mark.slow
QUESTION = "What is the symbol of Gold?"
HITS = [
    Hit(name, text, name, name, 0, 1 / rank, Scores(fused=1 / rank))
    for rank, (name, text) in enumerate(FACTS.items(), 1)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("reranker"), [QUESTION, *FACTS, *FACTS.values()])


def test_hits_are_in_the_order_of_the_models_own_scores(model: Path) -> None:
    own = {hit.id: own_score(model, QUESTION, f"{hit.title}\n{hit.text}") for hit in HITS}
    assert len({round(score, 4) for score in own.values()}) == len(HITS), "scores that differ"
    found = Reranker(str(model)).rerank(QUESTION, HITS, 20)
    assert [hit.id for hit in found] == sorted(own, key=own.__getitem__, reverse=True) != [hit.id for hit in HITS]
    assert {hit.id: hit.scores.rerank for hit in found} == pytest.approx(own, abs=1e-4)
    assert all(hit.score == hit.scores.rerank and hit.scores.fused is not None for hit in found)


def test_only_so_many_are_read_and_the_others_follow(model: Path) -> None:
    found = Reranker(str(model)).rerank(QUESTION, HITS, 2)
    assert {hit.id for hit in found[:2]} == {hit.id for hit in HITS[:2]}
    assert found[2:] == HITS[2:]
    assert Reranker(str(model)).rerank(QUESTION, [], 2) == []


def test_threads_get_the_same_scores(model: Path) -> None:
    reranker = Reranker(str(model))
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: [hit.id for hit in reranker.rerank(QUESTION, HITS, 20)], range(40)))
    assert all(result == results[0] for result in results)


def test_what_cannot_be_loaded_or_cannot_rank_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TandemError, match=r"no-one/no-such-model cannot be loaded.*HF_HUB_OFFLINE is set"):
        Reranker("no-one/no-such-model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TandemError, match=r"cannot be loaded.*a folder or a hub id"):
        Reranker(str(tmp_path / "empty"))
    with pytest.raises(TandemError, match="gives 3 values for a passage"):
        Reranker(str(save(tmp_path / "classifier", [QUESTION], num_labels=3)))
