"""A source that is suddenly empty, and a real collection that remembers it from one run to the next."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.index.indexing import index_documents
from retrieval.index.report import EmptySource
from retrieval.store.store import Store

pytestmark = pytest.mark.slow
Quiet = Callable[[str], None]


def held(uri: str, collection: str) -> set[str]:
    store = Store(uri)
    physical = store.current(collection)
    assert physical is not None
    store.load(physical)
    return {row.source for row in store.chunks(physical)}


def test_an_empty_source_is_believed_by_the_second_run_or_where_it_is_allowed(
    documents: Path, tmp_path: Path, milvus: str, quiet: Quiet
) -> None:
    faq = tmp_path / "faq"
    faq.mkdir()
    (faq / "a.md").write_text("Zinc is a metal.")
    config = RetrievalConfig(sources=[documents, faq])
    index_documents(config, "emptied", milvus, quiet)
    before = held(milvus, "emptied")
    (faq / "a.md").rename(tmp_path / "a.md")
    assert index_documents(config, "emptied", milvus, quiet).empty == [EmptySource("faq", 1)]
    assert held(milvus, "emptied") == before

    (tmp_path / "a.md").rename(faq / "a.md")
    assert not index_documents(config, "emptied", milvus, quiet).empty
    (faq / "a.md").unlink()
    assert index_documents(config, "emptied", milvus, quiet).empty == [EmptySource("faq", 1)]
    report = index_documents(config, "emptied", milvus, quiet)
    assert (report.deleted, report.empty) == (1, [EmptySource("faq", 0)])
    assert held(milvus, "emptied") == before - {"faq/a.md"}


def test_a_file_of_rows_that_is_being_written_keeps_its_rows(
    documents: Path, tmp_path: Path, milvus: str, quiet: Quiet
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "text": "Zinc is a metal."}\n{"id": 2, "text": "Tin is a metal."}\n')
    config = RetrievalConfig(sources=[documents, rows])
    index_documents(config, "torn", milvus, quiet)
    rows.write_text('{"id": 1, "te')
    report = index_documents(config, "torn", milvus, quiet)
    assert report.empty == [EmptySource("rows.jsonl", 2)] and [each.source for each in report.failed] == [
        "rows.jsonl:1"
    ]
    assert {"rows.jsonl#1", "rows.jsonl#2"} <= held(milvus, "torn")
    rows.write_text('{"id": 1, "text": "Zinc is a metal."}\n')
    assert index_documents(config, "torn", milvus, quiet).deleted == 1


def test_a_collection_of_which_every_source_is_empty(documents: Path, milvus: str, quiet: Quiet) -> None:
    config = RetrievalConfig(sources=[documents])
    index_documents(config, "all-emptied", milvus, quiet)
    for path in documents.rglob("*.*"):
        path.unlink()
    assert index_documents(config, "all-emptied", milvus, quiet).empty == [EmptySource("docs", 4)]
    assert len(held(milvus, "all-emptied")) == 4
    assert index_documents(config, "all-emptied", milvus, quiet).deleted == 4
    assert held(milvus, "all-emptied") == set()
    with pytest.raises(TandemError, match="No document was found"):
        index_documents(config, "never-filled", milvus, quiet)


def test_a_collection_that_is_built_anew_does_not_lose_a_source(documents: Path, milvus: str, quiet: Quiet) -> None:
    config = RetrievalConfig(sources=[documents])
    index_documents(config, "anew", milvus, quiet)
    for path in documents.rglob("*.*"):
        path.unlink()
    other = config.model_copy(update={"chunk_tokens": 50})
    with pytest.raises(TandemError, match="holds no document now, and the collection has 4 of it"):
        index_documents(other, "anew", milvus, quiet)
    assert len(held(milvus, "anew")) == 4
    index_documents(other, "anew", milvus, quiet, allow_empty=True)
    assert held(milvus, "anew") == set()
