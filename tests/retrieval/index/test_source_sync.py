"""Databases, sites and object stores and their collection: followed, and never emptied by a failure."""

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.filters.rights import Rights
from retrieval.index.indexing import follow_changes, index_documents
from retrieval.index.report import IndexReport
from retrieval.search.search import Searcher
from retrieval.store.store import Store

pytestmark = pytest.mark.slow
Quiet = Callable[[str], None]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "help.db"
    run(path, "CREATE TABLE article (id INTEGER, body TEXT, owner TEXT)")
    run(path, "INSERT INTO article VALUES (1, 'The symbol of Tin is Sn.', 'acme'), (2, 'Zinc is a metal.', 'blue')")
    return path


@pytest.fixture
def both(documents: Path, database: Path) -> RetrievalConfig:
    """A folder of four documents and a table of two."""
    sql = {
        "url": f"sqlite:///{database}",
        "query": "SELECT * FROM article",
        "id": "id",
        "text": "body",
        "tenant": "owner",
    }
    return RetrievalConfig.model_validate({"sources": [documents, {"sql": sql, "poll_s": 1}]})


def run(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def held(uri: str, collection: str) -> set[str]:
    store = Store(uri)
    physical = store.current(collection)
    assert physical is not None
    store.load(physical)
    return {row.source for row in store.chunks(physical)}


def counts(report: IndexReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.unchanged, report.deleted


def test_a_table_is_followed_row_by_row(both: RetrievalConfig, database: Path, milvus: str, quiet: Quiet) -> None:
    assert counts(index_documents(both, "table", milvus, quiet)) == (6, 0, 0, 0)
    run(database, "UPDATE article SET body = 'The symbol of Tin is Sn, from stannum.' WHERE id = 1")
    run(database, "DELETE FROM article WHERE id = 2; INSERT INTO article VALUES (3, 'Lead is heavy.', 'acme')")
    assert counts(index_documents(both, "table", milvus, quiet)) == (1, 1, 4, 1)
    searcher = Searcher(both, milvus)
    sources = {hit.source for hit in searcher.search("table", "What is the symbol of Tin?", rights=Rights("acme")).hits}
    assert "help/1" in sources
    assert not [hit for hit in searcher.search("table", "What is the symbol of Tin?").hits if "help/" in hit.source]

    run(database, "UPDATE article SET owner = NULL WHERE id = 1")
    report = index_documents(both, "table", milvus, quiet)
    assert [(failure.source, failure.reason) for failure in report.failed] == [("help/1", "has no owner")]
    assert "help/1" not in held(milvus, "table"), "nobody knows whom it is for"


@pytest.mark.parametrize(
    "harm",
    [
        "ALTER TABLE article RENAME TO other",
        "UPDATE article SET id = 1",
        "UPDATE article SET id = NULL WHERE id = 2",
        "ALTER TABLE article DROP COLUMN body",
    ],
)
def test_a_failing_source_deletes_nothing(
    both: RetrievalConfig, database: Path, documents: Path, milvus: str, quiet: Quiet, harm: str
) -> None:
    index_documents(both, "harmed", milvus, quiet)
    before = held(milvus, "harmed")
    run(database, harm)
    with pytest.raises(TandemError):
        index_documents(both, "harmed", milvus, quiet)
    assert held(milvus, "harmed") == before and len(before) == 6


def test_watching_looks_at_a_table_from_time_to_time(
    both: RetrievalConfig, database: Path, documents: Path, milvus: str
) -> None:
    reports: queue.Queue[IndexReport] = queue.Queue()
    said: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    watch = threading.Thread(
        target=follow_changes, args=(both, "polled", milvus, reports.put, said.put, stop), daemon=True
    )
    watch.start()
    assert counts(reports.get(timeout=60)) == (6, 0, 0, 0)

    (documents / "zinc.md").write_text("# Zinc\n\nThe symbol of Zinc is Zn.\n")
    assert counts(reports.get(timeout=60)) == (1, 0, 6, 0)
    run(database, "INSERT INTO article VALUES (3, 'Lead is heavy.', 'acme')")
    assert counts(reports.get(timeout=60)) == (1, 0, 7, 0)

    while not said.empty():
        said.get()
    run(database, "ALTER TABLE article RENAME TO other")
    assert "no such table" in said.get(timeout=60)
    (documents / "zinc.md").unlink()
    assert counts(reports.get(timeout=60)) == (0, 0, 7, 1)
    run(database, "ALTER TABLE other RENAME TO article; DELETE FROM article WHERE id = 3")
    assert counts(reports.get(timeout=60)) == (0, 0, 6, 1)
    stop.set()
    watch.join(timeout=30)
    assert not watch.is_alive()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A site made of files."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("iron", "gold"):
        (folder / f"{name}.txt").write_text(f"{name} is a metal.")
    pages = "".join(f"<url><loc>{url}/{name}.txt</loc></url>" for name in ("iron", "gold"))
    (folder / "sitemap.xml").write_text(f"<urlset>{pages}</urlset>")
    yield url, folder
    server.shutdown()
    server.server_close()


def test_a_page_that_is_gone_is_deleted_and_a_broken_one_stays(
    site: tuple[str, Path], milvus: str, quiet: Quiet
) -> None:
    url, folder = site
    config = RetrievalConfig.model_validate({"sources": [{"sitemap": f"{url}/sitemap.xml", "pages_per_s": 100}]})
    assert counts(index_documents(config, "site", milvus, quiet)) == (2, 0, 0, 0)
    (folder / "iron.txt").unlink()
    report = index_documents(config, "site", milvus, quiet)
    assert (counts(report), report.failed) == ((0, 0, 1, 1), [])
    assert held(milvus, "site") == {f"{url}/gold.txt"}
    (folder / "iron.txt").write_bytes(b"\xff")
    report = index_documents(config, "site", milvus, quiet)
    assert [failure.source for failure in report.failed] == [f"{url}/iron.txt"]
    (folder / "gold.txt").write_bytes(b"\xff")
    with pytest.raises(TandemError, match="None of the 2"):
        index_documents(config, "site", milvus, quiet)
    assert held(milvus, "site") == {f"{url}/gold.txt"}
