"""Whatever says nothing any more leaves the collection: a file, a row, an object, a page."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pytest

from retrieval.config import RetrievalConfig
from retrieval.index.indexing import index_documents
from retrieval.sources import sql
from retrieval.store.store import Store
from tests.retrieval.site import serve_folder

pytestmark = pytest.mark.slow
Quiet = Callable[[str], None]
TEXT = "Jane Doe earns 90,000 euros a year."


def held(uri: str, collection: str) -> set[str]:
    with closing(Store(uri)) as store:
        return {row.source for physical in store.filled(collection) for row in store.chunks(physical)}


def rows(path: Path, *values: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


MATRIX = [".txt", ".rst", ".csv", ".html", ".pdf", ".xlsx", ".pptx"]


@pytest.mark.parametrize(
    "suffix", [".md", ".docx", *(pytest.param(suffix, marks=pytest.mark.matrix) for suffix in MATRIX)]
)
def test_a_file_without_bytes(suffix: str, documents: Path, milvus: str, quiet: Quiet) -> None:
    """What had text under the name of any format, and has no bytes now."""
    path, config = documents / f"jane{suffix}", RetrievalConfig(sources=[documents])
    _write(path)
    name = f"emptied-{suffix[1:]}"
    index_documents(config, name, milvus, quiet)
    assert path.name in held(milvus, name)
    path.write_bytes(b"")
    report = index_documents(config, name, milvus, quiet)
    assert [(failure.source, failure.reason) for failure in report.failed] == [(path.name, "holds no text")]
    assert path.name not in held(milvus, name)
    assert index_documents(config, name, milvus, quiet).num_chunks == 4


def _write(path: Path) -> None:
    if path.suffix == ".docx":
        from docx import Document

        document = Document()
        document.add_paragraph(TEXT)
        document.save(str(path))
    elif path.suffix == ".xlsx":
        from openpyxl import Workbook

        book = Workbook()
        book.active.append(["name", "pay"])
        book.active.append(["Jane", 90])
        book.save(path)
    elif path.suffix == ".pptx":
        from pptx import Presentation

        slides = Presentation()
        slides.slides.add_slide(slides.slide_layouts[5]).shapes.title.text = TEXT
        slides.save(str(path))
    elif path.suffix == ".pdf":
        path.write_bytes(_pdf(TEXT))
    else:
        path.write_text(TEXT)


def _pdf(text: str) -> bytes:
    """One page with one line."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]  # fmt: skip
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, each) for number, each in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer << /Root 1 0 R /Size 6 >>\n%%EOF\n"


@pytest.mark.parametrize("row", [
    {"text": ""}, {"text": None},
    *(pytest.param(row, marks=pytest.mark.matrix) for row in ({}, {"content": None}, {"text": " \n"})),
])  # fmt: skip
def test_a_row_of_jsonl(row: dict[str, Any], documents: Path, milvus: str, quiet: Quiet) -> None:
    config, name = RetrievalConfig(sources=[documents]), f"emptied-row-{len(json.dumps(row))}-{'content' in row:d}"
    rows(documents / "f.jsonl", {"id": "jane", "text": TEXT}, {"id": "tom", "text": "Tom is here."})
    index_documents(config, name, milvus, quiet)
    assert "f.jsonl#jane" in held(milvus, name)
    rows(documents / "f.jsonl", {"id": "jane", **row}, {"id": "tom", "text": "Tom is here."})
    index_documents(config, name, milvus, quiet)
    assert "f.jsonl#jane" not in held(milvus, name) and "f.jsonl#tom" in held(milvus, name)


