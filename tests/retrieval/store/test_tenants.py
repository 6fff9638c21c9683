"""What the index makes of tenants, labels and forgotten documents, with an embedding model and Milvus Lite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.storage.objects import Folder, SharedRecord
from retrieval.config import RetrievalConfig
from retrieval.filters.filters import FieldComparison
from retrieval.filters.rights import Rights
from retrieval.index import indexing
from retrieval.index.forgetting.forget import forget_document, restore_document
from retrieval.index.forgetting.forgotten import Forgotten, ForgottenDocument, ForgottenList
from retrieval.index.indexing import index_documents
from retrieval.index.report import Failure, IndexReport
from retrieval.search.search import Searcher
from retrieval.sources.config import FolderSource
from retrieval.store.store import Store

pytestmark = pytest.mark.slow
Quiet = Callable[[str], None]


def named(*names: str) -> Forgotten:
    """What an earlier version's list says."""
    return Forgotten(tuple(ForgottenDocument((name,)) for name in names))


def config(documents: Path, **source: Any) -> RetrievalConfig:
    return RetrievalConfig.model_validate({"sources": [{"path": documents, **source}]})


def found(searcher: Searcher, collection: str, rights: Rights) -> set[str]:
    return {hit.source for hit in searcher.search(collection, "symbol of Gold", 10, rights=rights).hits}


def rows_of(uri: str, collection: str, source: str) -> dict[str, int]:
    """The number of rows of a document in everything that was built for a collection."""
    store = Store(uri)
    counts = {}
    for physical in store.filled(collection):
        store.load(physical)
        counts[physical] = len(list(store.chunks(physical, FieldComparison("source", "==", source))))
    return counts


def counts(report: IndexReport) -> tuple[int, ...]:
    return report.added, report.changed, report.unchanged, report.deleted, report.num_embedded


def test_documents_move_between_tenants_without_being_embedded_again(
    documents: Path, milvus: str, quiet: Quiet
) -> None:
    assert counts(index_documents(config(documents, tenant="acme"), "moving", milvus, quiet)) == (4, 0, 0, 0, 4)
    searcher = Searcher(config(documents), milvus)
    acme, globex = Rights("acme"), Rights("globex", frozenset(["hr"]))
    store = Store(milvus)
    physical = store.current("moving")
    assert physical is not None
    everything = [row.id for row in store.chunks(physical)]
    vectors = store.vectors(physical, everything)
    assert len(found(searcher, "moving", acme)) == 4
    assert found(searcher, "moving", globex) == found(searcher, "moving", Rights()) == set()

    moved = config(documents, tenant="globex", access=["hr"], metadata={"year": 2024})
    assert counts(index_documents(moved, "moving", milvus, quiet)) == (0, 4, 0, 0, 0)
    assert len(found(searcher, "moving", globex)) == 4
    assert found(searcher, "moving", acme) == found(searcher, "moving", Rights("globex")) == set()
    assert (
        len(
            searcher.search(
                "moving", "Gold", 10, rights=globex, where=FieldComparison("metadata.year", "==", 2024)
            ).hits
        )
        == 4
    )
    assert store.current("moving") == physical and store.vectors(physical, everything) == vectors
    assert counts(index_documents(moved, "moving", milvus, quiet)) == (0, 0, 4, 0, 0)
    assert counts(index_documents(config(documents), "moving", milvus, quiet)) == (0, 4, 0, 0, 0)
    assert len(found(searcher, "moving", Rights())) == 4


def test_an_unreadable_document_is_not_left_to_those_it_was_for(documents: Path, milvus: str, quiet: Quiet) -> None:
    index_documents(config(documents, tenant="acme"), "revoked", milvus, quiet)
    (documents / "gold.md").write_bytes(b"\xff gold")
    assert index_documents(config(documents, tenant="acme"), "revoked", milvus, quiet).failed
    searcher = Searcher(config(documents), milvus)
    assert "gold.md" in found(searcher, "revoked", Rights("acme"))
    report = index_documents(config(documents, tenant="globex"), "revoked", milvus, quiet)
    assert report.failed == [Failure("gold.md", "is not UTF-8 (byte 0): set `encoding` of its source, such as cp1252")]
    assert found(searcher, "revoked", Rights("acme")) == set()
    assert found(searcher, "revoked", Rights("globex")) == {"iron.md", "codes.md", "people/curie.txt"}


