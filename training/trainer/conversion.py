"""A checkpoint for another number of workers: converted once, into the storage, by one worker.

<checkpoint>/universal-<unique>/   what every number of workers can load (DeepSpeed's universal checkpoint)
<checkpoint>/universal.json        its folder, with the size and SHA-256 of each file; written last

The other workers look for universal.json again and again. They are in no collective meanwhile, so that none times out
however long the conversion takes; where the converting worker dies, Ray Train ends them all. A folder that
universal.json does not name is what a conversion left that died, and is deleted by the next one.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

from joblib import cpu_count
from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType

from cluster.errors import TandemError
from cluster.hardware import available_bytes
from training.trainer.checkpoint_store import FileList, StoredCheckpoint, fetch_files, send_files, write_at_once

MARKER_FILE = "universal.json"
_PREFIX = "universal-"
_POLL_S = 1.0
_GIB = 2**30
_LEAST_WORKER_BYTES = 2 * _GIB
"""Main memory that a converting process may take for the interpreter and the largest tensor, whatever the shards."""


def convert_checkpoint(filesystem: FileSystem, checkpoint: StoredCheckpoint, scratch: Path) -> None:
    """Convert a checkpoint where that has not been done yet; one worker calls this.

    Args:
        scratch: a local folder for a checkpoint that lies in a bucket.

    Raises:
        TandemError: a disk has not the room.
        RuntimeError: the conversion failed, or the files changed since they were checked.
    """
    if find_conversion(filesystem, checkpoint) is not None:
        return
    _remove_leftovers(filesystem, checkpoint)
    folder = f"{_PREFIX}{uuid.uuid4().hex[:12]}"
    stored = f"{checkpoint.path}/{folder}"
    num_bytes = sum(size for size, _ in checkpoint.files.values())
    if filesystem.type_name == "local":
        check_room(Path(checkpoint.path), 2 * num_bytes)
        _run_converter(Path(checkpoint.path), Path(stored), checkpoint)
        files = {name: (path.stat().st_size, "") for name, path in _files_below(Path(stored)).items()}
    else:
        check_room(scratch, 3 * num_bytes)
        source, target = scratch / "source", scratch / folder
        problems = fetch_files(filesystem, checkpoint.path, checkpoint.files, source)
        if problems:
            raise RuntimeError(f"{checkpoint.name} changed while it was read: {'; '.join(problems[:3])}")
        _run_converter(source, target, checkpoint)
        shutil.rmtree(source)
        files = send_files(_files_below(target), filesystem, stored)
        shutil.rmtree(target)
    marker = {"folder": folder, "files": files}
    write_at_once(filesystem, f"{checkpoint.path}/{MARKER_FILE}", json.dumps(marker).encode())


def find_conversion(filesystem: FileSystem, checkpoint: StoredCheckpoint) -> tuple[str, FileList] | None:
    """The folder and the files of a finished conversion; None where there is none, or a file of it is missing."""
    try:
        with filesystem.open_input_stream(f"{checkpoint.path}/{MARKER_FILE}") as stream:
            marker = json.loads(stream.read())
    except (OSError, ArrowException, ValueError):
        return None
    folder = f"{checkpoint.path}/{marker['folder']}"
    files = {name: (int(size), str(digest)) for name, (size, digest) in marker["files"].items()}
    infos = filesystem.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
    sizes = {info.path: info.size for info in infos if info.type == FileType.File}
    is_whole = all(sizes.get(f"{folder}/{name}") == size for name, (size, _) in files.items())
    return (folder, files) if is_whole else None


def wait_for_conversion(filesystem: FileSystem, checkpoint: StoredCheckpoint) -> tuple[str, FileList]:
    """What `convert_checkpoint` of another worker leaves; waits for it, outside of any collective."""
    while (found := find_conversion(filesystem, checkpoint)) is None:
        time.sleep(_POLL_S)
    return found


def num_converters(num_cores: int, host_bytes: int, largest_file: int) -> int:
    """How many processes convert at the same time: as many as there are cores, and memory for a shard with its copy.

    Args:
        host_bytes: main memory that is free.
        largest_file: bytes of the largest file that one process loads whole.
    """
    each = max(2 * largest_file, _LEAST_WORKER_BYTES)
    return max(1, min(num_cores, host_bytes // each))


def check_room(folder: Path, num_bytes: int) -> None:
    """Raise TandemError where a disk has not this many bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise TandemError(
            f"The checkpoint cannot be loaded: it takes up to {num_bytes / _GIB:.1f} GiB below {folder}, and "
            f"{free / _GIB:.1f} GiB are free there.",
            "A checkpoint in a bucket needs room on each node for what its workers load. For another number of workers "
            "it is converted, which takes twice its size in the storage; from a bucket three times on one node.",
            "Make room, or set the environment variable TMPDIR of the workers to a larger disk; then run "
            "`tandem train --resume`.",
        )


def _run_converter(source: Path, target: Path, checkpoint: StoredCheckpoint) -> None:
    """Convert in a process of its own: the converter forks, which a process with threads and a GPU must not."""
    largest = max((size for size, _ in checkpoint.files.values()), default=0)
    number = num_converters(int(cpu_count()), available_bytes(), largest)
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "training.trainer.deepspeed_engine", str(source), str(target), str(number)],
        env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{checkpoint.name} cannot be converted: {done.stdout[-2000:]}")


def _files_below(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _remove_leftovers(filesystem: FileSystem, checkpoint: StoredCheckpoint) -> None:
    """Delete what conversions left that died; the marker first, where it names files that are gone."""
    infos = filesystem.get_file_info(FileSelector(checkpoint.path))
    if any(info.base_name == MARKER_FILE for info in infos):
        filesystem.delete_file(f"{checkpoint.path}/{MARKER_FILE}")
    for info in infos:
        if info.type == FileType.Directory and info.base_name.startswith(_PREFIX):
            filesystem.delete_dir(info.path)
