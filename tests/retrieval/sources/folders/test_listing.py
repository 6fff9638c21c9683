"""What lies in a folder: documents, what is left out and counted, and what must not be taken for deleted."""

import os
import socket
from collections import Counter
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.sources.config import FolderSource
from retrieval.sources.document import SourceUnavailable, Unreadable, open_file
from retrieval.sources.folders.listing import LocalFile, check_folders, folder_documents
from retrieval.sources.left_out import describe_left_out, kind_left_out
from retrieval.sources.parsing.limits import digest


def write(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def listed(folder: Path) -> tuple[list[str], Counter[str]]:
    left_out: Counter[str] = Counter()
    return [document.source for document in folder_documents(FolderSource(path=folder), "", left_out)], left_out


def test_what_is_no_document_is_counted_by_kind(tmp_path: Path) -> None:
    for name in ("a.md", "b.ZIP", "c.zip", "x/d.png", "Makefile", ".git/config", ".hidden.png", "odd.v2 final"):
        write(tmp_path / name)
    names, left_out = listed(tmp_path)
    assert names == ["a.md"]
    assert left_out == {".zip": 2, ".png": 1, "without a suffix": 2}
    assert describe_left_out(left_out) == ("5 files of other kinds were left out (.zip 2, without a suffix 2, .png 1).")
    many = {f".k{number}": 20 - number for number in range(12)}
    assert describe_left_out(many).endswith(".k9 11, 2 more kinds).")
    assert describe_left_out({}) == ""


@pytest.mark.parametrize(
    "name",
    [
        "~$report.docx", "~$ort.docx", "~WRL0001.docx", "#notes.md#", "notes.md~", "a.md.swp", "a.md.bak", "a.md.tmp",
        "a.md___jb_tmp___", "a.md.kate-swp",
    ],
)  # fmt: skip
def test_lock_and_backup_files_are_no_documents(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.md")
    write(tmp_path / name)
    write(tmp_path / ".~lock.report.odt#")
    assert listed(tmp_path) == (["a.md"], Counter({"lock and backup files": 1}))
    assert kind_left_out("a~b.md") is None and kind_left_out("C# notes.md") is None


def test_pipes_sockets_devices_and_links_to_folders_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "docs/a.md")
    os.mkfifo(tmp_path / "docs/pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docs/server.md"))
        (tmp_path / "docs/zero.txt").symlink_to("/dev/zero")
        (tmp_path / "docs/linked.md").symlink_to(tmp_path / "docs/pipe.txt")
        (tmp_path / "docs/folder.md").symlink_to(tmp_path)
        names, left_out = listed(tmp_path / "docs")
    assert names == ["a.md"]
    assert left_out == {"named pipes": 2, "sockets": 1, "devices": 1, "links to folders": 1}


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.md")
    with pytest.raises(OSError, match="not a regular file"):
        open_file(tmp_path / "a.md")
    with pytest.raises(Unreadable, match="cannot be read: it is not a regular file"):
        digest(tmp_path / "a.md")
    with pytest.raises(TandemError, match=r"a\.md is neither a folder nor a file"):
        check_folders([FolderSource(path=tmp_path / "a.md")])


def test_a_link_to_nothing_is_reported_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.md")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nothing.md")
    documents = {document.source: document for document in folder_documents(FolderSource(path=tmp_path), "")}
    assert list(documents) == ["a.md", "gone.md"]
    with pytest.raises(Unreadable, match="No such file"):
        documents["gone.md"].version()


def test_a_folder_that_is_replaced_while_it_is_read_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    for name in ("docs/a.md", "docs/x/b.md", "next/a.md"):
        write(tmp_path / name)
    documents = folder_documents(FolderSource(path=tmp_path / "docs"), "")
    assert next(documents).source == "a.md"
    (tmp_path / "docs").rename(tmp_path / "old")
    (tmp_path / "next").rename(tmp_path / "docs")
    with pytest.raises(SourceUnavailable, match="was replaced while it was read"):
        list(documents)
    documents = folder_documents(FolderSource(path=tmp_path / "docs"), "")
    next(documents)
    (tmp_path / "docs").rename(tmp_path / "moved")
    with pytest.raises(SourceUnavailable, match="does not exist"):
        list(documents)


@pytest.mark.parametrize("how", ["edit", "cp -p", "swap", "link"])
def test_another_content_has_another_signature(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "a.md", "one")
    if how == "link":
        path.rename(tmp_path / "one.txt")
        path.symlink_to("one.txt")
    [before] = folder_documents(FolderSource(path=path), "")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    if how in ("edit", "cp -p"):
        path.write_text("two")
    elif how == "swap":
        write(tmp_path / "b", "two").rename(path)
    else:
        write(tmp_path / "two.txt", "two")
        (tmp_path / "new").symlink_to("two.txt")
        (tmp_path / "new").rename(path)
    if how != "edit":
        os.utime(path, ns=times)
    [after] = folder_documents(FolderSource(path=path), "")
    assert before.signature != after.signature


def test_files_that_need_not_be_read_are_not(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.jsonl", '{"id": 1, "text": "one"}\n')
    asked: list[LocalFile] = []

    def skip(file: LocalFile) -> bool:
        asked.append(file)
        return len(asked) > 1

    source = FolderSource(path=tmp_path)
    assert [document.source for document in folder_documents(source, "docs/", skip=skip)] == ["docs/a.jsonl#1"]
    assert not list(folder_documents(source, "docs/", skip=skip))
    assert {(file.name, file.path, file.holds_rows) for file in asked} == {("docs/a.jsonl", rows, True)}
