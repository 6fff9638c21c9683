"""Which index a collection gets, and what a search asks of it: settings and counts -> Milvus' own words.

    candidates(config, num_rows=0, dimensions=384)      the indexes to try, the best first
    search_parameters(config, limit=10)                 what a dense search sends

Memory of HNSW, by hnswlib's own account (ALGO_PARAMS.md): the vectors, 4 bytes a dimension, and 8 to 10 bytes times M
of links a row. IVF_SQ8 takes a byte a dimension. DiskANN keeps the vectors on the disks of the query nodes.
"""

from dataclasses import dataclass, field
from typing import Any

from retrieval.config import MilvusConfig

# Measured: docs/decisions/016-milvus-settings.md.
M, EF_CONSTRUCTION, EF = 16, 200, 128
NLIST, PROBED = 1024, 16
MAX_CANDIDATES = 16_384
_LINK_BYTES = 10
_KINDS = {"hnsw": "HNSW", "ivf": "IVF_SQ8", "diskann": "DISKANN", "flat": "FLAT"}


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
    return num_rows * (4 * dimensions + _LINK_BYTES * (config.m or M)) / 2**30


def search_parameters(config: MilvusConfig, limit: int, ef: int = 0) -> dict[str, int]:
    """What a search for `limit` rows sends, `ef` at least where it is given. Each index reads its own keys alone."""
    looked_at = min(MAX_CANDIDATES, max(EF, 4 * limit))
    return {
        "ef": max(config.ef or looked_at, limit, ef),
        "nprobe": config.nprobe or max(PROBED, (config.nlist or NLIST) // PROBED),
        "search_list": max(config.search_list or looked_at, limit),
    }


def describe_index(config: MilvusConfig) -> str:
    """The setting of the index as one line, kept with a collection: another one builds another collection."""
    built_with = {"m": config.m, "ef_construction": config.ef_construction, "nlist": config.nlist}
    return " ".join([config.index, *(f"{name}={value}" for name, value in built_with.items() if value is not None)])


def _index(kind: str, config: MilvusConfig) -> Index:
    params: dict[str, Any] = {}
    if kind == "hnsw":
        params = {"M": config.m or M, "efConstruction": config.ef_construction or EF_CONSTRUCTION}
    if kind == "ivf":
        params = {"nlist": config.nlist or NLIST}
    return Index("vector", _KINDS[kind], "COSINE", params)
