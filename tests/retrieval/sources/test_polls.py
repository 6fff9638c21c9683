"""When sources are looked at again, and what becomes of those that are not."""

import time
from pathlib import Path

from retrieval.index.indexed_documents import IndexedDocuments
from retrieval.sources.config import FolderSource, ObjectSource
from retrieval.sources.sources import PollSchedule, folder_sources, polled_sources, source_prefix
from retrieval.store.rows import StoredChunk

DOCS = FolderSource(path=Path("/docs"))
BUCKET = ObjectSource(path="s3://bucket", poll_s=1)


def test_folders_are_watched_and_the_rest_is_polled() -> None:
    assert folder_sources([DOCS, BUCKET]) == [DOCS] and polled_sources([DOCS, BUCKET]) == [BUCKET]


def test_a_source_is_due_after_its_time() -> None:
    polls = PollSchedule([DOCS, BUCKET])
    assert polls.due() == [BUCKET]
    polls.begin([DOCS, BUCKET])
    assert polls.due() == []
    time.sleep(1.05)
    assert polls.due() == [BUCKET]


def test_names_begin_with_their_source_where_there_are_several() -> None:
    assert [source_prefix(each, [each]) for each in (DOCS, BUCKET)] == ["", ""]
    assert [source_prefix(each, [DOCS, BUCKET]) for each in (DOCS, BUCKET)] == ["docs/", "bucket/"]


def test_a_source_that_is_not_looked_at_keeps_its_documents() -> None:
    known = IndexedDocuments()
    names = ["docs/a.md", "docs/é.md", "docs2/b.md", "doc", "docs/z/c.md"]
    known.fill(StoredChunk(str(number), name, "digest", 1) for number, name in enumerate(names))
    known.begin()
    known.mark("docs/a.md")
    assert known.mark_names(("docs/",)) == 2
    assert known.missing(10) == ["doc", "docs2/b.md"]
    known.unmark("docs/z/c.md")
    assert known.missing(10) == ["doc", "docs/z/c.md", "docs2/b.md"]
    known.close()
