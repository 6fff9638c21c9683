"""What a collection holds, by document."""

import tracemalloc
from collections.abc import Iterator

import pytest

from retrieval.index.indexed_documents import IndexedDocuments
from retrieval.store.rows import StoredChunk


@pytest.fixture
def known() -> Iterator[IndexedDocuments]:
    found = IndexedDocuments()
    yield found
    found.close()


def chunks(source: str, digest: str, num_chunks: int, present: int) -> list[StoredChunk]:
    return [StoredChunk(f"{source}-{number}", source, digest, num_chunks) for number in range(present)]


def test_a_document_is_known_where_all_its_rows_are_there_and_of_one_state(known: IndexedDocuments) -> None:
    mixed = [*chunks("mixed", "a", 2, 1), StoredChunk("mixed-9", "mixed", "b", 2)]
    resized = [StoredChunk("resized-1", "resized", "a", 2), StoredChunk("resized-2", "resized", "a", 3)]
    rows = [*chunks("whole", "a", 2, 2), *chunks("torn", "a", 3, 2), *mixed, *resized]
    assert known.fill(rows) == len(rows)
    found = {source: known.digest(source) for source in ("whole", "torn", "mixed", "resized", "none")}
    assert found == {"whole": "a", "torn": None, "mixed": None, "resized": None, "none": None}
    assert known.ids("mixed") == ["mixed-0", "mixed-9"]


def test_what_is_written_takes_the_place_of_what_was_known(known: IndexedDocuments) -> None:
    known.fill(chunks("a", "old", 3, 3))
    known.replace("a", [StoredChunk("a-0", "a", "new", 2, "text", "place"), StoredChunk("x", "a", "new", 2)])
    assert (known.digest("a"), known.ids("a")) == ("new", ["a-0", "x"])
    assert list(known.identities()) == [("a", "text", "place")] and known.text("a") == "text"
    assert [known.num_saying(text) for text in ("text", "other", "")] == [1, 0, 0]
    assert known.fill(chunks("b", "b", 1, 1)) == 1
    assert known.ids("a") == []


def test_what_a_run_has_not_come_by_is_missing(known: IndexedDocuments) -> None:
    known.fill([*chunks("a", "a", 1, 1), *chunks("b", "b", 2, 2), *chunks("c", "c", 1, 1)])
    known.begin()
    assert [known.mark("b"), known.mark("new"), known.mark("b")] == [True, True, False]
    assert sorted(known.missing(10)) == ["a", "c"]
    assert len(known.missing(1)) == 1
    known.begin()
    assert len(known.missing(10)) == 3


def test_a_hundred_thousand_rows_make_no_hundred_thousand_objects(known: IndexedDocuments) -> None:
    tracemalloc.start()
    assert known.fill(StoredChunk(f"{number:032}", f"{number // 10}.md", "d" * 64, 10) for number in range(100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
