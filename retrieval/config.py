"""The `retrieval` section of a project file. Importable without Milvus and without an embedding model."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cluster.config import Name
from retrieval.embedding_config import EmbeddingConfig
from retrieval.live_config import LiveConfig
from retrieval.milvus_config import MilvusConfig
from retrieval.source_config import SourceItem

Mode = Literal["hybrid", "dense", "bm25"]
Fusion = Literal["rrf", "weighted"]


class RetrievalConfig(EmbeddingConfig):
    """Where documents come from, how they are cut and embedded, where they are kept and how they are searched."""

    sources: tuple[SourceItem, ...] = ()
    """Folders and single files, object stores (s3://, gs://, az://), SQL databases and sitemaps: a path or URL, or a
    mapping with `path`, `sql` or `sitemap` and what its documents carry (`tenant`, `access`, `metadata`). Markdown and
    plain text are read as they are; HTML, PDF, DOCX, PPTX, XLSX and CSV through markitdown; each row of a JSONL file
    is a document."""

    uri: str = "local"
    """`local` (Milvus Lite, started on loopback when needed) or the http(s) address of a Milvus server.
    A server's token is read from the environment variable MILVUS_TOKEN, never from this file."""

    milvus: MilvusConfig = MilvusConfig()
    """How a collection is laid out on a Milvus server, what searches see, and how the server is reached."""

    collection: Name | None = None
    """Name of the collection. Default: the project's name."""

    chunk_tokens: Annotated[int, Field(ge=16, le=8192)] = 200
    """Longest chunk with its title, in tokens of the embedding model. A model that reads less lowers it."""

    mode: Mode = "hybrid"
    """`dense` (embeddings), `bm25` (words), or `hybrid`: both, fused."""

    fusion: Fusion = "weighted"
    """How `hybrid` joins the two: by scores, each scaled to its range (`weighted`), or by reciprocal ranks (`rrf`)."""

    dense_weight: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Weight of the embeddings in `hybrid`, from 0 to 1. The words have the rest, and so has each further leg."""

    live: LiveConfig | None = None
    """A search engine that is asked with each question beside the index: `url`, `index` and more."""

    reranker: str | None = None
    """A cross-encoder of sentence-transformers (a folder or a hub id) that orders the best candidates anew. It reads
    each with the question: one of six layers (MiniLM-L6) takes 1.8 s for 20 passages of 200 tokens on one CPU core,
    so a lower `rerank_candidates` or a GPU is advised where many ask."""

    rerank_candidates: Annotated[int, Field(ge=1, le=100)] = 20
    """Number of candidates that the reranker reads."""

    min_score: float | None = None
    """Passages below it are left out, all of them if need be: of the reranker's score where there is one, else of the
    cosine similarity of question and passage, also in `hybrid` (fused scores say nothing about a single passage).
    Searches by `bm25` alone have no such score."""

    neighbours: Annotated[int, Field(ge=0, le=2)] = 0
    """Number of chunks before and after each passage that are added to it."""

    top_k: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of passages put in front of a question. Hits that stand next to each other are one passage."""

    prompt_tokens: Annotated[int, Field(ge=32)] = 1024
    """Most tokens that the passages may take in the prompt. What does not fit is dropped from the end."""

    timeout_s: Annotated[float, Field(gt=0, le=600)] = 3.0
    """Seconds after which a search gives up on the store."""

    @model_validator(mode="after")
    def _has_a_score(self) -> "RetrievalConfig":
        if self.min_score is not None and self.mode == "bm25" and self.reranker is None:
            raise ValueError(
                "min_score needs mode hybrid or dense, or a reranker: BM25 differs from question to question"
            )
        return self

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if uri != "local" and not uri.startswith(("http://", "https://")):
            raise ValueError("uri must be `local` or begin with http:// or https://")
        return uri

    @model_validator(mode="after")
    def _certificate_of_tls(self) -> "RetrievalConfig":
        if self.milvus.ca_file is not None and not self.uri.startswith("https://"):
            raise ValueError("milvus.ca_file is for an https:// address, and uri is " + self.uri)
        return self
