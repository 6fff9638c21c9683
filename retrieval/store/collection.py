"""A collection: its settings, its rows, its fields and indexes, and its name in Milvus.

Nothing here knows pymilvus: `retrieval/store/store.py` turns fields and indexes into its calls. Milvus allows letters,
digits and underscores in names:

    help-desk  ->  alias tandem_help_ddesk, behind it tandem_help_ddesk_v<settings digest>

`_` is written `__` and `-` is written `_d`, so two names never meet, and `_v` cannot come from a name.
"""

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from retrieval.filters.filters import LABEL_COLUMNS
from retrieval.filters.rights import MAX_NAME_BYTES, Attributes
from retrieval.store.index_parameters import Index

SCHEMA_VERSION = 2
MAX_TEXT_BYTES = 65_535


@dataclass(frozen=True)
class CollectionSettings:
    """What a collection was built with. Another value means another collection."""

    embedding_model: str
    """The model's identity: a digest of its folder, or its hub id."""
    dimensions: int
    chunk_tokens: int
    chunking_version: int
    bm25: bool
    passage_prefix: str | None = None
    """What was put before each chunk when it was embedded; None where the model's own prompt was."""
    tokenizer: str = ""
    """What measured the chunks, where the model itself did not: they came through an endpoint."""
    schema_version: int = SCHEMA_VERSION
    index: str = "auto"
    """The setting, not what `auto` came to: a collection that grows keeps the index that it was built with."""
    num_shards: int = 1
    num_partitions: int = 0
    """Partitions that tenants are spread among; 0 where all rows are together."""
    precision: Literal["stored", "bf16"] = "stored"
    """What documents were embedded in: the model's own number format, or bf16."""
    analyzer: str = ""
    """What makes terms of texts for BM25; empty where Milvus' own `standard` does."""

    @property
    def values(self) -> dict[str, Any]:
        """As they are kept and digested; without what earlier versions knew nothing of, where it is as it was then."""
        as_before = [("precision", "stored"), ("analyzer", "")]
        return {name: value for name, value in asdict(self).items() if (name, value) not in as_before}

    def embeds_like(self, other: "CollectionSettings") -> bool:
        """Whether the same text has the same vector in both."""
        own = (self.embedding_model, self.dimensions, self.passage_prefix, self.precision)
        return own == (other.embedding_model, other.dimensions, other.passage_prefix, other.precision)


@dataclass(frozen=True)
class ChunkRow:
    """A chunk as it is stored. `content` is the title, a line end, and the text; `terms` is what BM25 counts, None
    where that is `content` itself."""

    id: str
    source: str
    source_hash: str
    num_chunks: int
    position: int
    content: str
    vector: list[float]
    attributes: Attributes = field(default_factory=Attributes)
    identity: str = ""
    """In a document's first row, what its text is known by; dynamic, as `origin` is."""
    origin: str = ""
    """In a document's first row, where it is kept."""
    terms: str | None = None

    def record(self) -> dict[str, Any]:
        """The row as Milvus takes it; metadata are dynamic fields."""
        plain = {name: value for name, value in vars(self).items() if name != "attributes" and value is not None}
        return {**plain, **self.attributes.fields()}


@dataclass(frozen=True)
class Field:
    """A field of the schema; `kind` is the name of Milvus' data type."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


def collection_fields(settings: CollectionSettings) -> list[Field]:
    """The primary key first. BM25's `sparse` is filled by the server, from `analyzed_field`."""
    analyzed = {"enable_analyzer": True, "analyzer_params": {"type": "standard"}}
    own = analyzed if settings.bm25 and analyzed_field(settings) == "content" else {}
    partitioned = {"is_partition_key": True} if settings.num_partitions else {}
    columns = [
        Field("id", "VARCHAR", {"is_primary": True, "max_length": 64}),
        Field("source", "VARCHAR", {"max_length": 4096}),
        Field("source_hash", "VARCHAR", {"max_length": 64}),
        Field("num_chunks", "INT64"),
        Field("position", "INT64"),
        Field("content", "VARCHAR", {"max_length": MAX_TEXT_BYTES, **own}),
        Field("tenant", "VARCHAR", {"max_length": MAX_NAME_BYTES, **partitioned}),
        *(Field(name, "VARCHAR", {"max_length": MAX_NAME_BYTES}) for name in LABEL_COLUMNS),
        Field("vector", "FLOAT_VECTOR", {"dim": settings.dimensions}),
    ]
    if not settings.bm25:
        return columns
    if analyzed_field(settings) == "terms":
        columns.append(Field("terms", "VARCHAR", {"max_length": MAX_TEXT_BYTES, **analyzed}))
    return [*columns, Field("sparse", "SPARSE_FLOAT_VECTOR")]


def analyzed_field(settings: CollectionSettings) -> str:
    """The field that BM25 reads: the terms that our analyzer made, or the text itself for the store's own."""
    return "terms" if settings.analyzer else "content"


def collection_indexes(settings: CollectionSettings, dense: Index) -> list[Index]:
    """`dense` is that of the vectors, as `index_plan` chose it."""
    return [dense, Index("sparse", "SPARSE_INVERTED_INDEX", "BM25")] if settings.bm25 else [dense]


SEPARATOR = "+"
MAX_COLLECTIONS = 8
"""Most collections that are searched together."""


def collections_of(name: str) -> list[str]:
    """The collections that a name stands for: `handbook+tickets` are two."""
    return name.split(SEPARATOR)


PREFIX = "tandem_"
_PHYSICAL = re.compile(PREFIX + r"((?:[a-z0-9]|__|_d)+)_v([0-9a-f]{12})")


def alias_of(name: str) -> str:
    """The alias under which a collection is searched."""
    return PREFIX + name.replace("_", "__").replace("-", "_d")


def physical_name(name: str, settings_digest: str) -> str:
    """The collection built with the settings that have this SHA-256 (hex)."""
    return f"{alias_of(name)}_v{settings_digest[:12]}"


def name_of(physical: str) -> str | None:
    """The name that `physical` was built for; None where it is none of ours."""
    match = _PHYSICAL.fullmatch(physical)
    if match is None:
        return None
    return re.sub("__|_d", lambda escape: "_" if escape[0] == "__" else "-", match[1])
