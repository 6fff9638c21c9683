"""The `retrieval.milvus` section of a project file: how a collection is laid out, searched and reached."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from cluster.config import LocalPath, Section

# Those that obstore opens and Milvus may keep its data in.
BUCKETS = frozenset({"s3", "gs", "az", "abfs", "abfss"})
IndexKind = Literal["hnsw", "ivf", "diskann", "flat"]
Consistency = Literal["bounded", "strong", "session", "eventually"]
_PARAMETERS = {
    "hnsw": ("m", "ef_construction", "ef"),
    "ivf": ("nlist", "nprobe"),
    "diskann": ("search_list",),
    "flat": (),
}


class MilvusConfig(Section):
    """The make of the collection, what its searches see, and the connection. Milvus Lite needs none of it.

    Another index, number of shards or partitions builds a new collection beside the one that is searched; vectors are
    taken over. The rest takes effect at once.
    """

    index: Literal["auto"] | IndexKind = "auto"
    """`hnsw` (a graph in memory), `ivf` (clusters of vectors in 8 bits: a quarter of the memory), `diskann` (a graph on
    the servers' disks), `flat` (exact, every vector is compared), or `auto`: hnsw while `memory_gib` holds it, then
    diskann where the server has it, else ivf."""

    memory_gib: Annotated[float, Field(gt=0)] = 16.0
    """Memory in GiB that the servers have for the vectors of this collection. Only `index: auto` looks at it."""

    m: Annotated[int, Field(ge=2, le=2048)] | None = None
    """hnsw: edges of a node. Default 16. More find more and take more memory."""

    ef_construction: Annotated[int, Field(ge=8, le=4096)] | None = None
    """hnsw: candidates looked at where a vector is put into the graph. Default 200."""

    ef: Annotated[int, Field(ge=1, le=32_768)] | None = None
    """hnsw: candidates looked at by a search. Default 128, or four times as many as are asked for."""

    nlist: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """ivf: number of clusters. Default 1024."""

    nprobe: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """ivf: clusters looked at by a search. Default: a sixteenth of them, at least 16."""

    search_list: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """diskann: candidates looked at by a search. Default 128, or four times as many as are asked for."""

    shards: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of streams that take in rows side by side."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Copies in the memory of different query nodes: more searches at once, and one node may go away."""

    tenant_partitions: Annotated[int, Field(ge=0, le=1024)] = 0
    """Number of partitions among which tenants are spread; a search then reads those of its tenant and of what is for
    all. 0: all rows are together. Worth it from hundreds of thousands of rows with many tenants on."""

    consistency: Consistency = "bounded"
    """What a search must see: all that was written before it (`strong`), what this process wrote (`session`), all but
    the last seconds (`bounded`), or whatever is there (`eventually`)."""

    ca_file: LocalPath | None = None
    """A PEM file with the certificates that sign the server's. Default: those that gRPC trusts."""

    server_name: str | None = None
    """The name in the server's certificate, where it is not that of the address."""

    retry_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds for which `tandem index` waits for a server that went away before it gives up. Searches do not wait."""

    bulk_import: str | None = None
    """Where `tandem index` puts the rows of a first load as files that the Milvus servers then import: a folder that
    they see under the same path, or a URL in the bucket that they keep their data in. Meant for a million rows and
    more. Later runs write as usual."""

    @field_validator("bulk_import")
    @classmethod
    def _seen_by_both(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/") and urlsplit(value).scheme not in BUCKETS:
            raise ValueError(
                f"{value} is no place that Milvus sees too: an absolute path, or a URL that begins with one of "
                + ", ".join(f"{scheme}://" for scheme in sorted(BUCKETS))
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _parameters_of_the_index(cls, values: Any) -> Any:
        kind = values.get("index", "auto") if isinstance(values, dict) else "auto"
        for other, names in _PARAMETERS.items():
            for name in names:
                if kind in _PARAMETERS and other != kind and values.get(name) is not None:
                    raise ValueError(f"{name} is for index: {other}, and index is {kind}")
        return values
