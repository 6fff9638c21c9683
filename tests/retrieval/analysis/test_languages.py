"""Judged questions in thirteen languages, asked of one collection with all of their documents, on Milvus Lite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.config import Mode, RetrievalConfig
from retrieval.index.indexing import index_documents
from retrieval.search.fusion import Ranking
from retrieval.search.search import Searcher
from retrieval.store.collection import CollectionSettings
from retrieval.store.store import Store
from tests.retrieval.analysis.judged import LANGUAGES_JUDGED, QUESTIONS, source_of, write_texts

pytestmark = pytest.mark.slow
NFD = "Cafe\u0301 Zu\u0308rich o\u0308ffnet um neun Uhr.\n"
PARTS = [f"P-{417 + 7 * number:04}" for number in range(800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    write_texts(folder)
    (folder / "nfd.txt").write_text(NFD)
    (folder / "prices.md").write_text(
        "# Price list\n\n| part | name | price in euros |\n|---|---|---|\n"
        + "".join(f"| {part} | Valve, brass, size {n % 40} | {n % 90}.50 |\n" for n, part in enumerate(PARTS))
    )
    lines = (f"worker-{n % 7}: job {880_000 + 13 * n} ended with ERR_{n:03}_TIMEOUT." for n in range(250))
    (folder / "jobs.txt").write_text("\n\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def searcher(folder: Path, milvus: str) -> Iterator[Searcher]:
    config = RetrievalConfig(sources=[folder])
    report = index_documents(config, "languages", milvus, lambda line: None)
    assert not report.failed and report.languages >= set(LANGUAGES_JUDGED)
    opened = Searcher(config, milvus)
    yield opened
    opened.close()


def sources(searcher: Searcher, question: str, mode: Mode) -> list[str]:
    hits = searcher.candidates("languages", question, Ranking(mode)).hits
    return list(dict.fromkeys(hit.source for hit in hits))


@pytest.mark.parametrize("mode", ["bm25", "hybrid"])
@pytest.mark.parametrize("language", LANGUAGES_JUDGED)
def test_the_right_document_is_among_the_first_three(searcher: Searcher, language: str, mode: Mode) -> None:
    judged = QUESTIONS[language]
    missed = [
        question for question, name in judged if source_of(language, name) not in sources(searcher, question, mode)[:3]
    ]
    assert len(missed) <= 0.1 * len(judged), missed


@pytest.mark.parametrize("question", ["Zürich Café", "Zurich Cafe", "ZU\u0308RICH", "cafe\u0301"])
@pytest.mark.parametrize("mode", ["bm25", "hybrid"])
def test_a_text_in_another_form_of_unicode_is_found(searcher: Searcher, question: str, mode: Mode) -> None:
    assert sources(searcher, question, mode)[0] == "nfd.txt"


@pytest.mark.parametrize("mode", ["bm25", "hybrid"])
@pytest.mark.parametrize("words", ["price of {}", "What do I have to pay for {} in euros, please?", "{}"])
def test_a_part_number_with_words_around_it_comes_first(searcher: Searcher, words: str, mode: Mode) -> None:
    for part in PARTS[3::131]:
        (first, *_) = searcher.candidates("languages", words.format(part), Ranking(mode)).hits
        assert part in first.text, (part, first.text)


@pytest.mark.parametrize("mode", ["bm25", "hybrid"])
def test_a_line_of_a_log_is_found_by_its_number(searcher: Searcher, mode: Mode) -> None:
    for n in (4, 77, 201):
        for name in (f"{880_000 + 13 * n}", f"ERR_{n:03}_TIMEOUT"):
            (first, *_) = searcher.candidates("languages", f"why did job {name} fail on the worker", Ranking(mode)).hits
            assert name in first.text


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
@pytest.mark.parametrize(
    "question", ["caf\udce9 Zürich", "half \ud83d", "\ud83d\ude00", "nul \0 byte", "\x1b[2J", "???", "字"]
)
def test_odd_questions_are_answered(searcher: Searcher, question: str, mode: Mode) -> None:
    assert searcher.search("languages", question, mode=mode).missing == {}


def test_a_collection_of_the_version_before_is_searched_as_it_was_and_built_anew_by_the_next_index(
    documents: Path, config: RetrievalConfig, milvus: str, quiet: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        for room in ("indexing", "collection_settings"):
            before.setattr(f"retrieval.index.{room}.make_analyzer", lambda config, store: None)
        index_documents(config, "before", milvus, quiet)
    store, searcher = Store(milvus), Searcher(config, milvus)
    settings = store.settings(store.current("before") or "")
    assert isinstance(settings, CollectionSettings) and "analyzer" not in settings.values
    assert searcher.search("before", "XQ-7714", mode="bm25").hits[0].source == "codes.md"
    lines: list[str] = []
    report = index_documents(config, "before", milvus, lines.append)
    assert report.num_embedded == 0 and report.added == 4, "its vectors are taken over"
    assert lines[0] == "the settings have changed: building a new collection beside the old one"
    later = Searcher(config, milvus)
    assert later.search("before", "which codes mean that trays are empty", mode="bm25").hits[0].source == "codes.md"
    for each in (store, searcher, later):
        each.close()


def test_a_collection_of_another_analyzer_says_that_it_must_be_built_anew(
    config: RetrievalConfig, milvus: str, quiet: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr("retrieval.analysis.analyzer.VERSION", 99)
        index_documents(config, "later", milvus, quiet)
    searcher = Searcher(config, milvus)
    for mode in ("bm25", "hybrid"):
        with pytest.raises(TandemError, match="analysed for BM25 by another version"):
            searcher.search("later", "Iron", mode=mode)  # type: ignore[arg-type]
    assert searcher.search("later", "Iron", mode="dense").hits[0].source == "iron.md"
    searcher.close()


def test_a_document_of_a_new_language_is_found_at_once(
    documents: Path, config: RetrievalConfig, milvus: str, quiet: Callable[[str], None]
) -> None:
    """The collection then has a language more, and questions are analysed in it too."""
    assert index_documents(config, "growing", milvus, quiet).languages == {"en"}
    searcher = Searcher(config, milvus)
    assert not searcher.search("growing", "Wer genehmigt Urlaub?", mode="bm25").hits
    (documents / "urlaub.md").write_text("Die Urlaubstage werden von der Vorgesetzten genehmigt.")
    report = index_documents(config, "growing", milvus, quiet)
    assert report.languages == {"de", "en"} and report.unchanged == 4
    searcher._checked.clear()
    assert searcher.search("growing", "Wer genehmigt Urlaub?", mode="bm25").hits[0].source == "urlaub.md"
    assert index_documents(replace_languages(config, "de"), "growing", milvus, quiet).added == 5
    searcher.close()


def replace_languages(config: RetrievalConfig, *languages: str) -> RetrievalConfig:
    return config.model_copy(update={"languages": languages})
