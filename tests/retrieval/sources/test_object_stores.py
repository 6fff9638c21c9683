"""Object stores as sources: a real S3 server on loopback, and fsspec's memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import httpx
import pytest
from obstore.store import S3Store
from pydantic import ValidationError

from cluster.errors import TandemError
from retrieval.filters.rights import Attributes
from retrieval.sources import clouds
from retrieval.sources.config import ObjectSource
from retrieval.sources.document import Document, Gone, SourceUnavailable, Unreadable
from retrieval.sources.parsing import limits
from retrieval.sources.sources import all_documents, check_sources
from tests.cluster.s3 import s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server of this file."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str) -> S3Store:
    """An empty bucket, with credentials in the environment."""
    httpx.post(f"{server}/moto-api/reset").raise_for_status()
    httpx.put(f"{server}/bucket").raise_for_status()
    return S3Store("bucket", client_options={"allow_http": True})


def put(bucket: S3Store, name: str, content: str | bytes = "text") -> None:
    bucket.put(name, content.encode() if isinstance(content, str) else content)


def source(path: str = "s3://bucket/docs", **settings: Any) -> ObjectSource:
    return ObjectSource.model_validate({"path": path, **settings})


def listed(*sources: ObjectSource) -> dict[str, Document]:
    check_sources(sources)
    return {document.source: document for document in all_documents(sources)}


def test_objects_are_documents(bucket: S3Store) -> None:
    for name in ("docs/b.md", "docs/a/c.TXT", "docs/.git/d.md", "docs/e.png", "docs2/f.md", "docs/ g+&.md"):
        put(bucket, name, f"text of {name}")
    found = listed(source(tenant="acme", access=["hr"], metadata={"year": 2024}))
    assert sorted(found) == [" g+&.md", "a/c.TXT", "b.md"]
    assert found["b.md"].read() == "text of docs/b.md" and found[" g+&.md"].read() == "text of docs/ g+&.md"
    assert found["b.md"].attributes == Attributes("acme", ("hr",), {"year": 2024})
    assert sorted(listed(source("s3://bucket/docs"), source("s3://bucket/docs2/"))) == [
        "docs/ g+&.md", "docs/a/c.TXT", "docs/b.md", "docs2/f.md",
    ]  # fmt: skip
    assert list(listed(source("s3://bucket/docs/b.md"))) == ["b.md"]
    assert "docs/b.md" in listed(source("s3://bucket"))


def test_a_version_changes_with_the_content(bucket: S3Store) -> None:
    put(bucket, "docs/a.md", "one")
    put(bucket, "docs/b.md", "same")
    before = {name: document.version() for name, document in listed(source()).items()}
    put(bucket, "docs/a.md", "two")
    put(bucket, "docs/b.md", "same")
    after = {name: document.version() for name, document in listed(source()).items()}
    assert before["a.md"] != after["a.md"] and before["b.md"] == after["b.md"]


def test_more_objects_than_a_page(bucket: S3Store) -> None:
    for number in range(1005):
        put(bucket, f"docs/{number}.md", "")
    assert len(listed(source())) == 1005


def test_formats_and_rows_are_read_as_in_folders(bucket: S3Store) -> None:
    rows = [{"id": 1, "text": "It rusts.", "year": 2024}, {"id": 2}]
    put(bucket, "docs/facts.jsonl", "\n".join(map(json.dumps, rows)))
    put(bucket, "docs/a.html", "<h1>Iron</h1><p>It <b>rusts</b>.</p>")
    found = listed(source())
    assert found["facts.jsonl#1"].read() == "It rusts."
    assert found["facts.jsonl#1"].attributes == Attributes(metadata={"year": 2024})
    with pytest.raises(Unreadable, match="has no text"):
        found["facts.jsonl#2"].version()
    assert found["a.html"].read().split() == ["#", "Iron", "It", "**rusts**."]


def test_what_is_too_long_or_a_bomb_is_said(bucket: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ZipFile(tmp_path / "a.docx", "w", ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(200_000))
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 10_000)
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 100_000)
    put(bucket, "docs/bomb.docx", (tmp_path / "a.docx").read_bytes())
    put(bucket, "docs/long.md", "x" * 10_001)
    put(bucket, "docs/empty.md", "")
    put(bucket, "docs/latin.md", b"caf\xe9")
    found = listed(source())
    for name, reason in [("bomb.docx", "unpacks to"), ("long.md", "MiB"), ("latin.md", "not UTF-8")]:
        with pytest.raises(Unreadable, match=reason):
            found[name].version() and found[name].read()
    assert found["empty.md"].read() == ""


def test_a_large_object_is_read_in_pieces(bucket: S3Store) -> None:
    text = "".join(f"{number}\n" for number in range(1_500_000))
    assert len(text) > 10_000_000
    put(bucket, "docs/a.txt", text)
    assert listed(source())["a.txt"].read() == text


def test_what_changes_or_goes_after_it_was_listed(bucket: S3Store) -> None:
    put(bucket, "docs/a.md", "one")
    put(bucket, "docs/b.md", "one")
    found = listed(source())
    put(bucket, "docs/a.md", "two")
    bucket.delete("docs/b.md")
    with pytest.raises(Unreadable, match="was changed"):
        found["a.md"].read()
    with pytest.raises(Gone):
        found["b.md"].read()


def test_rows_of_an_object_that_changes_are_not_taken_for_deleted(
    bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "CHUNK_BYTES", 100)
    rows = "".join(f'{{"id": {number}, "text": "one"}}\n' for number in range(100))
    put(bucket, "docs/a.jsonl", rows)
    found = all_documents([source()])
    assert next(found).source == "a.jsonl#0"
    put(bucket, "docs/a.jsonl", rows.replace("one", "two"))
    with pytest.raises(SourceUnavailable, match=r"a\.jsonl in the source s3://bucket/docs was changed"):
        list(found)
    found = all_documents([source()])
    next(found)
    bucket.delete("docs/a.jsonl")
    assert len(list(found)) < 99, "it is gone, and so are its rows"


def test_a_store_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    bucket: S3Store, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "docs/a.md")
    found = listed(source())
    with pytest.raises(SourceUnavailable, match="NoSuchBucket"):
        listed(source("s3://missing/docs"))
    with pytest.raises(TandemError, match="No document was found in s3://bucket/other"):
        listed(source("s3://bucket/other"))
    httpx.post(f"{server}/moto-api/reset-auth", content="0").raise_for_status()
    try:
        with pytest.raises(SourceUnavailable) as caught:
            listed(source())
        assert "InvalidAccessKeyId" in str(caught.value) and "secret" not in str(caught.value)
        with pytest.raises(Unreadable, match="with these credentials"):
            found["a.md"].read()
    finally:
        httpx.post(f"{server}/moto-api/reset-auth", content="inf").raise_for_status()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        listed(source())


def test_other_protocols_of_fsspec() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe({"/shelf/docs/a.md": b"one", "/shelf/docs/b/c.md": b"two", "/shelf/docs/d.jsonl": b'{"text": "row"}'})
    found = listed(memory := source("memory://shelf/docs"))
    assert {name: document.read() for name, document in found.items()} == {
        "a.md": "one", "b/c.md": "two", "d.jsonl#1": "row",
    }  # fmt: skip
    before = found["a.md"].version()
    system.pipe("/shelf/docs/a.md", b"new")
    assert (
        listed(memory)["a.md"].version() != before and listed(memory)["b/c.md"].version() == found["b/c.md"].version()
    )
    assert list(listed(source("memory://shelf/docs/a.md"))) == ["a.md"]
    system.rm("/shelf/docs/a.md")
    with pytest.raises(Gone):
        found["a.md"].read()
    for path, seen in [
        ("memory://shelf/none", "cannot be read"),
        ("nosuch://x/y", "Protocol not known"),
        ("hdfs://h/x", "hdfs"),
    ]:
        with pytest.raises(TandemError, match=seen):
            listed(source(path))


def test_sources_for_others_do_not_overlap(bucket: S3Store) -> None:
    put(bucket, "docs/hr/a.md")
    with pytest.raises(TandemError, match="another tenant"):
        listed(source("s3://bucket/docs"), source("s3://bucket/docs/hr", tenant="acme"))


@pytest.mark.parametrize(
    "path", ["https://host/x", "file:///x", "s3://key:secret@bucket/x", "zip://a.zip::s3://bucket/x"]
)
def test_urls_that_are_no_store_are_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        source(path)
