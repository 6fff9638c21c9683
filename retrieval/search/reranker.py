"""Candidates in the order of a cross-encoder, which reads question and passage together."""

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.models import is_offline
from retrieval.analysis.normalization import readable
from retrieval.search.hits import Hit

BATCH_SIZE = 32


class Reranker:
    """One cross-encoder of sentence-transformers, loaded when it is made. Thread-safe.

    Args:
        name: a folder or a hub id. The model gives one number for a question and a passage.
        device: as torch writes it, such as `cpu` or `cuda`.

    Raises:
        TandemError: the model cannot be loaded, or gives another number of values.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.name = name
        self._model = _loaded(name, device)
        # The fast tokenizers raise "Already borrowed" where two threads tokenize at once.
        self._lock = threading.Lock()
        if (num_labels := int(self._model.num_labels)) != 1:
            raise TandemError(
                f"The reranker {name} gives {num_labels} values for a passage.",
                "retrieval.reranker is a cross-encoder with one output, such as cross-encoder/ms-marco-MiniLM-L6-v2.",
                "Name one that was made for ranking.",
            )

    def rerank(self, question: str, hits: Sequence[Hit], num_reranked: int) -> list[Hit]:
        """The first `num_reranked` hits by the model's score, the best first; then the others as they were."""
        first, rest = hits[:num_reranked], hits[num_reranked:]
        if not first:
            return []
        values = self.scores([(question, f"{hit.title}\n{hit.text}") for hit in first])
        scored = [_scored(hit, value) for hit, value in zip(first, values, strict=True)]
        return [*sorted(scored, key=lambda hit: -hit.score), *rest]

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The model's score of each question with its text."""
        readable_pairs = [(readable(question), readable(text)) for question, text in pairs]
        with self._lock:
            values = self._model.predict(readable_pairs, batch_size=BATCH_SIZE, show_progress_bar=False)
        return [float(value) for value in values]


def _scored(hit: Hit, score: float) -> Hit:
    return replace(hit, score=score, scores=replace(hit.scores, rerank=score))


def _loaded(name: str, device: str) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging

    logging.disable_progress_bar()
    if device.startswith("cuda"):
        # TF32 on tensor cores: fp32 scores with 10 bits of precision inside. In bf16 close candidates would tie.
        torch.set_float32_matmul_precision("high")
    try:
        return CrossEncoder(name, device=device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise TandemError(
            f"The reranker {name} cannot be loaded: {reason}.",
            "retrieval.reranker is a cross-encoder of sentence-transformers: a folder or a hub id.",
            "HF_HUB_OFFLINE is set, so name a folder or a model that was downloaded before."
            if is_offline() and not Path(name).is_dir()
            else "Check the name, or leave the key out to search without one.",
        ) from error
