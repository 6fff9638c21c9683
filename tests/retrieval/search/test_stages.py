"""The stages of a search together, on Milvus Lite with an embedding model: threshold, duplicates, neighbours, live."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from retrieval.config import LiveConfig, RetrievalConfig
from retrieval.errors import RetrievalUnavailable
from retrieval.filters.filters import FieldComparison
from retrieval.filters.rights import NOBODY, Rights
from retrieval.index.indexing import index_documents
from retrieval.search.fusion import Ranking
from retrieval.search.search import Searcher
from tests.retrieval.conftest import FACTS
from tests.retrieval.live_engine import Engine, serving
from tests.retrieval.tiny_cross_encoder import own_score, save

pytestmark = pytest.mark.slow
GOLD = "What is the symbol of Gold?"
PART = "The {0} part of the machine is described here in words of its own. " * 4
PARTS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"]
NOTICE = (
    "This notice is the same in every document of the company and says that all that is written here is meant for the "
    "staff alone, who may not pass it on to anybody without the consent of the board and of the legal department."
)


@pytest.fixture(scope="module")
def documents(milvus: str, tmp_path_factory: pytest.TempPathFactory) -> RetrievalConfig:
    """Facts for all, one long document of acme's, and a notice that is in three documents, one of them acme's."""
    folder = tmp_path_factory.mktemp("stages")
    for name, text in {**FACTS, "b.md": f"# Notice\n\n{NOTICE}\n", "a.md": f"# Notice\n\n{NOTICE}\n"}.items():
        (folder / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "all" / name).write_text(text)
    (folder / "acme").mkdir()
    parts = "\n\n".join(f"## {part.title()}\n\n{PART.format(part)}" for part in PARTS)
    (folder / "acme" / "manual.md").write_text(f"# Manual\n\n{parts}\n")
    (folder / "acme" / "secret.md").write_text(f"# Notice\n\n{NOTICE}\n")
    sources = [{"path": folder / "all"}, {"path": folder / "acme", "tenant": "acme"}]
    config = RetrievalConfig.model_validate({"sources": sources, "chunk_tokens": 80})
    index_documents(config, "stages", milvus, lambda line: None)
    return config


@pytest.fixture
def opened(documents: RetrievalConfig, milvus: str) -> Callable[..., Any]:
    @contextmanager
    def open_with(**settings: Any) -> Iterator[Searcher]:
        searcher = Searcher(RetrievalConfig.model_validate(documents.model_dump() | settings), milvus)
        try:
            yield searcher
        finally:
            searcher.close()

    return open_with


def test_the_scores_of_every_stage_are_kept(opened: Callable[..., Any]) -> None:
    with opened() as searcher:
        result = searcher.search("stages", GOLD)
        dense = {hit.id: hit.score for hit in searcher.candidates("stages", GOLD, Ranking("dense")).hits}
        bm25 = {hit.id: hit.score for hit in searcher.candidates("stages", GOLD, Ranking("bm25")).hits}
    best = result.hits[0]
    assert best.source == "all/gold.md" and best.score == best.scores.fused == pytest.approx(1.0)
    assert (best.scores.dense, best.scores.bm25) == (pytest.approx(dense[best.id]), pytest.approx(bm25[best.id]))
    assert 0 < dense[best.id] < 1 and best.scores.rerank is best.scores.live is None
    assert set(result.timings) == {"took_ms", "embed_ms", "search_ms", "index_ms"} and not result.missing
    assert 0 < result.index_ms <= result.search_ms < result.took_ms


def test_one_index_serves_many_rankings(opened: Callable[..., Any]) -> None:
    with opened(mode="bm25") as searcher:
        words = [hit.id for hit in searcher.candidates("stages", "symbol of Gold").hits]
        for fusion in ("rrf", "weighted"):
            ranking = Ranking("hybrid", fusion, 0.0)
            found = searcher.candidates("stages", "symbol of Gold", ranking).hits
            better = [hit.id for hit in found if hit.score > 0]
            assert len(better) >= 2 and better == words[: len(better)]
            assert searcher.search("stages", "symbol of Gold", 1, ranking=ranking).hits[0].id == words[0]


def test_nothing_is_found_below_the_threshold(opened: Callable[..., Any]) -> None:
    with opened(min_score=0.4) as searcher:
        hits = searcher.search("stages", GOLD, 10).hits
        assert hits and all(hit.scores.dense >= 0.4 for hit in hits)
        assert searcher.search("stages", "How do penguins sleep at night?").hits == []
        assert searcher.search("stages", GOLD, 10, "bm25").hits, "BM25 alone has no such score"
    with opened(min_score=-1.0) as searcher:
        assert len(searcher.search("stages", GOLD, 10).hits) > len(hits)


def test_the_threshold_takes_the_cosine_of_what_only_the_words_found(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embeddings' leg hands over one candidate, so that the others come from the words alone."""
    with opened(min_score=0.0) as searcher:
        expected = {hit.id: hit.score for hit in searcher.candidates("stages", GOLD, Ranking("dense")).hits}
        whole = searcher._legs.dense
        monkeypatch.setattr(searcher._legs, "dense", lambda *arguments: whole(*arguments)[:1])
        hits = searcher.search("stages", GOLD, 10).hits
        assert len(hits) > 1
        assert {hit.id: hit.scores.dense for hit in hits} == pytest.approx({hit.id: expected[hit.id] for hit in hits})


def test_the_same_text_is_shown_once_and_names_only_what_the_caller_may_see(opened: Callable[..., Any]) -> None:
    with opened() as searcher:
        for rights, others in ((NOBODY, 1), (Rights("acme"), 2), (Rights("globex"), 1)):
            hits = searcher.search("stages", "What does the notice of the board say?", 5, rights=rights).hits
            told = [hit for hit in hits if hit.text == NOTICE]
            assert len(told) == 1 and len(told[0].also_in) == others
            assert ("acme/secret.md" in {told[0].source, *told[0].also_in}) == (rights.tenant == "acme")


