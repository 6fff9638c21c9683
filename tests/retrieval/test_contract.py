"""What a sync and a search need of a store: the same cases on Milvus Lite and on the real server."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from cluster.errors import TandemError
from retrieval.errors import UnknownCollection
from retrieval.filters import And, Comparison, In, Not
from retrieval.index_plan import candidates
from retrieval.legs import Legs
from retrieval.milvus_config import MilvusConfig
from retrieval.names import alias_of
from retrieval.rights import Attributes
from retrieval.rows import PAGE_ROWS
from retrieval.schema import Row, Settings
from retrieval.store import Store

pytestmark = pytest.mark.slow
NUMBERS = count()
SETTINGS = Settings("a model", dimensions=4, chunk_tokens=100, chunking_version=1, bm25=False)


@pytest.fixture(params=["milvus", "server"])
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


@pytest.fixture
def name() -> str:
    return f"contract-{next(NUMBERS)}"


def row(number: int, **changed: object) -> Row:
    """A chunk whose vector points the nearer to the first axis the lower its number."""
    vector = [1.0, number / 10, 0.0, 0.0]
    return replace(
        Row(f"id-{number:05}", f"{number % 3}.md", "hash", 3, number, f"T\ntext {number}", vector), **changed
    )


def built(store: Store, name: str, rows: list[Row], settings: Settings = SETTINGS) -> str:
    physical = store.ensure(name, settings)
    store.upsert(physical, rows)
    store.load(physical)
    store.finish(physical)
    store.publish(name, physical)
    return physical


def found(store: Store, name: str, where: object = Comparison("id", "!=", ""), top_k: int = 10) -> list[int]:
    hits = Legs(store).dense(name, [1.0, 0.0, 0.0, 0.0], where, top_k, 30)  # type: ignore[arg-type]
    return [hit.position for hit in hits]


def test_a_collection_is_made_once_and_keeps_its_settings(store: Store, name: str) -> None:
    physical = store.ensure(name, SETTINGS)
    assert store.ensure(name, SETTINGS) == physical
    assert store.settings(physical) == SETTINGS
    assert store.ensure(name, replace(SETTINGS, chunk_tokens=200)) != physical


def test_a_collection_is_seen_once_it_is_published(store: Store, name: str) -> None:
    physical = store.ensure(name, SETTINGS)
    assert store.current(name) is None
    assert name not in store.collections()
    store.publish(name, physical)
    assert store.current(name) == physical
    assert name in store.collections()


def test_rows_are_replaced_by_their_ids_and_read_back(store: Store, name: str) -> None:
    physical = built(store, name, [row(number) for number in range(6)])
    store.upsert(physical, [row(2, source_hash="other", vector=[0.0, 0.0, 0.0, 1.0])])
    assert store.finish(physical) == 6
    assert {(each.id, each.source_hash) for each in store.chunks(physical)} == {
        (f"id-{number:05}", "other" if number == 2 else "hash") for number in range(6)
    }
    vectors = store.vectors(physical, ["id-00001", "id-00002", "id-99999"])
    assert vectors == {"id-00001": pytest.approx([1.0, 0.1, 0, 0]), "id-00002": [0.0, 0.0, 0.0, 1.0]}
    assert found(store, name) == [0, 1, 3, 4, 5, 2]


def test_what_is_deleted_is_gone_at_once_for_a_sync_and_soon_for_a_search(store: Store, name: str) -> None:
    physical = built(store, name, [row(number) for number in range(4)])
    store.delete(physical, ["id-00000", "id-99999"])
    assert {each.id for each in store.chunks(physical)} == {"id-00001", "id-00002", "id-00003"}
    assert store.finish(physical) == 3
    assert found(store, name) == [1, 2, 3]


def test_more_rows_than_a_page(store: Store, name: str) -> None:
    number = 2 * PAGE_ROWS + 1
    physical = built(store, name, [row(each) for each in range(number)])
    assert len(list(store.chunks(physical))) == number
    assert len(store.vectors(physical, [f"id-{each:05}" for each in range(number)])) == number
    store.delete(physical, [f"id-{each:05}" for each in range(number)])
    assert store.finish(physical) == 0


def test_filters_keep_what_they_say(store: Store, name: str) -> None:
    acme, globex = Attributes("acme", ("hr",), {"year": 2024}), Attributes("globex", (), {"year": "2024"})
    rows = [row(number, attributes=acme if number % 2 else globex) for number in range(8)]
    built(store, name, rows)
    assert found(store, name, Comparison("tenant", "==", "acme")) == [1, 3, 5, 7]
    assert found(store, name, And((Comparison("tenant", "==", "acme"), Comparison("position", ">", 3)))) == [5, 7]
    assert found(store, name, Not(In("source", ("0.md", "1.md")))) == [2, 5]
    assert found(store, name, Comparison("metadata.year", "==", 2024)) == [1, 3, 5, 7]
    assert found(store, name, Comparison("metadata.year", "==", "2024")) == [0, 2, 4, 6]
    assert found(store, name, Comparison("access_1", "==", "hr"), top_k=2) == [1, 3]


def test_new_settings_take_the_place_of_the_old_in_one_step(store: Store, name: str) -> None:
    old = built(store, name, [row(1)])
    new = store.ensure(name, replace(SETTINGS, chunk_tokens=200))
    store.upsert(new, [row(2)])
    store.load(new)
    store.finish(new)
    assert found(store, name) == [1], "until it is published the old one answers"
    store.publish(name, new)
    assert found(store, name) == [2]
    assert store.filled(name) == [new] and old != new


def test_a_collection_that_does_not_exist_is_named(store: Store) -> None:
    with pytest.raises(UnknownCollection, match="contract-none"):
        found(store, "contract-none")


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "flat"])
def test_each_index_finds_the_nearest(opened: Callable[..., Store], name: str, kind: str) -> None:
    store = opened(index=kind)
    physical = built(store, name, [row(number) for number in range(300)], replace(SETTINGS, index=kind))
    assert found(store, name) == list(range(10))
    assert store.index_kind(physical) == candidates(store.config, 0, 4)[0].kind


def test_an_index_is_rebuilt_in_place(store: Store, name: str) -> None:
    physical = built(store, name, [row(number) for number in range(300)])
    assert store.index_kind(physical) == "HNSW"
    assert store.rebuild(physical, candidates(MilvusConfig(index="flat"), 0, 4)) == "FLAT"
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
            hits = Legs(store).dense(name, asked.tolist(), Comparison("tenant", "==", "small"), 10, 30)
            num_missed += len(set(nearest) - {hit.position for hit in hits})
        return num_missed

    deadline = time.monotonic() + 90
    while (found_less := missed()) and not store.is_lite and time.monotonic() < deadline:
        time.sleep(1)
    assert found_less == 0
