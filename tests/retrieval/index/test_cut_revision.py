"""A later version cuts some documents into other chunks: the next run finds out which, and writes those."""

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.config import RetrievalConfig
from retrieval.index import chunking, cut_revision
from retrieval.index.chunking import Chunk, chunk_document
from retrieval.index.indexing import index_documents
from retrieval.sources import folders
from retrieval.sources.document import Unreadable
from retrieval.store.store import Store

pytestmark = pytest.mark.slow
HEADING = "Emergency number 0800-KESTREL"


def lossy(text: str, *arguments: object) -> list[Chunk]:
    """As an earlier version: a heading with nothing below it is in no chunk."""
    return chunk_document(text.replace(f"## {HEADING}\n\n", ""), *arguments)  # type: ignore[arg-type]


def test_documents_that_an_earlier_revision_cut_are_read_again_once(
    config: RetrievalConfig, documents: Path, milvus: str, quiet: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "".join(f"## Part {number}\n\n{f'word{number} ' * 120}\n\n" for number in range(2))
    (documents / "faq.md").write_text(f"# FAQ\n\n## {HEADING}\n\n{long}")
    digests: list[dict[str, str]] = []
    read: list[str] = []

    def parse(path: Path) -> str:
        read.append(path.name)
        if path.name in broken:
            raise Unreadable("is broken")
        return path.read_text()

    def index() -> tuple[int, int, int, int, int]:
        report = index_documents(config, "cut", milvus, said.append, on_documents=lambda all: digests.append(dict(all)))
        return report.added, report.changed, report.unchanged, report.num_embedded, len(report.failed)

    said: list[str] = []
    broken: set[str] = set()
    monkeypatch.setattr(folders, "read_markdown", parse)
    with monkeypatch.context() as earlier:
        earlier.setattr(chunking, "chunk_document", lossy)
        earlier.setattr(cut_revision, "REVISION", chunking.FIRST_REVISION)
        assert index() == (5, 0, 0, 8, 0)
        assert index() == (0, 0, 5, 0, 0)
    broken.add("gold.md")
    assert index() == (0, 1, 3, 1, 1), "one chunk is new, and what cannot be read keeps its rows"
    assert any("documents are cut into chunks in another way now" in line for line in said)
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
