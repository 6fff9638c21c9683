"""The index that a collection gets, and what a search asks of it."""

import pytest
from pydantic import ValidationError

from retrieval.config import MilvusConfig, RetrievalConfig
from retrieval.store.index_parameters import (
    describe_index,
    hnsw_gib,
    index_memory,
    num_candidates,
    search_parameters,
)


def kinds(config: MilvusConfig, num_rows: int) -> list[str]:
    return [index.kind for index in num_candidates(config, num_rows, dimensions=384)]


def test_auto_takes_a_graph_in_memory_while_it_fits() -> None:
    auto = MilvusConfig(memory_gib=16)
    assert kinds(auto, 0) == kinds(auto, 1_000_000) == ["HNSW"]
    assert kinds(auto, 20_000_000) == ["DISKANN", "IVF_SQ8"]
    assert kinds(MilvusConfig(memory_gib=64), 20_000_000) == ["HNSW"]
    assert kinds(MilvusConfig(index="hnsw"), 10**9) == ["HNSW"]


def test_memory_of_the_graph_is_its_vectors_and_its_links() -> None:
    """The vectors are 4 x 384 = 1,536 bytes a row; hnswlib's links are 8 to 10 bytes times M."""
    assert hnsw_gib(MilvusConfig(), 2**20, 384) == pytest.approx((1536 + 160) / 1024)
    assert hnsw_gib(MilvusConfig(m=64), 2**20, 384) == pytest.approx((1536 + 640) / 1024)


@pytest.mark.parametrize(
    ("index", "kind", "bytes_384", "bytes_1024"),
    [
        ("auto", "HNSW", 1536 + 160, 4096 + 160),
        ("hnsw_sq", "HNSW_SQ", 384 + 160, 1024 + 160),
        ("ivf", "IVF_SQ8", 384, 1024),
        ("rabitq", "IVF_RABITQ", 48 + 8 + 384, 128 + 8 + 1024),
        ("diskann", "DISKANN", 384, 1024),
        ("flat", "FLAT", 1536, 4096),
    ],
)
def test_memory_is_planned_by_the_index(index: str, kind: str, bytes_384: int, bytes_1024: int) -> None:
    config = MilvusConfig(index=index)  # type: ignore[arg-type]
    assert index_memory(config, 2**20, 384) == (kind, pytest.approx(bytes_384 / 1024))
    assert index_memory(config, 2**20, 1024) == (kind, pytest.approx(bytes_1024 / 1024))
    assert index_memory(config, 0, 384)[1] == 0


def test_rabitq_takes_less_than_a_third_and_a_half_of_the_graph() -> None:
    plain, small = (index_memory(MilvusConfig(index=each), 10**6, 384)[1] for each in ("hnsw", "rabitq"))
    assert plain / small > 3.5


def test_parameters_of_the_build() -> None:
    assert num_candidates(MilvusConfig(index="hnsw_sq", m=8), 0, 4)[0].params == {
        "M": 8, "efConstruction": 200, "sq_type": "SQ8",
    }  # fmt: skip
    assert num_candidates(MilvusConfig(index="rabitq", nlist=64), 0, 4)[0].params == {
        "nlist": 64, "refine": True, "refine_type": "SQ8",
    }  # fmt: skip
    assert search_parameters(MilvusConfig(index="rabitq"), limit=10)["refine_k"] == 4
    assert num_candidates(MilvusConfig(m=32, ef_construction=400), 0, 4)[0].params == {"M": 32, "efConstruction": 400}
    assert num_candidates(MilvusConfig(index="ivf", nlist=64), 0, 4)[0].params == {"nlist": 64}
    assert num_candidates(MilvusConfig(index="flat"), 0, 4)[0].params == {}


def test_a_search_looks_at_more_than_it_returns() -> None:
    asked = search_parameters(MilvusConfig(), limit=10)
    assert asked == {"ef": 128, "nprobe": 64, "search_list": 128}
    assert search_parameters(MilvusConfig(), limit=100)["ef"] == 400
    assert search_parameters(MilvusConfig(ef=50), limit=10)["ef"] == 50
    assert search_parameters(MilvusConfig(ef=50), limit=100)["ef"] == 100, "Milvus refuses less than the limit"
    assert search_parameters(MilvusConfig(), limit=10, ef=5000)["ef"] == 5000
    assert search_parameters(MilvusConfig(nlist=4096), limit=10)["nprobe"] == 256


def test_only_what_changes_the_build_changes_its_description() -> None:
    assert (
        describe_index(MilvusConfig())
        == describe_index(MilvusConfig(ef=500, replicas=2, consistency="strong"))
        == "auto"
    )
    assert describe_index(MilvusConfig(index="hnsw", m=32)) == "hnsw m=32"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"index": "annoy"}, "annoy"),
        ({"index": "flat", "ef": 10}, "ef is for index: hnsw, and index is flat"),
        ({"index": "hnsw", "nprobe": 10}, "nprobe is for index: ivf"),
        ({"index": "hnsw_sq", "nlist": 10}, "nlist is for index: ivf, and index is hnsw_sq"),
        ({"index": "rabitq", "m": 10}, "m is for index: hnsw, and index is rabitq"),
        ({"consistency": "eventual"}, "eventually"),
        ({"shards": 0}, "greater than or equal to 1"),
        ({"token": "secret"}, "token"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RetrievalConfig.model_validate({"milvus": wrong})


def test_every_setting_is_described() -> None:
    assert all(field.description for field in MilvusConfig.model_fields.values())


def test_a_certificate_needs_an_address_that_speaks_tls() -> None:
    with pytest.raises(ValidationError, match=r"ca_file.*https"):
        RetrievalConfig.model_validate({"uri": "http://milvus:19530", "milvus": {"ca_file": "ca.pem"}})
