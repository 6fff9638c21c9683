"""What a collection is built with, and how long its chunks may be, as the project file and the model have it."""

from cluster.errors import TandemError
from retrieval.analysis.analyzer import Analyzer
from retrieval.config import RetrievalConfig
from retrieval.embedding.documents import AnyEmbedder
from retrieval.index import chunking
from retrieval.store import index_parameters
from retrieval.store.collection import CollectionSettings
from retrieval.store.store import Store

MIN_CHUNK_TOKENS = 8


def collection_settings(
    config: RetrievalConfig, store: Store, embedder: AnyEmbedder, dimensions: int
) -> CollectionSettings:
    """The settings of the collection that is wanted now; another value means another collection."""
    return CollectionSettings(
        embedding_model=embedder.identity,
        dimensions=dimensions,
        chunk_tokens=min(config.chunk_tokens, config.embedding_max_tokens or config.chunk_tokens),
        chunking_version=chunking.VERSION,
        bm25=store.has_bm25,
        index=index_parameters.describe_index(config.milvus),
        num_shards=config.milvus.shards,
        num_partitions=config.milvus.tenant_partitions,
        passage_prefix=config.passage_prefix,
        tokenizer=embedder.tokenizer_identity,
        precision=embedder.precision,
        analyzer=analyzer.identity if (analyzer := make_analyzer(config, store)) else "",
    )


def make_analyzer(config: RetrievalConfig, store: Store) -> Analyzer | None:
    """What makes terms for BM25, where the server has that."""
    return Analyzer(config.languages, config.accents) if store.has_bm25 else None


def longest_chunk(config: RetrievalConfig, embedder: AnyEmbedder) -> int:
    """The longest chunk in tokens, without the prefix that is put before it.

    Raises:
        TandemError: the prefix leaves too little of it.
    """
    limit = min(config.chunk_tokens - embedder.prefix_tokens, embedder.max_tokens)
    if limit < MIN_CHUNK_TOKENS:
        raise TandemError(
            f"retrieval.passage_prefix takes {embedder.prefix_tokens} tokens of each chunk, which leaves {limit}.",
            f"A chunk has {MIN_CHUNK_TOKENS} tokens or more beside the prefix.",
            "Shorten retrieval.passage_prefix, or raise retrieval.chunk_tokens where the model reads more.",
        )
    return limit
