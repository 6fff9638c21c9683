"""A package holds what is wanted and no secret, is the same for the same files, and never exceeds what Ray takes."""

import os
import zipfile
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.jobs.job_archive import UPLOAD_LIMIT, JobArchive, PackedFile, UserFile, format_bytes, pack_files

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def write(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def packed(folder: Path, suffixes: frozenset[str] | None = None, storage: Path | None = None) -> JobArchive:
    return pack_files([UserFile(folder, "project/docs", "retrieval.sources.0", suffixes)], storage)


def names(package: JobArchive) -> list[str]:
    return [file.name for file in package.files]


def test_a_folder_and_a_file(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "deep" / "b.md")
    write(tmp_path / "docs" / "a.md")
    file = write(tmp_path / "rows.jsonl", "{}")
    wanted = [UserFile(tmp_path / "docs", "project/docs", "sources"), UserFile(file, "project/rows.jsonl", "data")]
    package = pack_files(wanted, None)
    assert names(package) == ["project/docs/a.md", "project/docs/deep/b.md", "project/rows.jsonl"]
    assert package.size == 10


@pytest.mark.parametrize(
    "name",
    [".env", ".env.production", "prod.env", "server.key", "id_rsa", "id_ed25519.pub", "credentials.json", ".netrc"],
)
def test_a_secret_by_its_name_stays_here(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.md")
    write(tmp_path / "deep" / name)
    package = packed(tmp_path)
    assert names(package) == ["project/docs/a.md"]
    assert [(each.path.name, each.why) for each in package.left_out] == [(name, "a secret by its name")]


def test_a_private_key_stays_here_whatever_it_is_called(tmp_path: Path) -> None:
    write(tmp_path / "notes.md", "how to log in:\n" + KEY)
    assert names(packed(tmp_path)) == []
    assert packed(tmp_path).left_out[0].why == "a private key"


def test_what_is_no_document_or_hidden_or_the_storage_stays_here(tmp_path: Path) -> None:
    for name in ("a.md", "b.PDF", "film.mp4", ".hidden/c.md", "runs/small/report.md", "__pycache__/d.md", ".e.md"):
        write(tmp_path / name)
    package = packed(tmp_path, frozenset({".md", ".pdf"}), storage=(tmp_path / "runs").resolve())
    assert names(package) == ["project/docs/a.md", "project/docs/b.PDF"]
    assert {each.path.name: each.why for each in package.left_out} == {
        "film.mp4": "no document", ".hidden": "hidden", "runs": "the storage", "__pycache__": "hidden",
        ".e.md": "hidden",
    }  # fmt: skip


def test_links_to_folders_and_broken_links_stay_here(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "a.md")
    write(tmp_path / "other" / "b.md")
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs")
    (tmp_path / "docs" / "gone.md").symlink_to(tmp_path / "nowhere.md")
    (tmp_path / "docs" / "linked.md").symlink_to(tmp_path / "other" / "b.md")
    assert names(packed(tmp_path / "docs")) == ["project/docs/a.md", "project/docs/linked.md"]


def test_a_file_that_is_named_and_holds_a_key_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "ca.pem", KEY)
    with pytest.raises(TandemError, match=r"retrieval.milvus.ca_file names .*ca.pem, which is a secret"):
        pack_files([UserFile(file, "project/ca.pem", "retrieval.milvus.ca_file")], None)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"training.data names .*rows.jsonl, which is not there"):
        pack_files([UserFile(tmp_path / "rows.jsonl", "project/rows.jsonl", "training.data")], None)


def test_the_same_files_give_the_same_zip_which_unpacks_to_them(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "a.md", "ä")
    (tmp_path / "docs" / "empty").mkdir()
    packed(tmp_path / "docs").write_zip(tmp_path / "one.zip")
    os.utime(tmp_path / "docs" / "a.md", (0, 0))
    packed(tmp_path / "docs").write_zip(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    zipfile.ZipFile(tmp_path / "one.zip").extractall(tmp_path / "zip")
    packed(tmp_path / "docs").write_folder(tmp_path / "folder")
    for to in ("zip", "folder"):
        assert (tmp_path / to / "project" / "docs" / "a.md").read_text() == "ä"


def test_an_empty_folder_is_there_too(tmp_path: Path) -> None:
    packed(tmp_path).write_zip(tmp_path / "one.zip")
    zipfile.ZipFile(tmp_path / "one.zip").extractall(tmp_path / "to")
    assert (tmp_path / "to" / "project" / "docs").is_dir()


def test_over_the_limit_the_largest_are_named_and_no_zip_is_left(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(300_000))
    write(tmp_path / "small.md")
    package = pack_files([UserFile(tmp_path, "project/model", "model")], None)
    to = tmp_path.parent / f"{tmp_path.name}.zip"
    with pytest.raises(TandemError) as refused:
        package.write_zip(to, limit=200_000)
    assert "project/model/large.bin (293.0 KiB), project/model/small.md (4 B)" in refused.value.seen
    assert "shared folder" in refused.value.remedy
    assert not to.exists()


def test_a_file_of_terabytes_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Sparse here: reading all of it would take hours."""
    with (tmp_path / "huge.bin").open("wb") as file:
        file.write(os.urandom(3 * 2**20))
        file.truncate(4 * 2**40)
    package = pack_files([UserFile(tmp_path / "huge.bin", "project/huge.bin", "training.data")], None)
    with pytest.raises(TandemError, match=r"huge.bin \(4096.0 GiB\)"):
        package.write_zip(tmp_path / "one.zip", limit=2**20)


def test_what_compresses_below_the_limit_fits(tmp_path: Path) -> None:
    package = JobArchive((PackedFile("project/rows.jsonl", b"0" * 1_000_000),), (), ())
    package.write_zip(tmp_path / "one.zip", limit=100_000)
    assert (tmp_path / "one.zip").stat().st_size < 100_000


def test_the_limit_is_that_of_the_installed_ray() -> None:
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

    assert UPLOAD_LIMIT == DASHBOARD_CLIENT_MAX_SIZE


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (100 * 2**20, "100.0 MiB"), (2**41, "2048.0 GiB")],
)
def test_sizes_for_people(size: int, told: str) -> None:
    assert format_bytes(size) == told