@pytest.mark.parametrize("updated_at", [None, "changed"])
@pytest.mark.parametrize("value", ["''", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("NULL", "'  '"))])
def test_a_row_of_a_table(updated_at: str | None, value: str, tmp_path: Path, milvus: str, quiet: Quiet) -> None:
    def execute(statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
            connection.executescript(statement)

    execute("CREATE TABLE a (id INTEGER, body TEXT, changed INTEGER)")
    execute(f"INSERT INTO a VALUES (1, '{TEXT}', 1), (2, 'Tom is here.', 1)")
    table = {"url": f"sqlite:///{tmp_path}/shop.db", "query": "SELECT * FROM a", "id": "id", "text": "body"}
    config = RetrievalConfig.model_validate({"sources": [{"sql": {**table, "updated_at": updated_at}}]})
    name = f"emptied-table-{updated_at or 'none'}-{len(value)}"
    index_documents(config, name, milvus, quiet)
    assert held(milvus, name) == {"shop/1", "shop/2"}
    execute(f"UPDATE a SET body = {value}, changed = 2 WHERE id = 1")
    report = index_documents(config, name, milvus, quiet)
    assert [(failure.source, failure.reason) for failure in report.failed] == [("shop/1", "holds no text")]
    assert held(milvus, name) == {"shop/2"}


def test_a_row_that_is_deleted_while_the_table_is_read_is_no_failure(
    tmp_path: Path, milvus: str, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
            connection.executescript(statement)

    execute(f"CREATE TABLE a (id INTEGER, body TEXT); INSERT INTO a VALUES (1, '{TEXT}'), (2, 'Tom is here.')")
    table = {"url": f"sqlite:///{tmp_path}/shop.db", "query": "SELECT * FROM a", "id": "id", "text": "body"}
    config = RetrievalConfig.model_validate({"sources": [{"sql": table}]})
    index_documents(config, "vanishing", milvus, quiet)
    execute("UPDATE a SET body = body || ' Really.'")
    fetched = sql._Texts._fetched

    def vanishing(texts: sql._Texts, keys: list[object]) -> object:
        execute("DELETE FROM a WHERE id = 1")
        return fetched(texts, keys)

    monkeypatch.setattr(sql._Texts, "_fetched", vanishing)
    report = index_documents(config, "vanishing", milvus, quiet)
    assert (report.failed, report.changed, report.deleted) == ([], 1, 1)
    assert held(milvus, "vanishing") == {"shop/2"}


def test_an_object(milvus: str, quiet: Quiet) -> None:
    for name, text in {"jane.md": TEXT, "tom.md": "Tom is here."}.items():
        with fsspec.open(f"memory://emptied/docs/{name}", "wb") as file:
            file.write(text.encode())
    config = RetrievalConfig.model_validate({"sources": ["memory://emptied/docs"]})
    index_documents(config, "emptied-object", milvus, quiet)
    assert held(milvus, "emptied-object") == {"jane.md", "tom.md"}
    with fsspec.open("memory://emptied/docs/jane.md", "wb") as file:
        file.write(b"")
    index_documents(config, "emptied-object", milvus, quiet)
    assert held(milvus, "emptied-object") == {"tom.md"}


@pytest.mark.parametrize(
    "emptied", ["", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("  \n", "<html><body></body></html>"))]
)
def test_a_page(emptied: str, tmp_path: Path, milvus: str, quiet: Quiet) -> None:
    for name, text in {"jane.html": TEXT, "tom.html": "Tom is here."}.items():
        (tmp_path / name).write_text(f"<html><body><p>{text}</p></body></html>")
    url = serve_folder(tmp_path, ["jane.html", "tom.html"])
    config = RetrievalConfig.model_validate({"sources": [{"sitemap": f"{url}/sitemap.xml", "pages_per_s": 100}]})
    name = f"emptied-page-{len(emptied)}"
    index_documents(config, name, milvus, quiet)
    assert held(milvus, name) == {f"{url}/jane.html", f"{url}/tom.html"}
    (tmp_path / "jane.html").write_text(emptied)
    index_documents(config, name, milvus, quiet)
    assert held(milvus, name) == {f"{url}/tom.html"}
