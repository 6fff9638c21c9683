"""A kept digest is that of the bytes that are there, or it is not used."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.fingerprints import kept_digests
from cluster.fingerprints.digests import digest_folder
from cluster.fingerprints.kept_digests import CACHE, SETTLED_S, digest_large_file, digest_large_folder

SIZE = 4096


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(kept_digests, "LARGE_BYTES", 1024)
    monkeypatch.setattr(kept_digests, "SETTLED_S", -3600.0)  # so that a test need not wait until a file is settled
    return tmp_path / "cache" / "digests"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with each file that is read."""
    done: list[str] = []
    whole = hashlib.file_digest

    def counted(file: object, name: str) -> object:
        done.append(name)
        return whole(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return done


def written(path: Path, byte: bytes = b"a") -> Path:
    path.write_bytes(byte * SIZE)
    return path


def true_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_nobody_touched_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    file = written(tmp_path / "model.safetensors")
    assert [digest_large_file(file) for _ in range(3)] == [true_digest(file)] * 3
    assert len(reads) == 1


def keep_times(file: Path) -> None:
    """Other content of the same size, with the date that the file had."""
    before = file.stat()
    written(file, b"b")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def rename_over(file: Path) -> None:
    before = file.stat()
    other = written(file.with_name("other"), b"c")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def map_memory(file: Path) -> None:
    import mmap

    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[7] = 1


CHANGES: list[Callable[[Path], None]] = [
    keep_times, rename_over, map_memory,
    lambda file: file.write_bytes(b"d" * (SIZE + 1)),
    lambda file: written(file, b"e") and None,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file = written(tmp_path / "model.safetensors")
    digest_large_file(file)
    time.sleep(0.02)  # a tick of the file system; SETTLED_S is there for what happens within one
    change(file)
    assert digest_large_file(file) == true_digest(file)


def test_a_file_that_was_just_written_is_not_kept(
    tmp_path: Path, cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_digests, "SETTLED_S", SETTLED_S)
    file = written(tmp_path / "model.safetensors")
    assert digest_large_file(file) == digest_large_file(file)
    assert (len(reads), cache.exists()) == (2, False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry.write_text(""),
        lambda entry: entry.write_text("{"),
        lambda entry: entry.write_text("[]"),
        lambda entry: entry.write_bytes(b"\xff\x00"),
        lambda entry: entry.write_text(entry.read_text()[:-30]),
        lambda entry: entry.write_text(json.dumps(json.loads(entry.read_text()) | {"digest": "0" * 64})),
        lambda entry: entry.write_text(json.dumps(json.loads(entry.read_text()) | {"size": 1, "seal": ""})),
    ],
)
def test_a_damaged_entry_is_not_used_and_is_written_anew(
    tmp_path: Path, cache: Path, reads: list[str], damage: Callable[[Path], object]
) -> None:
    file = written(tmp_path / "model.safetensors")
    digest_large_file(file)
    (entry,) = cache.iterdir()
    damage(entry)
    assert [digest_large_file(file) for _ in range(2)] == [true_digest(file)] * 2
    assert len(reads) == 2


def test_an_entry_of_another_boot_is_not_used(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "model.safetensors")
    digest_large_file(file)
    monkeypatch.setattr(kept_digests, "_boot", lambda: "another")
    digest_large_file(file)
    assert len(reads) == 2


def test_where_nothing_can_be_written_every_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a-file").write_text("")
    file = written(tmp_path / "model.safetensors")
    for folder in (str(tmp_path / "a-file" / "cache"), "~a-user-that-has-no-home/cache"):
        monkeypatch.setenv(CACHE, folder)
        assert [digest_large_file(file) for _ in range(2)] == [true_digest(file)] * 2


def test_writers_at_once_leave_one_whole_entry(tmp_path: Path, cache: Path) -> None:
    file = written(tmp_path / "model.safetensors")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(digest_large_file(file))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [true_digest(file)] * 16
    assert [path.suffix for path in cache.iterdir()] == [".json"]


def test_a_folder_has_the_digest_that_it_always_had(tmp_path: Path, reads: list[str]) -> None:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for name, size in (("large.bin", SIZE), ("config.json", 10), ("1_Pooling/config.json", 7), ("empty", 0)):
        (folder / name).write_bytes(os.urandom(size))
    digest = digest_folder(folder)
    assert digest_large_folder(folder) == digest
    before = len(reads)
    assert digest_large_folder(folder) == digest and len(reads) == before + 3, "the large file is not read again"
    (folder / "empty").rename(folder / "other")
    assert digest_large_folder(folder) == digest_folder(folder) != digest
