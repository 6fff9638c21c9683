"""Reading files; what cannot be read is said."""

from pathlib import Path

import pytest

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing import limits
from retrieval.sources.parsing.limits import digest
from retrieval.sources.parsing.parse import read_markdown


def write(path: Path, content: str | bytes = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "reason"), [(b"caf\xe9", "not UTF-8 \\(byte 3\\)"), (b"a\0b", "not text"), (None, "No such file")]
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.md"
    if content is not None:
        write(path, content)
    with pytest.raises(Unreadable, match=reason):
        read_markdown(path)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 10)
    with pytest.raises(Unreadable, match="MiB"):
        digest(write(tmp_path / "a.md", "x" * 11))


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").symlink_to(tmp_path / "a.md")
    with pytest.raises(Unreadable, match="symbolic links"):
        digest(tmp_path / "a.md")


def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    assert read_markdown(write(tmp_path / "a.md", "\ufeff# T\r\n\r\ntext\r")) == "# T\n\ntext\n"


@pytest.mark.slow
def test_other_formats_become_markdown(tmp_path: Path) -> None:
    page = write(tmp_path / "a.html", "<html><body><h1>Iron</h1><p>It <b>rusts</b>.</p></body></html>")
    assert read_markdown(page).split() == ["#", "Iron", "It", "**rusts**."]
    with pytest.raises(Unreadable, match="is no PDF, or is broken"):
        read_markdown(write(tmp_path / "a.pdf", b"%PDF-1.4\n\xff\xfe"))
