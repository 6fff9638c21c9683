"""Tenants and labels on Milvus Lite: hostile values come back as they were, and nothing of another tenant is found."""

import asyncio
import json

import pytest

from cluster.errors import TandemError
from retrieval.config import Mode, RetrievalConfig
from retrieval.filters.filter_json import parse_filter
from retrieval.filters.filters import FieldComparison, Not, Or
from retrieval.filters.rights import NOBODY, Attributes, Rights, allowed
from retrieval.search.fusion import Ranking
from retrieval.search.search import Searcher, SearchResult
from retrieval.store.store import Store
from serving.retriever import Retriever
from tests.retrieval.hostile import VECTOR, built, check_store, near, row, searches

pytestmark = pytest.mark.slow
MODES: list[Mode] = ["dense", "bm25", "hybrid"]


class HandMade:
    """An embedding model for which everything says the same."""

    identity, name = "hand-made", "hand-made"

    def embed_question(self, question: str) -> list[float]:
        return VECTOR

    def fluency(self, text: str) -> float:
        return 1.0


@pytest.fixture(scope="module")
def searcher(milvus: str) -> Searcher:
    """Over two tenants' documents and a shared one, all with one text."""
    rows = [
        row(0, Attributes("acme")),
        row(1, Attributes("globex")),
        row(2, Attributes("acme", ("hr", "managers"))),
        row(3, Attributes("acme", ("it",), {"year": 2024})),
        row(4, Attributes()),
        row(5, Attributes("", ("hr",))),
        row(6, Attributes("globex", ("hr",), {"year": 2024})),
    ]
    built(Store(milvus), "tenants", rows)
    searcher = Searcher(RetrievalConfig(mode="bm25"), milvus)
    searcher._embedder = HandMade()  # type: ignore[assignment]
    return searcher


def named(result: SearchResult) -> list[str]:
    """Every source that a result tells of: all texts here are the same, so most are named by another's hit."""
    return sorted(source for hit in result.hits for source in (hit.source, *hit.also_in))


def test_hostile_values_come_back_and_find_their_own(milvus: str) -> None:
    check_store(milvus, "hostile")


def test_a_small_tenant_finds_its_own_among_many_rows(milvus: str) -> None:
    """They are the furthest from the question, so a search that stops at 64 candidates finds none of them."""
    store = Store(milvus)
    owners = dict.fromkeys(range(1990, 2000), "small")
    rows = [row(number, Attributes(owners.get(number, "large")), near(number / 2)) for number in range(2000)]
    built(store, "many", rows)
    for mode, hits in searches(store, "many", allowed(Rights("small"))).items():
        assert {hit.source for hit in hits} == {f"{number}.md" for number in owners}, mode
    store.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("rights", "found"),
    [
        (Rights(), "4"),
        (Rights("acme"), "04"),
        (Rights("acme", frozenset(["hr"])), "0245"),
        (Rights("acme", frozenset(["managers", "it"])), "0234"),
        (Rights("globex", frozenset(["it"])), "14"),
        (Rights(None, frozenset(["hr", "it", "managers"])), "45"),
        (Rights("Acme"), "4"),
    ],
)
def test_a_caller_finds_what_rights_allow(searcher: Searcher, mode: Mode, rights: Rights, found: str) -> None:
    result = searcher.search("tenants", "symbol of Iron", 100, mode, rights=rights)
    assert [source[0] for source in named(result)] == sorted(found)
    candidates = searcher.candidates("tenants", "symbol of Iron", Ranking(mode), rights=rights)
    assert named(candidates) == named(result)
    everything = [f"{number:04}" for number in range(7)]
    seen = searcher._legs.vectors("tenants", everything, allowed(rights), 10)
    assert sorted(key[-1] for key in seen) == sorted(found), "also where rows are asked for by their ids"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "where",
    [
        {
            "type": "or",
            "filters": [{"type": "ne", "key": "source", "value": ""}, {"type": "eq", "key": "a", "value": 1}],
        },
        {"type": "not", "filter": {"type": "eq", "key": "tenant", "value": "acme"}},
        {"type": "nin", "key": "access_1", "value": ["hr"]},
        {"type": "gte", "key": "position", "value": 0},
        {"type": "ne", "key": "source", "value": '") or (tenant != ""'},
    ],
)
def test_no_filter_of_a_request_widens_rights(searcher: Searcher, mode: Mode, where: dict[str, object]) -> None:
    result = searcher.search("tenants", "symbol of Iron", 100, mode, rights=Rights("acme"), where=parse_filter(where))
    assert named(result) == ["0.md", "4.md"]
    assert named(searcher.search("tenants", "Iron", 100, mode, where=parse_filter(where))) == ["4.md"]


@pytest.mark.parametrize("mode", MODES)
def test_a_filter_narrows_what_rights_allow(searcher: Searcher, mode: Mode) -> None:
    rights = Rights("acme", frozenset(["it"]))
    year = FieldComparison("metadata.year", ">=", 2024)
    for where, expected in (
        (year, ["3.md"]),
        (Not(year), ["0.md", "4.md"]),
        (Or((year, Not(year))), ["0.md", "3.md", "4.md"]),
    ):
        result = searcher.search("tenants", "symbol of Iron", 100, mode, rights=rights, where=where)
        assert named(result) == expected


def test_the_endpoint_finds_what_the_rights_of_its_caller_allow(searcher: Searcher, milvus: str) -> None:
    retriever = Retriever(RetrievalConfig(mode="bm25"), milvus)

    def found(rights: Rights) -> list[str]:
        answer = asyncio.run(retriever.search("tenants", "symbol of Iron", 100, rights))
        assert answer.status == 200
        return named(SearchResult(answer.hits))

    assert found(NOBODY) == ["4.md"]
    held = Rights("acme", frozenset(["it"]))
    assert found(held) == named(searcher.search("tenants", "symbol of Iron", 100, "bm25", rights=held)) != ["4.md"]


def test_a_collection_of_an_older_schema_is_refused(milvus: str) -> None:
    store = Store(milvus)
    physical = built(store, "older", [row(0, Attributes())])
    settings = store.settings(physical)
    assert settings is not None
    older = {"tandem.settings": json.dumps({**vars(settings), "schema_version": 1})}
    store.client.alter_collection_properties(physical, properties=older)
    with pytest.raises(TandemError, match=r"another version of Tandem.*`tandem index`"):
        Searcher(RetrievalConfig(mode="bm25"), milvus).search("older", "Iron")
