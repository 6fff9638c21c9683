"""Forgetting while a collection is followed or indexed, what goes with a document, and what is no reason to go."""

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.storage.objects import Folder, SharedRecord
from retrieval.config import RetrievalConfig
from retrieval.index import indexing
from retrieval.index.forgetting import forget
from retrieval.index.forgetting.forget import forget_document, restore_document
from retrieval.index.forgetting.forgotten import ForgottenList
from retrieval.index.indexing import follow_changes, index_documents
from retrieval.index.report import IndexReport
from retrieval.sources.document import Document
from retrieval.store.collection import ChunkRow
from retrieval.store.leases import hold_lease
from retrieval.store.store import Store

pytestmark = pytest.mark.slow
Quiet = Callable[[str], None]


@pytest.fixture
def record(tmp_path: Path) -> SharedRecord:
    return SharedRecord(Folder(tmp_path), "forgotten/kept.json")


def held(uri: str, collection: str) -> set[str]:
    with closing(Store(uri)) as store:
        return {row.source for physical in store.filled(collection) for row in store.chunks(physical)}


def write_rows(path: Path, *texts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_a_document_is_forgotten_and_taken_back_while_a_watch_follows(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet, record: SharedRecord
) -> None:
    reports: queue.Queue[IndexReport] = queue.Queue()
    stop = threading.Event()
    arguments = (config, "followed", milvus, reports.put, quiet, stop, ForgottenList(record))
    watch = threading.Thread(target=follow_changes, args=arguments, daemon=True)
    watch.start()
    assert reports.get(timeout=60).added == 4
    started = time.monotonic()
    assert forget_document("followed", "gold.md", milvus, record).rows == {"gold.md": 1}
    assert time.monotonic() - started < 30
    assert "gold.md" not in held(milvus, "followed")
    assert reports.get(timeout=60).forgotten == ["gold.md"]

    (documents / "gold.md").write_text("# Gold\n\nGold was written anew.\n")
    (documents / "copy.md").write_text("# Gold\n\nThe atomic number of Gold is 79.\n\nThe symbol of Gold is Au.\n")
    while "copy.md" not in (report := reports.get(timeout=60)).forgotten:
        assert not report.added
    assert held(milvus, "followed") == {"iron.md", "codes.md", "people/curie.txt"}

    restore_document("followed", "gold.md", record)
    while not reports.get(timeout=60).added:
        pass
    assert {"gold.md", "copy.md"} <= held(milvus, "followed")
    stop.set()
    watch.join(timeout=30)
    assert not watch.is_alive()


def test_what_is_forgotten_while_it_is_embedded_is_not_written(
    config: RetrievalConfig, documents: Path, milvus: str, record: SharedRecord, quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    index_documents(config, "embedded", milvus, quiet, ForgottenList(record))
    for name in ("codes.md", "gold.md", "iron.md"):
        (documents / name).write_text(f"# {name}\n\nThis is the new text of {name}.\n")
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 1)
    left = ["gold.md", "iron.md"]

    def forget(line: str) -> None:
        if left:
            forget_document("embedded", left.pop(), milvus, record)

    report = index_documents(config, "embedded", milvus, forget, ForgottenList(record))
    assert held(milvus, "embedded") == {"codes.md", "people/curie.txt"}
    assert report.num_chunks == 2
    assert index_documents(config, "embedded", milvus, quiet, ForgottenList(record)).forgotten == ["gold.md", "iron.md"]


def test_what_is_forgotten_just_before_it_is_written_is_not_written(
    config: RetrievalConfig, documents: Path, milvus: str, record: SharedRecord, quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The list changes after it was read for the write, and before the rows are there."""
    index_documents(config, "raced", milvus, quiet, ForgottenList(record))
    (documents / "gold.md").write_text("# Gold\n\nThis is the new text of gold.\n")
    upsert, done = Store.upsert, threading.Event()

    def forget() -> None:
        forget_document("raced", "gold.md", milvus, record)
        done.set()

    def raced(self: Store, physical: str, rows: Sequence[ChunkRow]) -> None:
        threading.Thread(target=forget, daemon=True).start()
        while not ForgottenList(record).read().documents:
            time.sleep(0.01)
        upsert(self, physical, rows)

    monkeypatch.setattr(Store, "upsert", raced)
    index_documents(config, "raced", milvus, quiet, ForgottenList(record))
    assert done.wait(timeout=30)
    assert held(milvus, "raced") == {"iron.md", "codes.md", "people/curie.txt"}


def test_a_process_that_does_not_remove_it_is_named(
    config: RetrievalConfig, milvus: str, quiet: Quiet, record: SharedRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of an earlier version, which looks at the list only when it begins."""
    index_documents(config, "earlier", milvus, quiet)
    monkeypatch.setattr(forget, "OTHERS_S", 0.5)
    with hold_lease(Store(milvus), "earlier"), pytest.raises(TandemError, match=r"gold\.md is on the list"):
        forget_document("earlier", "gold.md", milvus, record)
    assert index_documents(config, "earlier", milvus, quiet, ForgottenList(record)).forgotten == ["gold.md"]
    assert "gold.md" not in held(milvus, "earlier")


def test_copies_go_with_a_document_and_the_text_of_many_does_not(
    documents: Path, milvus: str, quiet: Quiet, record: SharedRecord
) -> None:
    config = RetrievalConfig.model_validate({"sources": [documents]})
    (documents / "gold.txt").write_bytes((documents / "gold.md").read_bytes().replace(b"\n", b"\r\n"))
    for number in range(7):
        (documents / f"notice-{number}.md").write_text("Please switch on JavaScript to read this page.\n")
    (documents / "empty.md").write_text("")
    index_documents(config, "copies", milvus, quiet)
    assert forget_document("copies", "gold.md", milvus, record).rows == {"gold.md": 1, "gold.txt": 1}
    done = forget_document("copies", "notice-3.md", milvus, record)
    assert done.rows == {"notice-3.md": 1} and "6 other documents have the same text." in done.reasons[0]
    (documents / "notice-9.md").write_text("Please switch on JavaScript to read this page.\n")
    report = index_documents(config, "copies", milvus, quiet, ForgottenList(record))
    assert (report.forgotten, report.added) == (["gold.md", "gold.txt", "notice-3.md"], 1)
    assert report.forgotten_as == {"gold.txt": "gold.md"}


def test_what_only_looks_like_it_is_taken_in(documents: Path, milvus: str, quiet: Quiet, record: SharedRecord) -> None:
    first, second = documents, documents.parent / "others"
    sources = [first, second]
    write_rows(first / "f.jsonl", "n/a", "Zinc is a bluish metal.", "n/a")
    (first / "none.md").write_text("n/a\n")
    second.mkdir()
    (second / "gold.md").write_text("# Gold\n\nThe price of Gold is not known.\n")
    config = RetrievalConfig.model_validate({"sources": sources})
    index_documents(config, "alike", milvus, quiet)
    for name in ("docs/gold.md", "docs/f.jsonl#2"):
        assert not [each for each in forget_document("alike", name, milvus, record).reasons if "text could" in each]
    assert "a word or two" in forget_document("alike", "docs/none.md", milvus, record).reasons[0]
    text = (first / "gold.md").read_text()
    (second / "more.md").write_text(text + "\nIt is dear.\n")
    (second / "less.md").write_text(text.partition("\n\nThe symbol")[0])
    (second / "none.md").write_text("n/a\n")
    write_rows(first / "f.jsonl", "n/a", "Tin is a silvery metal.", "Zinc is a bluish metal.", "n/a")
    report = index_documents(config, "alike", milvus, quiet, ForgottenList(record))
    assert sorted(report.forgotten) == ["docs/f.jsonl#3", "docs/gold.md", "docs/none.md"]
    kept = {"docs/f.jsonl#1", "docs/f.jsonl#2", "docs/f.jsonl#4", "others/gold.md", "others/more.md", "others/less.md"}
    assert {*kept, "others/none.md"} <= held(milvus, "alike")
    write_rows(first / "f.jsonl", "n/a", "n/a", "Lead is a heavy metal.")
    report = index_documents(config, "alike", milvus, quiet, ForgottenList(record))
    assert "docs/f.jsonl#3" in held(milvus, "alike"), "another row has the number"


def test_a_word_without_an_id_is_known_by_itself_among_its_like(
    documents: Path, milvus: str, quiet: Quiet, record: SharedRecord
) -> None:
    write_rows(documents / "f.jsonl", "Jane Doe", "Tom")
    (documents / "jane.md").write_text("Jane Doe\n")
    config = RetrievalConfig.model_validate({"sources": [documents]})
    index_documents(config, "brief", milvus, quiet)
    assert "known by its text alone" in forget_document("brief", "f.jsonl#1", milvus, record).reasons[0]
    write_rows(documents / "f.jsonl", "Tom", "Jane Doe")
    report = index_documents(config, "brief", milvus, quiet, ForgottenList(record))
    assert report.forgotten == ["f.jsonl#2"] and {"jane.md", "f.jsonl#1"} <= held(milvus, "brief")


def test_rows_of_an_earlier_version_are_recognised(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet, record: SharedRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Their rows do not say what they are known by: the document is read once, and so are the others."""
    plain = ChunkRow.record
    with monkeypatch.context() as earlier:
        earlier.setattr(
            ChunkRow,
            "record",
            lambda row: {name: value for name, value in plain(row).items() if name not in ("identity", "origin")},
        )
        (documents / "copy.txt").write_bytes((documents / "gold.md").read_bytes())
        index_documents(config, "older", milvus, quiet)
    assert forget_document("older", "gold.md", milvus, record, sources=config.sources).reasons == ()
    report = index_documents(config, "older", milvus, quiet, ForgottenList(record))
    assert sorted(report.forgotten) == ["copy.txt", "gold.md"] and (report.num_chunks, report.num_embedded) == (3, 0)
    assert index_documents(config, "older", milvus, quiet, ForgottenList(record)).unchanged == 3
    (documents / "iron.md").unlink()
    with monkeypatch.context() as earlier:
        earlier.setattr(Store, "read_rows", _without_identity(Store.read_rows))
        done = forget_document("older", "iron.md", milvus, record, sources=config.sources)
    assert "known by its name alone" in done.reasons[0]


def test_a_list_of_names_takes_the_copies_with_it_and_leaves_what_many_say(
    documents: Path, milvus: str, quiet: Quiet, record: SharedRecord
) -> None:
    (documents / "au.txt").write_bytes((documents / "gold.md").read_bytes())
    for number in range(7):
        (documents / f"notice-{number}.md").write_text("Please switch on JavaScript to read this page.\n")
    config = RetrievalConfig.model_validate({"sources": [documents]})
    index_documents(config, "names", milvus, quiet)
    record.update(lambda there: json.dumps({"forgotten": ["gold.md", "notice-3.md"]}).encode())
    report = index_documents(config, "names", milvus, quiet, ForgottenList(record))
    assert report.forgotten == ["au.txt", "gold.md", "notice-3.md"] and report.forgotten_as == {"au.txt": "gold.md"}
    assert len(held(milvus, "names")) == 3 + 6
    report = index_documents(config, "names", milvus, quiet, ForgottenList(record))
    assert (report.forgotten, report.unchanged) == (["au.txt", "gold.md", "notice-3.md"], 9)


def _without_identity(read: Callable[..., None]) -> Callable[..., None]:
    from dataclasses import replace

    def reading(store: Store, physical: str, collect: Callable[..., int], *where: object) -> None:
        read(store, physical, lambda rows: collect(replace(row, identity="", origin="") for row in rows), *where)

    return reading


def test_a_document_is_taken_back_by_any_of_its_names(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet, record: SharedRecord, tmp_path: Path
) -> None:
    index_documents(config, "back", milvus, quiet)
    forget_document("back", "gold.md", milvus, record)
    (documents / "gold.md").rename(documents / "au.md")
    assert index_documents(config, "back", milvus, quiet, ForgottenList(record)).forgotten_as == {"au.md": "gold.md"}
    other = SharedRecord(record.place, "forgotten/other.json")
    with pytest.raises(TandemError, match=r"The list forgotten/kept\.json of another collection has it"):
        restore_document("other", "au.md", other)
    assert index_documents(config, "back-2", milvus, quiet, ForgottenList(other)).forgotten == ["au.md"]
    assert restore_document("back", "au.md", record) == []
    assert index_documents(config, "back", milvus, quiet, ForgottenList(record)).added == 1


def test_a_damaged_list_of_another_collection_is_named(
    config: RetrievalConfig, milvus: str, quiet: Quiet, record: SharedRecord, tmp_path: Path
) -> None:
    (tmp_path / "forgotten").mkdir()
    (tmp_path / "forgotten" / "other.json").write_text('{"forgotten": [], "documents": [{"names": []}]}')
    with pytest.raises(TandemError, match=r"forgotten/other\.json cannot be read"):
        index_documents(config, "damaged", milvus, quiet, ForgottenList(record))


def test_a_document_that_has_gone_since_it_was_listed_is_no_failure(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_documents(config, "gone", milvus, quiet)
    digests_of = indexing.digests_of

    def vanishing(document: Document) -> object:
        (documents / "gold.md").unlink(missing_ok=True)
        return digests_of(document)

    monkeypatch.setattr(indexing, "digests_of", vanishing)
    report = index_documents(config, "gone", milvus, quiet)
    assert (report.failed, report.deleted) == ([], 1) and "gold.md" not in held(milvus, "gone")
