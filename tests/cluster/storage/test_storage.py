"""Files appear whole or not at all, and once."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_folder, digest_json
from cluster.storage.files import write_atomically, write_once
from cluster.storage.storage import open_storage


def test_one_of_many_writers_wins(tmp_path: Path) -> None:
    target, wins = tmp_path / "manifest.json", []
    barrier = threading.Barrier(16)

    def write(number: int) -> None:
        barrier.wait()
        if write_once(target, str(number)):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert target.read_text() == str(wins[0])
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    write_atomically(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "\ud800")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_write_that_the_disk_refuses_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: the kernel refuses the write in the middle."""
    code = """
import resource, signal, sys
from pathlib import Path
from cluster.storage.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_atomically(Path(sys.argv[1]) / "report.json", "x" * 5000)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_storage_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TandemError, match="cannot be written"):
        open_storage("file/below", tmp_path)
    with pytest.raises(TandemError, match="s3://bucket/prefix"):
        open_storage("ftp://bucket", tmp_path)


def test_a_digest_names_content_and_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = digest_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_folder(tmp_path) != before
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
