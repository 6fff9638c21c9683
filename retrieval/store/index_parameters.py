"""Which index a collection gets, and what a search asks of it: settings and counts -> Milvus' own words.

    candidates(config, num_rows=0, dimensions=384)      the indexes to try, the best first
    search_parameters(config, limit=10)                 what a dense search sends

Memory of HNSW, by hnswlib's own account (ALGO_PARAMS.md): the vectors, 4 bytes a dimension, and 8 to 10 bytes times M
of links a row. HNSW_SQ has the same links and a byte a dimension. IVF_SQ8 takes a byte a dimension. IVF_RABITQ takes a
bit a dimension and two numbers a row (Gao and Long, SIGMOD 2024), and a byte a dimension to compare the best again.
DiskANN keeps the vectors on the disks of the query nodes.
"""

from dataclasses import dataclass, field
from typing import Any

from retrieval.config import MilvusConfig

# Measured: docs/decisions/016-milvus-settings.md.
M, EF_CONSTRUCTION, EF = 16, 200, 128
NLIST, PROBED = 1024, 16
MAX_CANDIDATES = 16_384
REFINED = 4
"""Times as many candidates of IVF_RABITQ as are asked for are compared again in 8 bits. Measured: decision 016."""
_LINK_BYTES, _RABITQ_BYTES = 10, 8
_KINDS = {"hnsw": "HNSW", "hnsw_sq": "HNSW_SQ", "ivf": "IVF_SQ8", "rabitq": "IVF_RABITQ", "diskann": "DISKANN",
          "flat": "FLAT"}  # fmt: skip


@dataclass(frozen=True)
class Index:
    """An index of one field, in Milvus' words."""

    field_name: str
    kind: str
    metric: str
    params: dict[str, Any] = field(default_factory=dict)


def num_candidates(config: MilvusConfig, num_rows: int, dimensions: int) -> list[Index]:
    """The indexes of the vectors to try one after the other, since only a server itself knows whether it has one."""
    if config.index != "auto":
        return [_index(config.index, config)]
    if hnsw_gib(config, num_rows, dimensions) <= config.memory_gib:
        return [_index("hnsw", config)]
    return [_index("diskann", config), _index("ivf", config)]


def hnsw_gib(config: MilvusConfig, num_rows: int, dimensions: int) -> float:
    """Memory that HNSW takes for so many rows, in GiB."""
    return _row_bytes("hnsw", config, dimensions) * num_rows / 2**30


def index_memory(config: MilvusConfig, num_rows: int, dimensions: int) -> tuple[str, float]:
    """The index that a collection of so many rows is planned with, in Milvus' words, and the memory in GiB that its
    vectors take. `auto` is HNSW: whether a server has DiskANN only the server knows, and its nodes are planned by this
    number. Of DiskANN a node keeps a compressed copy, planned as a quarter of the vectors."""
    kind = "hnsw" if config.index == "auto" else config.index
    return _KINDS[kind], _row_bytes(kind, config, dimensions) * num_rows / 2**30


def _row_bytes(kind: str, config: MilvusConfig, dimensions: int) -> float:
    links = _LINK_BYTES * (config.m or M)
    by_kind = {
        "hnsw": 4 * dimensions + links,
        "hnsw_sq": dimensions + links,
        "ivf": dimensions,
        "rabitq": dimensions / 8 + _RABITQ_BYTES + dimensions,
        "diskann": dimensions,
        "flat": 4 * dimensions,
    }
    return by_kind[kind]


def search_parameters(config: MilvusConfig, limit: int, ef: int = 0) -> dict[str, int]:
    """What a search for `limit` rows sends, `ef` at least where it is given. Each index reads its own keys alone."""
    looked_at = min(MAX_CANDIDATES, max(EF, 4 * limit))
    parameters = {
        "ef": max(config.ef or looked_at, limit, ef),
        "nprobe": config.nprobe or max(PROBED, (config.nlist or NLIST) // PROBED),
        "search_list": max(config.search_list or looked_at, limit),
    }
    # Other indexes have a refinement too, which they are not built with here.
    return parameters | ({"refine_k": REFINED} if config.index == "rabitq" else {})


def describe_index(config: MilvusConfig) -> str:
    """The setting of the index as one line, kept with a collection: another one builds another collection."""
    built_with = {"m": config.m, "ef_construction": config.ef_construction, "nlist": config.nlist}
    return " ".join([config.index, *(f"{name}={value}" for name, value in built_with.items() if value is not None)])


def _index(kind: str, config: MilvusConfig) -> Index:
    params: dict[str, Any] = {}
    if kind in ("hnsw", "hnsw_sq"):
        params = {"M": config.m or M, "efConstruction": config.ef_construction or EF_CONSTRUCTION}
    if kind == "hnsw_sq":
        params |= {"sq_type": "SQ8"}
    if kind in ("ivf", "rabitq"):
        params = {"nlist": config.nlist or NLIST}
    if kind == "rabitq":
        params |= {"refine": True, "refine_type": "SQ8"}
    return Index("vector", _KINDS[kind], "COSINE", params)
