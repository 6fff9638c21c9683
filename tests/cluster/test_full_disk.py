"""A full disk that our own writes meet, those of libraries, or another process, by the text of its error."""

import errno
import os
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import TandemError
from cluster.full_disk import DiskFull, explain_full_disk, full_disk_explained
from cluster.storage.files import write_atomically

REMEDY = "Make room there."
TOO_MUCH = 4 << 20


def with_python(folder: Path) -> None:
    (folder / "file").write_bytes(bytes(TOO_MUCH))


def atomically(folder: Path) -> None:
    write_atomically(folder / "file", bytes(TOO_MUCH))


def as_a_copy(folder: Path) -> None:
    source = folder.parent / "source"
    source.write_bytes(bytes(TOO_MUCH))
    shutil.copy(source, folder)


def as_a_tree(folder: Path) -> None:
    source = folder.parent / "tree"
    source.mkdir()
    (source / "file").write_bytes(bytes(TOO_MUCH))
    shutil.copytree(source, folder / "tree")


def with_numpy(folder: Path) -> None:
    np.savez(folder / "file.npz", rows=np.zeros(TOO_MUCH, np.uint8))


def with_pyarrow(folder: Path) -> None:
    from pyarrow.fs import LocalFileSystem

    with LocalFileSystem().open_output_stream(str(folder / "file")) as stream:
        stream.write(bytes(TOO_MUCH))


def with_safetensors(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(TOO_MUCH // 4)}, folder / "file.safetensors")


def with_torch(folder: Path) -> None:
    import torch

    torch.save(torch.zeros(TOO_MUCH // 4), folder / "file.pt")


WRITERS = [with_python, atomically, as_a_copy, as_a_tree, with_numpy, with_pyarrow, with_safetensors, with_torch]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_named_by_whatever_was_written(write: Callable[[Path], None], small_disk: Path) -> None:
    with pytest.raises(DiskFull) as raised, full_disk_explained(small_disk, REMEDY):
        write(small_disk)
    assert raised.value.seen.startswith(f"A disk is full: {small_disk} on ")
    assert raised.value.remedy == REMEDY


def test_a_disk_without_inodes_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=4", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        with pytest.raises(DiskFull, match=f"A disk is full: {folder} on .*"), full_disk_explained(folder, REMEDY):
            for number in range(9):
                (folder / str(number)).touch()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_became_read_only_is_said(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(DiskFull) as raised, full_disk_explained(small_disk, REMEDY):
        atomically(small_disk)
    assert raised.value.seen.startswith("A disk is full or read-only")
    assert f"{small_disk} on " in raised.value.seen


@pytest.mark.parametrize(
    "text",
    [
        "RayTaskError(OSError): [Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device",
        "I/O error: No space left on device (os error 28)",
        "ray.exceptions.OutOfDiskError: Local disk is full",
        "<Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum.</Message>",
        "AWS Error UNKNOWN (HTTP status 507) during PutObject operation: InsufficientStorage",
    ],
)
def test_the_text_of_another_process_is_read(text: str, tmp_path: Path) -> None:
    explained = explain_full_disk(RuntimeError(text), tmp_path, REMEDY)
    assert explained is not None and explained.seen.startswith("A disk is full: ")


@pytest.mark.parametrize("text", ["[Errno 122] Disk quota exceeded: '/home/x'", "<Code>QuotaExceeded</Code>"])
def test_a_quota_is_named_as_one(text: str, tmp_path: Path) -> None:
    explained = explain_full_disk(RuntimeError(text), tmp_path, REMEDY)
    assert explained is not None and explained.seen.startswith("A disk is full (its quota is used up): ")


def test_the_cause_of_an_error_counts(tmp_path: Path) -> None:
    cause = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(tmp_path / "file"))
    error = RuntimeError("the upload failed")
    error.__cause__ = cause
    explained = explain_full_disk(error, Path("/"), REMEDY)
    assert explained is not None and str(tmp_path / "file") in explained.seen


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, os.strerror(errno.EACCES), "file"),
        ValueError("line 28"),
        RuntimeError("rank 28 on node 30: errno 280"),
        TandemError("No space left on device.", "Room.", "Make some."),
    ],
)
def test_other_errors_are_left_as_they_are(error: Exception, tmp_path: Path) -> None:
    assert explain_full_disk(error, tmp_path, REMEDY) is None


def test_no_disk_with_room_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    explained = explain_full_disk(RuntimeError("[Errno 28] No space left on device"), tmp_path, REMEDY)
    assert explained is not None and "the error does not name it ([Errno 28]" in explained.seen


def test_it_comes_from_another_process_as_it_is(tmp_path: Path) -> None:
    error = DiskFull("A disk is full: /x.", "Room.", REMEDY)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args) == (DiskFull, error.args)
    assert explain_full_disk(again, tmp_path, "Another remedy.") is again
