"""What the settings of `retrieval.milvus` make of a store, and what goes wrong: on Milvus Lite, and in the matrix on
the real server too, where each case takes some ten seconds."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from cluster.errors import TandemError
from retrieval.config import MilvusConfig
from retrieval.filters.filters import FieldComparison, In
from retrieval.filters.rights import Attributes
from retrieval.search.retrievers import Retrievers
from retrieval.store.collection import alias_of
from retrieval.store.index_parameters import num_candidates
from retrieval.store.store import Store
from tests.retrieval.store.test_contract import SETTINGS, built, found, name, row

__all__ = ["name"]

pytestmark = pytest.mark.slow


@pytest.fixture(params=["milvus", pytest.param("server", marks=pytest.mark.matrix)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    opened = Store(request.getfixturevalue(request.param), timeout_s=30)
    yield opened
    opened.close()


@pytest.fixture
def opened(store: Store) -> Iterator[Callable[..., Store]]:
    """A store on the same server with settings of its own."""
    made: list[Store] = []

    def open_with(**settings: object) -> Store:
        made.append(Store(store.uri, MilvusConfig(**settings), timeout_s=30))  # type: ignore[arg-type]
        return made[-1]

    yield open_with
    for each in made:
        each.close()


@pytest.mark.parametrize("kind", ["hnsw", "hnsw_sq", "ivf", "flat"])
def test_each_index_finds_the_nearest(opened: Callable[..., Store], name: str, kind: str) -> None:
    store = opened(index=kind)
    if kind == "hnsw_sq" and not store.is_lite:
        with pytest.raises(TandemError, match="cannot build the index HNSW_SQ"):
            built(store, name, [], replace(SETTINGS, index=kind))
        return
    physical = built(store, name, [row(number) for number in range(300)], replace(SETTINGS, index=kind))
    assert found(store, name) == list(range(10))
    assert store.index_kind(physical) == num_candidates(store.config, 0, 4)[0].kind


def test_an_index_that_the_store_does_not_have_is_refused(opened: Callable[..., Store], name: str) -> None:
    with pytest.raises(TandemError, match=r"cannot build the index IVF_RABITQ.*rabitq in servers since 2\.6"):
        built(opened(index="rabitq"), name, [], replace(SETTINGS, index="rabitq"))
    assert name not in opened().collections()


def test_an_index_is_rebuilt_in_place(store: Store, name: str) -> None:
    physical = built(store, name, [row(number) for number in range(300)])
    assert store.index_kind(physical) == "HNSW"
    assert store.rebuild(physical, num_candidates(MilvusConfig(index="flat"), 0, 4)) == "FLAT"
    assert store.index_kind(physical) == "FLAT"
    assert found(store, name) == list(range(10))
    assert len(store.chunks(physical)) == 300


def test_a_collection_that_outgrows_its_memory_while_it_is_built_gets_another_index(
    opened: Callable[..., Store], name: str
) -> None:
    store = opened(memory_gib=1e-5, nlist=16)
    physical = built(store, name, [row(number) for number in range(300)])
    assert found(store, name) == list(range(10))
    if store.is_lite:
        assert store.index_kind(physical) == "HNSW"
    else:
        assert store.index_kind(physical) in {"DISKANN", "IVF_SQ8"}
        assert store.outgrown(physical, 300) is None


def test_a_collection_that_outgrows_its_memory_while_it_is_searched_is_told(
    store: Store, opened: Callable[..., Store], name: str
) -> None:
    physical = built(store, name, [row(number) for number in range(300)])
    assert store.outgrown(physical, 300) is None
    told = opened(memory_gib=1e-5).outgrown(physical, 300)
    assert told is None if store.is_lite else "300 rows are kept in HNSW" in str(told)


def test_tenants_that_are_spread_over_partitions_are_found_as_before(opened: Callable[..., Store], name: str) -> None:
    store = opened(tenant_partitions=8, shards=2)
    settings = replace(SETTINGS, num_partitions=8, num_shards=2)
    if not store.is_lite:
        with pytest.raises(TandemError, match=r"v2\.3\.5.*loses rows.*tenant_partitions"):
            store.ensure(name, settings)
        return
    tenants = ["", "acme", "globex"]
    physical = built(
        store, name, [row(number, attributes=Attributes(tenants[number % 3])) for number in range(12)], settings
    )
    assert len(store.client.list_partitions(physical)) > 1  # how many is Milvus Lite's own choice
    assert found(store, name, In("tenant", ("", "acme"))) == [0, 1, 3, 4, 6, 7, 9, 10]
    assert found(store, name, In("tenant", ("",))) == [0, 3, 6, 9]
    assert found(store, name, top_k=12) == list(range(12))

    store.upsert(physical, [row(1, attributes=Attributes("globex"))])
    assert store.finish(physical) == 12, "a row that goes to another tenant leaves none behind"
    assert found(store, name, In("tenant", ("acme",))) == [4, 7, 10]
    assert found(store, name, In("tenant", ("globex",))) == [1, 2, 5, 8, 11]
    store.delete(physical, ["id-00001", "id-00002"])
    assert store.finish(physical) == 10
    assert store.settings(physical) == settings


@pytest.mark.parametrize("consistency", ["strong", "session", "bounded", "eventually"])
def test_each_consistency_is_taken(opened: Callable[..., Store], name: str, consistency: str) -> None:
    store = opened(consistency=consistency)
    physical = built(store, name, [row(number) for number in range(4)])
    if consistency == "strong":
        store.upsert(physical, [row(4)])
        assert found(store, name) == [0, 1, 2, 3, 4], "seen at once"
    else:
        assert found(store, name)[:4] == [0, 1, 2, 3]


def test_an_index_that_the_server_does_not_have_is_told_when_it_is_made(
    opened: Callable[..., Store], name: str
) -> None:
    store = opened(index="diskann")
    if store.is_lite:
        with pytest.raises(TandemError, match=r"milvus_lite.*cannot build the index DISKANN"):
            store.ensure(name, SETTINGS)
        assert store.filled(name) == []
    else:
        built(store, name, [row(number) for number in range(300)])
        assert found(store, name) == list(range(10))


def test_more_replicas_than_there_are_nodes_are_told(opened: Callable[..., Store], name: str) -> None:
    store = opened(replicas=2)
    if store.is_lite:
        store.ensure(name, SETTINGS)  # it has no nodes
    else:
        with pytest.raises(TandemError, match="replica"):
            store.ensure(name, SETTINGS)


@pytest.mark.parametrize("as_alias", [True, False])
def test_what_others_built_is_told_and_never_dropped(store: Store, name: str, as_alias: bool) -> None:
    alias = alias_of(name)
    theirs = f"others_{alias}" if as_alias else alias
    store.client.create_collection(theirs, dimension=7, timeout=30)
    if as_alias:
        store.client.create_alias(theirs, alias, timeout=30)
        with pytest.raises(TandemError, match=f"{theirs} .*7 dimensions, was not built by Tandem"):
            store.current(name)
    with pytest.raises(TandemError, match=f"{theirs} .*7 dimensions, was not built by Tandem"):
        store.ensure(name, SETTINGS)
    assert store.client.has_collection(theirs)
    assert name not in store.collections()


def test_a_collection_of_others_under_our_full_name_is_left_alone(store: Store, name: str) -> None:
    taken = store.physical(name, SETTINGS)
    store.client.create_collection(taken, dimension=7, timeout=30)
    with pytest.raises(TandemError, match="7 dimensions"):
        store.ensure(name, SETTINGS)
    with pytest.raises(TandemError, match="7 dimensions"):
        store.settings(taken)
    built(store, name, [row(1)], replace(SETTINGS, chunk_tokens=200))
    assert store.client.has_collection(taken), "publishing drops only our own"
    assert found(store, name) == [1]


def test_a_collection_that_fell_out_of_memory_is_loaded_again(store: Store, name: str) -> None:
    physical = built(store, name, [row(number) for number in range(4)])
    store.client.release_collection(physical, timeout=30)
    assert len(store.chunks(physical)) == 4
    store.client.release_collection(physical, timeout=30)
    assert found(store, name) == [0, 1, 2, 3]


def test_many_deleted_rows_are_cleared_away(store: Store, name: str) -> None:
    physical = built(store, name, [row(number) for number in range(300)])
    store.delete(physical, [f"id-{number:05}" for number in range(200)])
    assert store.finish(physical) == 100
    hits = found(store, name)
    assert len(hits) == 10 and min(hits) >= 200
    if not store.is_lite:  # its graph keeps deleted rows, which stand in the way of those behind them
        assert hits == list(range(200, 210))


def test_one_row_in_a_hundred_of_ten_thousand_is_found_as_if_it_were_alone(store: Store, name: str) -> None:
    drawn = np.random.default_rng(1).standard_normal((10_000, 16), dtype=np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    mine = range(0, 10_000, 100)
    rows = [
        row(number, vector=vector.tolist(), attributes=Attributes("small" if number in mine else "large"))
        for number, vector in enumerate(vectors)
    ]
    built(store, name, rows, replace(SETTINGS, dimensions=16))

    def missed() -> int:
        """Of ten nearest to each question; a server answers by a coarser index of its own until the real one is in."""
        num_missed = 0
        for asked in vectors[1:30]:
            nearest = sorted(mine, key=lambda number: -float(vectors[number] @ asked))[:10]
            hits = Retrievers(store).dense(name, asked.tolist(), FieldComparison("tenant", "==", "small"), 10, 30)
            num_missed += len(set(nearest) - {hit.position for hit in hits})
        return num_missed

    deadline = time.monotonic() + 90
    while (found_less := missed()) and not store.is_lite and time.monotonic() < deadline:
        time.sleep(1)
    assert found_less == 0
