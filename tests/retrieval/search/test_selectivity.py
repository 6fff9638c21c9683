"""The share that a filter lets through, on Milvus Lite, and what it costs a search."""

import time
from dataclasses import replace
from itertools import count

import pytest

from retrieval.errors import UnknownCollection
from retrieval.filters.filters import And, FieldComparison, encode
from retrieval.filters.rights import NOBODY, Attributes, Rights, allowed
from retrieval.search import selectivity
from retrieval.search.selectivity import Selectivity
from retrieval.store.collection import ChunkRow
from retrieval.store.store import Store
from tests.retrieval.store.test_contract import built

pytestmark = pytest.mark.slow
NUMBERS = count()


def rows(**num_by_tenant: int) -> list[ChunkRow]:
    return [
        ChunkRow(f"{tenant}-{number:05}", "a.md", "h", 1, number, "T\ntext", [1.0, 0.0, 0.0, 0.0], Attributes(tenant))
        for tenant, num in num_by_tenant.items()
        for number in range(num)
    ]


@pytest.fixture
def store(milvus: str) -> Store:
    return Store(milvus)


def settled(counting: Selectivity, name: str, expression: str) -> float:
    """The share once nothing is being counted."""
    counting.of(name, expression, 10)
    deadline = time.monotonic() + 20
    while counting._counting and time.monotonic() < deadline:
        time.sleep(0.01)
    return counting.of(name, expression, 10)


def test_few_of_either_kind_are_exact_at_once(store: Store) -> None:
    name = f"shares-{next(NUMBERS)}"
    built(store, name, rows(acme=700, globex=50))
    counting = Selectivity(store)
    assert counting.of(name, encode(allowed(Rights("globex"))), 10) == pytest.approx(50 / 750)
    assert counting.of(name, encode(allowed(Rights("acme"))), 10) == pytest.approx(700 / 750)
    assert counting.of(name, encode(allowed(NOBODY)), 10) == 0
    assert counting.of(name, encode(FieldComparison("position", ">=", 0)), 10) == 1
    both = And((allowed(Rights("acme")), FieldComparison("position", "<", 7)))
    assert counting.of(name, encode(both), 10) == pytest.approx(7 / 750)
    assert not counting._counting, "nothing had to be counted beside the searches"


def test_many_of_both_kinds_are_bounded_first_and_counted_beside(store: Store) -> None:
    name = f"shares-{next(NUMBERS)}"
    built(store, name, rows(acme=900, globex=600))
    counting, expression = Selectivity(store), encode(allowed(Rights("acme")))
    assert counting.of(name, expression, 10) == pytest.approx(selectivity.FEW / 1500)
    assert settled(counting, name, expression) == pytest.approx(900 / 1500)


def test_a_share_follows_the_collection(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectivity, "KEPT_S", 0.0)
    name = f"shares-{next(NUMBERS)}"
    physical = built(store, name, rows(acme=30))
    counting, expression = Selectivity(store), encode(allowed(NOBODY))
    assert counting.of(name, expression, 10) == 0
    store.upsert(physical, [replace(row, attributes=Attributes()) for row in rows(acme=15)])
    store.finish(physical)
    deadline = time.monotonic() + 20
    while (share := settled(counting, name, expression)) == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert share == pytest.approx(0.5)


def test_a_collection_that_is_not_there_is_said(store: Store) -> None:
    with pytest.raises(UnknownCollection):
        Selectivity(store).of("shares-none", encode(allowed(NOBODY)), 10)
