"""The index that a collection gets, and what a search asks of it."""

import pytest
from pydantic import ValidationError

from retrieval.config import MilvusConfig, RetrievalConfig
from retrieval.store.index_parameters import describe_index, hnsw_gib, num_candidates, search_parameters


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


def test_parameters_of_the_build() -> None:
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
