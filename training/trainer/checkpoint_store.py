"""Checkpoints in storage: what each worker wrote, and whether all of it can still be read.

<checkpoints>/step-00000120-<unique>/   every worker's files, and beside them rank-<N>.json, written last: the size and
                                        SHA-256 of each file, the step, and how many workers there were

A checkpoint is listed once the lists of all its workers exist; it is used when every file matches its list.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType

_NAME = re.compile(r"step-(\d{8})-[0-9a-z]+")
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint whose workers have all written their lists: `files` are name -> (bytes, SHA-256)."""

    path: str
    step: int
    num_workers: int
    files: dict[str, tuple[int, str]]

    @property
    def name(self) -> str:
        return Path(self.path).name


def new_checkpoint_name(step: int) -> str:
    """A name that sorts by step, then by time."""
    return f"step-{step:08d}-{time.time_ns():x}"


def upload_checkpoint(
    local: Path, filesystem: FileSystem, folder: str, *, rank: int, num_workers: int, step: int
) -> None:
    """Copy one worker's files into a checkpoint's folder, and its list at the end.

    Raises:
        OSError: the storage does not take them; without the list they count for nothing.
    """
    filesystem.create_dir(folder, recursive=True)
    files = {}
    for path in sorted(path for path in local.rglob("*") if path.is_file()):
        name = path.relative_to(local).as_posix()
        filesystem.create_dir(str(Path(folder, name).parent), recursive=True)
        files[name] = _copy_file(path, filesystem, f"{folder}/{name}")
    listed = {"step": step, "num_workers": num_workers, "files": files}
    _write_at_once(filesystem, f"{folder}/rank-{rank}.json", json.dumps(listed).encode())


def list_checkpoints(filesystem: FileSystem, root: str) -> list[StoredCheckpoint]:
    """The checkpoints that every worker finished, the latest first."""
    stored = (_read_checkpoint(filesystem, path) for path in _checkpoint_folders(filesystem, root))
    return sorted(
        (checkpoint for checkpoint in stored if checkpoint), key=lambda checkpoint: checkpoint.name, reverse=True
    )


def remove_unfinished(filesystem: FileSystem, root: str) -> None:
    """Delete the folders of uploads that were interrupted."""
    for path in _checkpoint_folders(filesystem, root):
        if _read_checkpoint(filesystem, path) is None:
            filesystem.delete_dir(path)


def find_damage(filesystem: FileSystem, checkpoint: StoredCheckpoint, part: int = 0, num_parts: int = 1) -> list[str]:
    """What is wrong with a checkpoint's files, one sentence each; every `num_parts`-th file from `part` on is read."""
    names = sorted(checkpoint.files)[part::num_parts]
    return [problem for name in names if (problem := _file_problem(filesystem, checkpoint, name))]


def _checkpoint_folders(filesystem: FileSystem, root: str) -> Iterator[str]:
    infos = filesystem.get_file_info(FileSelector(root, allow_not_found=True))
    return (info.path for info in infos if info.type == FileType.Directory and _NAME.fullmatch(info.base_name))


def _read_checkpoint(filesystem: FileSystem, path: str) -> StoredCheckpoint | None:
    """The checkpoint in a folder, or None where a list is missing or cut off."""
    lists: list[dict[str, Any]] = []
    while not lists or len(lists) < lists[0]["num_workers"]:
        try:
            with filesystem.open_input_stream(f"{path}/rank-{len(lists)}.json") as stream:
                lists.append(json.loads(stream.read()))
        except (OSError, ArrowException, ValueError):
            return None
    files = {name: tuple(facts) for part in lists for name, facts in part["files"].items()}
    return StoredCheckpoint(path, lists[0]["step"], lists[0]["num_workers"], files)


def _file_problem(filesystem: FileSystem, checkpoint: StoredCheckpoint, name: str) -> str | None:
    size, digest = checkpoint.files[name]
    info = filesystem.get_file_info(f"{checkpoint.path}/{name}")
    if info.type == FileType.NotFound:
        return f"{name} is missing"
    if info.size != size:
        return f"{name} has {info.size} of {size} bytes"
    try:
        with filesystem.open_input_stream(info.path) as stream:
            digest_read = hashlib.sha256()
            for chunk in _read_chunks(stream):
                digest_read.update(chunk)
    except OSError as error:
        return f"{name} cannot be read ({error})"
    return None if digest_read.hexdigest() == digest else f"{name} has other content than was written"


def _write_at_once(filesystem: FileSystem, target: str, content: bytes) -> None:
    """In a store an object appears whole when its stream is closed; pyarrow cannot even move one on Azure."""
    is_local = filesystem.type_name == "local"
    written = str(Path(target).with_name(f".{Path(target).name}")) if is_local else target
    with filesystem.open_output_stream(written) as stream:
        stream.write(content)
    if is_local:
        filesystem.move(written, target)


def _copy_file(source: Path, filesystem: FileSystem, target: str) -> tuple[int, str]:
    """Copy a file; its size and SHA-256."""
    digest = hashlib.sha256()
    with source.open("rb") as file, filesystem.open_output_stream(target) as stream:
        for chunk in _read_chunks(file):
            digest.update(chunk)
            stream.write(chunk)
    return source.stat().st_size, digest.hexdigest()


def _read_chunks(file: Any) -> Iterable[bytes]:
    return iter(lambda: file.read(_CHUNK_BYTES), b"")
