"""First loads by import, on the real server: what is found after is what writing row by row would have left."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from retrieval.config import MilvusConfig, RetrievalConfig
from retrieval.index import bulk_import
from retrieval.index.indexing import index_documents
from retrieval.search.search import Searcher
from retrieval.store.store import Store
from tests.cluster.s3 import s3_server
from tests.retrieval.index.test_indexing import rows, same

Quiet = Callable[[str], None]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"import-{uuid4().hex[:8]}"
    yield name
    if "server" in request.fixturenames:
        store = Store(request.getfixturevalue("server"), timeout_s=30)
        for each in (name, f"{name}-by-rows"):
            store.drop(each)
        store.close()


def importing(documents: Path, place: Path | str) -> RetrievalConfig:
    return RetrievalConfig.model_validate(
        {
            "mode": "dense",
            "sources": [
                {"path": documents, "tenant": "a", "access": ["staff"], "metadata": {"year": 2026, "kind": "é"}}
            ],
            "milvus": {"bulk_import": str(place)},
        }
    )


@pytest.mark.slow
@pytest.mark.matrix
def test_an_imported_collection_is_the_one_that_is_written(
    server: str, documents: Path, tmp_path: Path, name: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_import, "FILE_BYTES", 1)
    monkeypatch.setattr("retrieval.index.indexing.BATCH_CHUNKS", 2)
    staging = tmp_path / "staging"
    config = importing(documents, staging)
    report = index_documents(config, name, server, quiet)
    assert (report.added, report.failed) == (4, [])
    assert [path for path in staging.rglob("*") if path.is_file()] == [], "nothing stays where it was staged"
    written = config.model_copy(update={"milvus": MilvusConfig()})
    assert index_documents(written, f"{name}-by-rows", server, quiet).num_chunks == report.num_chunks
    same(rows(server, name), rows(server, f"{name}-by-rows"))

    # From now on it is a collection like any other: changes are written, and replace what was imported.
    (documents / "gold.md").unlink()
    (documents / "iron.md").write_text("# Iron\n\nThe symbol of Iron is Fe.\n")
    later = index_documents(config, name, server, quiet)
    assert (later.added, later.changed, later.unchanged, later.deleted) == (0, 1, 2, 1)
    assert index_documents(written, f"{name}-by-rows", server, quiet).deleted == 1
    same(rows(server, name), rows(server, f"{name}-by-rows"))


@pytest.mark.slow
@pytest.mark.matrix
def test_a_run_that_is_broken_off_while_the_server_imports_repeats_no_row(
    server: str, documents: Path, tmp_path: Path, name: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_import, "FILE_BYTES", 1)
    monkeypatch.setattr("retrieval.index.indexing.BATCH_CHUNKS", 2)
    config = importing(documents, tmp_path / "staging")
    with monkeypatch.context() as broken:
        # The first file is handed over, and the process does not live to hear of it.
        broken.setattr(bulk_import.BulkImporter, "_look_after_jobs", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            index_documents(config, name, server, quiet)
    assert name not in Searcher(config, server).collections(), "nobody searches half of it"
    report = index_documents(config, name, server, quiet)
    assert report.num_taken == 4
    assert report.unchanged > 0, "what the server imported is not imported again"
    store = Store(server, timeout_s=30)
    try:
        physical = store.current(name)
        assert physical
        keys = [chunk.id for chunk in store.chunks(physical)]
        assert len(keys) == len(set(keys)) == report.num_chunks
    finally:
        store.close()
    assert [path for path in (tmp_path / "staging").rglob("*") if path.is_file()] == []


def _interrupted(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_bucket_that_the_server_does_not_read_is_told(server: str, documents: Path, name: str, quiet: Quiet) -> None:
    """The server of these tests keeps its data in a folder, so that it finds nothing of what is in a bucket."""
    with s3_server():
        with pytest.raises(TandemError, match=r"could not import staging/.*no such file"):
            index_documents(importing(documents, "s3://bucket/staging"), name, server, quiet)
        with pytest.raises(TandemError, match=r"s3://missing/staging cannot be written: NoSuchBucket"):
            index_documents(importing(documents, "s3://missing/staging"), name, server, quiet)


@pytest.mark.slow
def test_milvus_lite_imports_nothing_and_says_so(milvus: str, documents: Path, tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(TandemError, match=r"Milvus Lite, which imports no files"):
        index_documents(importing(documents, tmp_path), "facts", milvus, quiet)


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_told(server: str, documents: Path, tmp_path: Path, quiet: Quiet) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TandemError, match=r"file/below cannot be written"):
        index_documents(importing(documents, tmp_path / "file" / "below"), "facts", server, quiet)


@pytest.mark.parametrize("place", ["staging", "http://host/staging", "file:///staging", ""])
def test_a_place_that_only_one_of_both_sees_is_refused(place: str) -> None:
    with pytest.raises(ValidationError, match=r"no place that Milvus sees too"):
        MilvusConfig(bulk_import=place)