def test_neighbouring_hits_are_one_passage(opened: Callable[..., Any]) -> None:
    with opened() as searcher:
        asked = "Which part of the machine is described, charlie or delta?"
        result = searcher.search("stages", asked, 2, rights=Rights("acme"))
        (manual, *_) = (hit for hit in result.hits if hit.source == "acme/manual.md")
        assert manual.position <= 2 and manual.last_position >= 3
        assert manual.text.index("charlie") < manual.text.index("delta")
        candidates = searcher.candidates("stages", asked, rights=Rights("acme")).hits
        assert all(hit.last is None for hit in candidates)
        assert len([hit for hit in candidates if hit.source == "acme/manual.md"]) == len(PARTS)


@pytest.mark.parametrize("distance", [1, 2])
def test_chunks_around_a_hit_are_added_with_the_same_rights(
    opened: Callable[..., Any], distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(neighbours=distance, prompt_tokens=4000) as searcher:
        hit = searcher.search("stages", "delta", 1, "bm25", rights=Rights("acme")).hits[0]
        assert hit.citation == f"acme/manual.md#{3 - distance}-{3 + distance}"
        words = [part for part in PARTS if part in hit.text]
        assert words == PARTS[3 - distance : 4 + distance]
        around = searcher._legs.around("stages", [hit], 2, FieldComparison("tenant", "==", "globex"), 10)
        assert around == [] and hit.scores.bm25 == hit.score
        assert searcher.search("stages", "delta", 1, "bm25").hits == []
        only = searcher.search(
            "stages", "delta", 1, "bm25", rights=Rights("acme"), where=FieldComparison("position", "<=", 3)
        ).hits[0]
        assert only.citation == f"acme/manual.md#{3 - distance}-3"


def test_the_reranker_has_the_last_word(opened: Callable[..., Any], tmp_path: Path) -> None:
    model = save(tmp_path / "model", [GOLD, *FACTS.values()])
    with opened(reranker=str(model), rerank_candidates=5) as searcher:
        result = searcher.search("stages", GOLD, 5)
        candidates = searcher.candidates("stages", GOLD).hits
    read = [hit for hit in candidates if hit.scores.rerank is not None]
    assert len(read) == 5 and read == candidates[:5]
    for hit in read:
        assert hit.scores.rerank == pytest.approx(own_score(model, GOLD, f"{hit.title}\n{hit.text}"), abs=1e-4)
        assert hit.score == hit.scores.rerank and hit.scores.fused is not None
    assert [hit.scores.rerank for hit in read] == sorted((hit.scores.rerank for hit in read), reverse=True)
    shown = [hit.id for hit in result.hits]
    assert len(shown) >= 4 and shown == [hit.id for hit in read if hit.id in shown], "the notice is shown once"
    assert result.rerank_ms and result.rerank_ms <= result.search_ms
    middle = (result.hits[1].score + result.hits[2].score) / 2
    with opened(reranker=str(model), rerank_candidates=5, min_score=middle) as searcher:
        assert [hit.id for hit in searcher.search("stages", GOLD, 5).hits] == shown[:2]


ENGINE = {
    "1": {"title": "Gold", "text": "The symbol of Gold is Au, says the engine."},
    "2": {"title": "Gold", "text": "The symbol of Gold at Acme is Ag.", "tenant": "acme", "year": 2024},
}


def test_a_live_engine_is_fused_as_a_third_leg(opened: Callable[..., Any]) -> None:
    with serving(Engine(ENGINE)) as engine:
        live = LiveConfig(url=engine.url, index="docs", tenant_field="tenant", metadata_fields={"year": "year"})
        with opened(live=live.model_dump(), min_score=0.3) as searcher:
            result = searcher.search("stages", GOLD, 5)
            sources = [hit.source for hit in result.hits]
            assert {"all/gold.md", "docs/1"} <= set(sources) and "docs/2" not in sources
            hit = result.hits[sources.index("docs/1")]
            assert hit.scores.live and hit.scores.live > 0 and hit.scores.bm25 is None and hit.citation == "docs/1#0"
            assert hit.scores.dense and hit.scores.dense > 0.3, "the threshold embeds what the engine found"
            assert not result.missing and result.live_ms and result.live_ms > 0
            acme = searcher.search("stages", GOLD, 5, rights=Rights("acme")).hits
            assert {"docs/1", "docs/2"} <= {hit.source for hit in acme}
            year = FieldComparison("metadata.year", "==", 2024)
            assert [h.source for h in searcher.search("stages", GOLD, 5, rights=Rights("acme"), where=year).hits] == [
                "docs/2"
            ]
            unknown = searcher.search("stages", GOLD, 5, where=FieldComparison("source", "==", "all/gold.md"))
            assert [hit.source for hit in unknown.hits] == ["all/gold.md"]
            assert "names source, which the live engine's documents do not have" in unknown.missing["live"]


def test_an_engine_that_does_not_answer_is_missing_or_an_error(opened: Callable[..., Any]) -> None:
    with serving(Engine(ENGINE, delay_s=5.0)) as engine:
        live = {"url": engine.url, "index": "docs", "timeout_s": 0.3}
        with opened(live=live) as searcher:
            result = searcher.search("stages", GOLD)
            assert result.hits[0].source == "all/gold.md" and "does not answer" in result.missing["live"]
            assert result.search_ms < 3000
        required = live | {"required": True}
        with opened(live=required) as searcher, pytest.raises(RetrievalUnavailable, match="live search engine"):
            searcher.search("stages", GOLD)