def test_a_forgotten_document_leaves_everything_and_stays_out(
    documents: Path, milvus: str, quiet: Quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = SharedRecord(Folder(tmp_path), "forgotten/leaving.json")
    index_documents(config(documents), "leaving", milvus, quiet)
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 1)
    smaller = config(documents).model_copy(update={"chunk_tokens": 50})
    left = iter(range(3))

    def die(line: str) -> None:
        if next(left, None) is None:
            raise SystemExit(line)

    with pytest.raises(SystemExit):
        index_documents(smaller, "leaving", milvus, die)
    before = rows_of(milvus, "leaving", "gold.md")
    assert list(before.values()) == [1, 1], "in the collection that is searched and in the unfinished one"

    assert forget_document("leaving", "gold.md", milvus, kept).rows == {"gold.md": 2}
    assert set(rows_of(milvus, "leaving", "gold.md").values()) == {0}
    assert [document.names for document in ForgottenList(kept).read().documents] == [("gold.md",)]
    with pytest.raises(TandemError, match=r"forgotten already"):
        forget_document("leaving", "gold.md", milvus, kept)

    for settings in (smaller, config(documents)):
        report = index_documents(settings, "leaving", milvus, quiet, ForgottenList(kept))
        assert report.forgotten == ["gold.md"] and report.num_chunks == 3
        assert set(rows_of(milvus, "leaving", "gold.md").values()) == {0}
    restore_document("leaving", "gold.md", kept)
    assert index_documents(config(documents), "leaving", milvus, quiet, ForgottenList(kept)).added == 1


def test_a_run_that_died_while_forgetting_is_finished_by_the_index(
    documents: Path, milvus: str, quiet: Quiet, tmp_path: Path
) -> None:
    """The list is written first, so what is on it goes with the next run, also when it is all that there was."""
    index_documents(config(documents), "dying", milvus, quiet)
    names = {"gold.md", "iron.md", "codes.md", "people/curie.txt"}
    report = index_documents(config(documents), "dying", milvus, quiet, named("gold.md"))
    assert (report.deleted, report.unchanged, report.forgotten) == (1, 3, ["gold.md"])
    report = index_documents(config(documents), "dying", milvus, quiet, named(*names))
    assert (report.deleted, report.num_chunks, len(report.forgotten)) == (3, 0, 4)


def test_a_document_with_a_strange_name_is_indexed_and_forgotten(
    documents: Path, milvus: str, quiet: Quiet, tmp_path: Path
) -> None:
    names = ["'\"\\.md", "\U00020bb7.md", '") or (source != "".md', "a\nb.md"]
    for number, name in enumerate(names):
        (documents / name).write_text(f"# Tin\n\nTin number {number} has the symbol Sn.\n")
    (documents / "caf\udce9.md").write_text("# Tin\n\nThe symbol of Tin is Sn.\n")
    report = index_documents(config(documents), "strange", milvus, quiet)
    assert report.failed == [Failure("caf\\udce9.md", "has a name that is not UTF-8")]
    for number, name in enumerate(names):
        assert forget_document("strange", name, milvus, SharedRecord(Folder(tmp_path), "kept.json")).num_rows == 1
        store = Store(milvus)
        assert store.finish(store.filled("strange")[0]) == 7 - number
        store.close()


def test_what_is_not_there_cannot_be_forgotten(documents: Path, milvus: str, quiet: Quiet, tmp_path: Path) -> None:
    kept = SharedRecord(Folder(tmp_path), "kept.json")
    index_documents(config(documents), "unknown-source", milvus, quiet)
    for source in ("glod.md", "", '") or (source != ""', "x" * 4000):
        with pytest.raises(TandemError, match=r"holds no document .*codes\.md"):
            forget_document("unknown-source", source, milvus, kept)
    with pytest.raises(TandemError, match=r"glod\.md.*that it holds: gold\.md"):
        forget_document("unknown-source", "glod.md", milvus, kept)
    with pytest.raises(TandemError, match=r"that it holds: none"):
        forget_document("no-such-collection", "gold.md", milvus, kept)
    assert kept.read() is None
    with pytest.raises(TandemError, match=r"not among what unknown-source has forgotten"):
        restore_document("unknown-source", "gold.md", kept)
    (tmp_path / "kept.json").write_text("{}")
    with pytest.raises(TandemError, match="cannot be read"):
        index_documents(config(documents), "unknown-source", milvus, quiet, ForgottenList(kept))


@pytest.mark.parametrize("store", ["milvus", pytest.param("server", marks=pytest.mark.matrix)])
def test_metadata_that_were_taken_away_are_gone(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, quiet: Callable[[str], None]
) -> None:
    uri = request.getfixturevalue(store)
    (tmp_path / "a.md").write_text("# Iron\n\nIron rusts.\n")
    for metadata in ({"year": 2024, "kind": "fact"}, {"kind": "fact"}):
        source = FolderSource(path=tmp_path, metadata=metadata)
        config = RetrievalConfig(sources=[source], mode="dense")
        assert index_documents(config, "taken-away", uri, quiet).num_embedded == (1 if "year" in metadata else 0)
    searcher = Searcher(config, uri)
    assert len(searcher.search("taken-away", "rust", where=FieldComparison("metadata.kind", "==", "fact")).hits) == 1
    assert searcher.search("taken-away", "rust", where=FieldComparison("metadata.year", "==", 2024)).hits == []
    searcher.close()
