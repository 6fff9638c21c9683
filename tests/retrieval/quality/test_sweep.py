"""Chunk sizes and rankings tried on Ray: what is best, whether that may be chance, and that nothing is left."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cluster.config import ClusterConfig
from cluster.errors import TandemError
from cluster.session import ray_session
from retrieval.config import RetrievalConfig
from retrieval.quality.evaluate import NDCG
from retrieval.quality.judgments import JudgedQuestion, JudgedSet
from retrieval.quality.sweep import HYBRID, SearchSetting, Sweep, SweepTrial, _compared, sweep_settings
from retrieval.search.fusion import Ranking
from retrieval.sources.config import FolderSource
from retrieval.store.store import Store

ELEMENTS = ("Iron", "Gold", "Tin", "Zinc", "Neon", "Lead")
QUESTIONS = [JudgedQuestion(name, f"What is the code of {name}?", {f"{name}.md": 1}) for name in ELEMENTS]


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with ray_session(ClusterConfig(num_cpus=4)):
        yield


@pytest.fixture
def elements(tmp_path: Path) -> RetrievalConfig:
    """Documents of some hundred words, each with its code in the last sentence."""
    for number, name in enumerate(ELEMENTS):
        filler = " ".join(f"Nothing of note is said in sentence {each}." for each in range(20))
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\n{filler} The code of {name} is {number}{number}.\n")
    return RetrievalConfig(sources=[FolderSource(path=tmp_path)], mode="bm25")


@pytest.mark.slow
def test_every_setting_is_tried_and_nothing_of_it_stays(
    elements: RetrievalConfig, milvus: str, ray: None, quiet: Callable[[str], None]
) -> None:
    found = sweep_settings(elements, "elements", milvus, JudgedSet(QUESTIONS, 0, None), (64,), quiet)
    tried = {one.setting for one in found.tried}
    rankings = {Ranking("dense"), Ranking("bm25"), *HYBRID}
    assert tried == {SearchSetting(size, ranking) for size in (64, 200) for ranking in rankings}
    assert found.own.setting == SearchSetting(200, Ranking("bm25"))
    sizes = {one.setting.chunk_tokens: one.num_chunks for one in found.tried}
    assert sizes[64] > sizes[200] >= len(ELEMENTS)
    means = [one.means[NDCG] for one in found.tried]
    assert means == sorted(means, reverse=True)
    assert means[0] == 1.0
    store = Store(milvus)
    assert not [name for name in store._built() if name.startswith("elements")]
    store.close()


@pytest.mark.slow
def test_an_error_in_a_task_is_the_users(
    elements: RetrievalConfig, milvus: str, ray: None, quiet: Callable[[str], None]
) -> None:
    broken = elements.model_copy(update={"sources": (FolderSource(path=Path("/nowhere")),)})
    with pytest.raises(TandemError, match="/nowhere does not exist"):
        sweep_settings(broken, "broken", milvus, JudgedSet(QUESTIONS, 0, None), (64,), quiet)


def compared(best: list[float], own: list[float], others: int) -> Sweep:
    def tried(size: int, values: list[float]) -> SweepTrial:
        return SweepTrial(SearchSetting(size, Ranking("dense")), 1, {NDCG: values})

    poor = [tried(1000 + number, [0.0] * len(own)) for number in range(others)]
    return _compared([*poor, tried(1, own), tried(2, best)], SearchSetting(1, Ranking("dense")))


def test_the_best_of_many_must_be_better_by_more() -> None:
    rng = np.random.default_rng(0)
    own = rng.uniform(0.2, 0.6, 100)
    best = own + rng.normal(0.03, 0.09, 100)
    pair, many = compared(best.tolist(), own.tolist(), 0), compared(best.tolist(), own.tolist(), 30)
    assert pair.best.setting == many.best.setting == SearchSetting(2, Ranking("dense"))
    assert pair.gain == many.gain
    assert pair.separated
    assert not many.separated
