"""A later version cuts some documents into other chunks: the next run finds out which, and writes those."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.config import RetrievalConfig
from retrieval.filters.rights import Attributes
from retrieval.index import chunking, cut_revision
from retrieval.index.chunking import Chunk, chunk_document
from retrieval.index.cut_revision import PROPERTY, CutRevision, digests_of
from retrieval.index.indexing import index_documents
from retrieval.sources.document import Document, Unreadable
from retrieval.sources.folders import listing
from retrieval.store.store import Store

HEADING = "Emergency number 0800-KESTREL"


def lossy(text: str, *arguments: object) -> list[Chunk]:
    """As an earlier version: a heading with nothing below it is in no chunk."""
    return chunk_document(text.replace(f"## {HEADING}\n\n", ""), *arguments)  # type: ignore[arg-type]


class FakeStore:
    """Keeps the properties of collections, as a store does."""

    def __init__(self, **properties: str) -> None:
        self.kept = dict(properties)

    def properties(self, physical: str) -> dict[str, str]:
        return dict(self.kept)

    def set_properties(self, physical: str, properties: dict[str, str]) -> None:
        self.kept |= properties


def revision(store: FakeStore, is_empty: bool = False) -> CutRevision:
    return CutRevision(store, "physical", is_empty)  # type: ignore[arg-type]


def test_a_collection_without_a_revision_was_cut_by_the_first() -> None:
    store = FakeStore(other="1")
    cut = revision(store)
    assert cut.is_earlier and store.kept == {"other": "1"}
    assert len(cut.begin()) == 1
    cut.num_left = 1
    cut.complete()
    assert cut.is_earlier, "a document could not be read: it is tried again"
    cut.begin()
    cut.complete()
    assert not cut.is_earlier and store.kept == {"other": "1", PROPERTY: str(chunking.REVISION)}
    assert not revision(store).is_earlier
    assert not revision(FakeStore(), is_empty=True).is_earlier, "what is empty is cut by the present one"
    assert not revision(FakeStore(**{PROPERTY: "99"})).is_earlier, "a later version was here"


def test_a_document_has_another_digest_where_a_later_revision_cut_it() -> None:
    document = Document("a.md", Attributes(), lambda: "version", lambda: "text")
    first, *later = digests_of(document)
    assert first == hashlib.sha256(b"version").hexdigest()[:32] + Attributes().digest[:32], (
        "as earlier versions wrote it"
    )
    assert len({first, *later}) == 1 + chunking.REVISION - chunking.FIRST_REVISION


@pytest.mark.slow
def test_documents_that_an_earlier_revision_cut_are_read_again_once(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "".join(f"## Part {number}\n\n{f'word{number} ' * 120}\n\n" for number in range(2))
    (documents / "faq.md").write_text(f"# FAQ\n\n## {HEADING}\n\n{long}")
    digests: list[dict[str, str]] = []
    read: list[str] = []

    def parse(path: Path, encoding: str | None) -> str:
        read.append(path.name)
        if path.name in broken:
            raise Unreadable("is broken")
        return path.read_text()

    def index() -> tuple[int, int, int, int, int]:
        report = index_documents(config, "cut", milvus, quiet, on_documents=lambda all: digests.append(dict(all)))
        said[:] = report.notes
        return report.added, report.changed, report.unchanged, report.num_embedded, len(report.failed)

    said: list[str] = []
    broken: set[str] = set()
    monkeypatch.setattr(listing, "read_markdown", parse)
    with monkeypatch.context() as earlier:
        earlier.setattr(chunking, "chunk_document", lossy)
        earlier.setattr(cut_revision, "REVISION", chunking.FIRST_REVISION)
        assert index() == (5, 0, 0, 8, 0)
        assert index() == (0, 0, 5, 0, 0)
    broken.add("gold.md")
    assert index() == (0, 1, 3, 1, 1), "one chunk is new, and what cannot be read keeps its rows"
    assert any("Documents are cut into chunks in another way now" in line for line in said)
    broken.clear()
    read.clear()
    assert index() == (0, 0, 5, 0, 0) and "gold.md" in read, "what could not be read is read again"
    read.clear()
    assert index() == (0, 0, 5, 0, 0) and read == []
    earlier_digests, *_, last = digests
    assert {name for name in last if last[name] != earlier_digests[name]} == {"faq.md"}, (
        "kept answers of the others stay"
    )
    store = Store(milvus)
    physical = store.current("cut")
    assert physical and store.properties(physical)["tandem.settings"]  # type: ignore[index]
    contents = store.client.query(physical, filter='source == "faq.md"', output_fields=["content"])
    assert any(HEADING in row["content"] for row in contents)
