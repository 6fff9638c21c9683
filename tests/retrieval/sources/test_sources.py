"""Finding documents, and what they carry."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.filters.rights import Attributes
from retrieval.sources.config import FolderSource
from retrieval.sources.document import Document
from retrieval.sources.sources import all_documents, check_sources


def write(path: Path, content: str | bytes = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def checked(*sources: FolderSource) -> list[Document]:
    check_sources(sources)
    return list(all_documents(sources))


def names(*roots: Path) -> list[str]:
    return [document.source for document in checked(*(FolderSource(path=root) for root in roots))]


def test_documents_are_named_by_their_path_below_the_source(tmp_path: Path) -> None:
    for name in ("docs/b.md", "docs/a/c.TXT", "docs/.git/d.md", "docs/e.png", "docs/.hidden.md", "faq/b.md"):
        write(tmp_path / name)
    assert names(tmp_path / "docs") == ["b.md", "a/c.TXT"]
    assert names(tmp_path / "docs", tmp_path / "faq") == ["docs/b.md", "docs/a/c.TXT", "faq/b.md"]
    assert names(tmp_path / "docs/b.md") == ["b.md"]


def test_a_cyclic_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "docs/a.md")
    (tmp_path / "docs/loop").symlink_to(tmp_path / "docs")
    assert names(tmp_path / "docs") == ["a.md"]


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "a.md"))
        write(Path(folder, "hr", "b.md"))
        Path(folder).chmod(0o755)
        Path(folder, "hr").chmod(0)
        with as_somebody_else(), pytest.raises(TandemError, match="hr may not be read"):
            names(Path(folder))


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may read everything."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_bad_sources_are_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("x/docs/a.md", "y/docs/a.md"):
        write(tmp_path / name)
    for roots, seen in [
        ([], "is empty"),
        ([tmp_path / "missing"], "does not exist"),
        ([tmp_path / "empty"], "No document was found"),
        ([tmp_path / "x/docs", tmp_path / "y/docs"], "2 sources are named docs"),
    ]:
        with pytest.raises(TandemError, match=seen):
            names(*roots)


def test_sources_for_others_do_not_overlap(tmp_path: Path) -> None:
    write(tmp_path / "docs/hr/a.md")
    outer, inner = (FolderSource(path=tmp_path / name) for name in ("docs", "docs/hr"))
    assert len(checked(outer, inner)) == 2
    (tmp_path / "link").symlink_to(tmp_path / "docs/hr")
    for path in (tmp_path / "docs/hr", tmp_path / "link"):
        private = FolderSource(path=path, tenant="acme")
        with pytest.raises(TandemError, match="another tenant"):
            checked(outer, private)
    other = FolderSource(path=tmp_path / "link", metadata={"year": 2024})
    with pytest.raises(TandemError, match="labels or metadata"):
        checked(other, outer)


def test_documents_carry_what_their_source_says(tmp_path: Path) -> None:
    write(tmp_path / "hr/a.md")
    write(tmp_path / "docs/a.md")
    hr = FolderSource.model_validate(
        {"path": tmp_path / "hr", "tenant": "acme", "access": ["hr"], "metadata": {"year": 2024}}
    )
    public, private = checked(FolderSource(path=tmp_path / "docs"), hr)
    assert public.attributes == Attributes()
    assert private.attributes == Attributes("acme", ("hr",), {"year": 2024})
