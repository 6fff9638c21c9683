"""What embeds documents: this process, a process on the GPU, workers on the cluster, or an API."""

from typing import TYPE_CHECKING, TypeAlias

from cluster.hardware import Hardware, read_node
from retrieval.config import RetrievalConfig
from retrieval.embedding.embedder import Embedder, make_embedder

if TYPE_CHECKING:
    from retrieval.embedding.endpoint import EndpointEmbedder

AnyEmbedder: TypeAlias = "Embedder | EndpointEmbedder"


def make_documents_embedder(config: RetrievalConfig) -> AnyEmbedder:
    """What embeds documents: many workers where the project file asks for them."""
    if config.embedding_workers:
        # It starts Ray tasks, which most projects do without.
        from retrieval.embedding.workers import WorkerEmbedder

        return WorkerEmbedder(config)
    if not config.embedding_url and (node := read_node()).gpus:
        # It is for machines with a GPU.
        from retrieval.embedding.gpu_process import GpuEmbedder

        return GpuEmbedder(config, Hardware((node,)))
    return make_embedder(config)
