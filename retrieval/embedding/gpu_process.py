"""Documents embedded on this machine's GPU by a process that ends: its memory is free before a model is served there.

    embedder = GpuEmbedder(config)
    vectors = embedder.embed_documents(texts)
    embedder.release()

The process that indexes never opens a CUDA context: it would hold memory for as long as it runs, and vLLM refuses to
start where more than 8 % of a GPU is taken.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.hardware import Hardware
from retrieval.config import EmbeddingConfig
from retrieval.embedding.embedder import FEW_TEXTS, Embedder, check_device
from retrieval.embedding.precision import Precision

if TYPE_CHECKING:
    import numpy as np


class GpuEmbedder(Embedder):
    """A model whose documents are embedded in a child process on a GPU; counting and few documents stay here, on a CPU.

    Args:
        hardware: this machine.
        device: of the child, as torch writes it.

    Raises:
        TandemError: (by any member) the model cannot be loaded, or the child ended or has no memory left.
    """

    def __init__(self, config: EmbeddingConfig, hardware: Hardware, device: str = "cuda") -> None:
        super().__init__(config.embedding_model, "cpu", None, config.query_prefix, config.passage_prefix)
        self.child_device, self.hardware = device, hardware
        self._pool: ProcessPoolExecutor | None = None

    def embed_documents(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        """Unit vectors `[len(texts), dimensions]` in float32."""
        if len(texts) <= FEW_TEXTS:
            return super().embed_documents(texts)
        vectors: np.ndarray[Any, Any] = self._run(
            _embed, texts, self.name, self.child_device, self.passage_prefix, self.precision
        )
        return vectors

    def release(self) -> None:
        """End the child; the next documents start another one."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"))
        try:
            return self._pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            self.release()
            raise _failed("the process that embeds them ended") from error
        except RuntimeError as error:  # torch's, such as OutOfMemoryError
            self.release()
            raise _failed(str(error).strip().split("\n")[0].rstrip(".")) from error


def _embed(
    texts: list[str], name: str, device: str, passage_prefix: str | None, precision: Precision
) -> "np.ndarray[Any, Any]":
    """In the child."""
    return _load(name, device, passage_prefix, precision).embed_documents(texts)


@cache
def _load(name: str, device: str, passage_prefix: str | None, precision: Precision) -> Embedder:
    check_device(device, "documents are", "Set CUDA_VISIBLE_DEVICES to nothing to embed documents on the CPU.")
    embedder = Embedder(name, device, passage_prefix=passage_prefix)
    embedder.precision = precision
    return embedder


def _failed(reason: str) -> TandemError:
    return TandemError(
        f"The documents could not be embedded on the GPU: {reason}.",
        "A GPU with free memory for the embedding model and a batch of documents.",
        "See with `nvidia-smi` what else runs on the GPU; or set CUDA_VISIBLE_DEVICES to nothing to embed on the CPU.",
    )
