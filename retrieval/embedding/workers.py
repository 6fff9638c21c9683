"""Documents embedded by many processes: an actor pool of Ray Data over the CPUs or GPUs of the cluster.

with ray_session(project.cluster):
    vectors = WorkerEmbedder(config).embed_documents(texts)

Starting a pool takes as long as loading the model, so it is handed many texts at a time. A worker that dies is started
again by Ray Data, and its texts are embedded anew.
"""

import logging
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.hardware import Hardware, read_hardware
from retrieval.config import EmbeddingConfig
from retrieval.embedding.embedder import FEW_TEXTS, Embedder
from retrieval.embedding.precision import Precision

if TYPE_CHECKING:
    import numpy as np

# Chunks in a round: more for many workers, who are soon done, and no more than the memory of this process bears.
MIN_ROUND, MAX_ROUND, ROUND_PER_WORKER = 20_000, 100_000, 2_500
# What one worker is handed at a time: small enough that all of them end together, and that little is done again.
TASK_CHUNKS = 256


class WorkerEmbedder(Embedder):
    """A model whose documents are embedded by workers on the Ray cluster; questions and counting stay here.

    Raises:
        TandemError: (by any member) no Ray session is open, no worker fits on the cluster, the model cannot be loaded
            on a worker, or is another one there.
    """

    def __init__(self, config: EmbeddingConfig) -> None:
        # On a CPU: the process that indexes must not hold a GPU's memory while a model is served there.
        super().__init__(config.embedding_model, "cpu", None, config.query_prefix, config.passage_prefix)
        self.num_workers, self.gpus = config.embedding_workers, config.embedding_gpus_per_worker
        self.hardware = read_hardware() if self.gpus else Hardware(())
        self.round_chunks = min(MAX_ROUND, max(MIN_ROUND, ROUND_PER_WORKER * self.num_workers))

    def embed_documents(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        """Unit vectors `[len(texts), dimensions]` in float32, in the order of the texts however the workers end."""
        import numpy as np

        # Before a pool has started: a file that was saved is to be found within two seconds.
        if len(texts) <= FEW_TEXTS:
            return super().embed_documents(texts)
        vectors = np.full((len(texts), self.dimensions), np.nan, dtype=np.float32)
        self._check_room()
        for rows, found in self._embedded(texts):
            vectors[rows] = found
        assert np.isfinite(vectors).all(), "every text was embedded"
        return vectors

    def _embedded(self, texts: list[str]) -> Any:
        """Pairs of positions and their vectors, in the order in which workers finish."""
        import pyarrow as pa
        import ray.data
        from ray.exceptions import RayError

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.raise_original_map_exception = True  # else only the text of a worker's error comes back
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what ends it is raised here, once
        table = pa.table({"row": range(len(texts)), "text": texts})
        tasks = [table.slice(start, TASK_CHUNKS) for start in range(0, len(texts), TASK_CHUNKS)]
        dataset = ray.data.from_arrow(tasks).map_batches(
            _Worker,
            batch_size=TASK_CHUNKS,
            compute=ray.data.ActorPoolStrategy(size=min(self.num_workers, len(tasks))),
            # Ray hides no GPU from a worker that asks for none (cluster/session.py), so it is told.
            fn_constructor_args=(
                self.name,
                self.identity,
                "cuda" if self.gpus else "cpu",
                self.passage_prefix,
                self.precision,
            ),
            num_cpus=None if self.gpus else 1,
            num_gpus=self.gpus or None,
        )
        try:
            for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"):
                yield batch["row"], batch["vector"]
        except RayError as error:
            raise _cause(error) or error from error

    def _check_room(self) -> None:
        """Ray would wait for ever for a worker that fits nowhere."""
        import ray

        if not ray.is_initialized():
            raise TandemError(
                "No Ray session is open, and retrieval.embedding_workers needs one.",
                "`tandem index` opens one at cluster.address.",
                "Open it with cluster.session.ray_session, or set retrieval.embedding_workers: 0.",
            )
        num_gpus = ray.cluster_resources().get("GPU", 0)
        if self.gpus > num_gpus:
            raise TandemError(
                f"A worker is to have {self.gpus:g} GPUs, and the Ray cluster has {num_gpus:g}.",
                "retrieval.embedding_gpus_per_worker is at most what one node has.",
                "Lower it, or set it to 0 to embed on CPUs; a cluster that grows by itself keeps one such node.",
            )


class _Worker:
    """One model on one worker. What goes wrong is told by the first call: Ray starts a worker that dies in its
    constructor again and again."""

    def __init__(self, name: str, identity: str, device: str, passage_prefix: str | None, precision: Precision) -> None:
        self.embedder = Embedder(name, device, passage_prefix=passage_prefix)
        self.embedder.precision = precision
        self.identity = identity

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.embedder.identity != self.identity:
            raise TandemError(
                f"The embedding model {self.embedder.name} is not the same on all nodes of the Ray cluster.",
                "A folder or package holds the same files on each of them.",
                "Put it on storage that all nodes share, or name a hub id.",
            )
        return {"row": batch["row"], "vector": self.embedder.embed_documents(list(batch["text"]))}


def _cause(error: BaseException) -> TandemError | None:
    """The error of ours that a worker ended with, without Ray's trace around it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, TandemError):
            return TandemError(one.seen, one.accepted, one.remedy)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            waiting += [getattr(one, "cause", None), one.__cause__, one.__context__]
    return None
