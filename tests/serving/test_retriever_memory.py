"""A retriever whose device has no memory left, and when it loads its models."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retrieval.config import RetrievalConfig
from retrieval.filters.rights import NOBODY
from retrieval.search.search import SearchModels
from serving import retriever as module
from serving.engine.start_turns import start_turn
from serving.retriever import Retriever

NO_STORE = "http://127.0.0.1:9"


def full(*_: object) -> Any:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee the documentation.")


def retriever_of(monkeypatch: pytest.MonkeyPatch, device: str = "cpu", mode: str = "hybrid") -> Retriever:
    """One whose models fail as torch does on a full GPU; the store is not reached."""
    embedder = SimpleNamespace(
        embed_questions=full, embed_documents=full, count_tokens=len, max_tokens=100, name="m", dimensions=2
    )
    models = SearchModels(embedder, SimpleNamespace(scores=full, rerank=full))  # type: ignore[arg-type]
    monkeypatch.setattr(SearchModels, "load", lambda *_: models)
    return Retriever(RetrievalConfig(mode=mode), NO_STORE, device)  # type: ignore[arg-type]


ASKED: dict[str, Callable[[Retriever], Any]] = {
    "search": lambda retriever: retriever.search("c", "What is iron?", 3, NOBODY),
    "embed": lambda retriever: retriever.embed(["iron"], as_questions=False),
    "embed questions": lambda retriever: retriever.embed(["iron"], as_questions=True),
    "score": lambda retriever: retriever.score([("iron", "metal")], with_reranker=False),
    "rerank": lambda retriever: retriever.score([("iron", "metal")], with_reranker=True),
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_full_gpu_is_unavailable_and_not_an_error_of_the_server(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = retriever_of(monkeypatch)
    found = asyncio.run(ASKED[asked](retriever))
    assert found.status == 503 and "CUDA out of memory" in found.reason and "documentation" not in found.reason


def test_a_full_gpu_under_the_reranker_is_unavailable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = retriever_of(monkeypatch, mode="bm25")
    monkeypatch.setattr(retriever, "_open", lambda: SimpleNamespace(search=lambda *_, **__: full()))
    found = asyncio.run(retriever.search("c", "What is iron?", 3, NOBODY))
    assert found.status == 503 and "CUDA out of memory" in found.reason


@pytest.mark.parametrize(("device", "waits"), [("cuda", True), ("cuda:0", True), ("cpu", False)])
def test_models_are_loaded_on_a_gpu_while_no_engine_starts(
    device: str, waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, made = f"tandem-test-{tmp_path.name}", threading.Event()
    monkeypatch.setattr(module, "start_turn", lambda: start_turn(name))

    def make() -> None:
        retriever_of(monkeypatch, device, "bm25")
        made.set()

    thread = threading.Thread(target=make)
    with start_turn(name):
        thread.start()
        assert made.wait(0.5 if waits else 60) != waits
    thread.join(60)
    assert made.is_set()
