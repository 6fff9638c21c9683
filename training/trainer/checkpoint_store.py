"""Checkpoints in storage: what each worker wrote, and whether all of it can still be read.

<checkpoints>/step-00000120-<unique>/   every worker's files, and beside them rank-<N>.json, written last: the size and
                                        SHA-256 of each file, the step, and how many workers there were

A checkpoint is listed once the lists of all its workers exist; it is used when every file matches its list. Files are
sent and fetched several at a time.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType

from training.trainer.snapshots import CHUNK_BYTES, SnapshotFile, read_chunks

FileList = dict[str, tuple[int, str]]
"""Name -> (bytes, SHA-256)."""

T = TypeVar("T")
_NAME = re.compile(r"step-(\d{8})-[0-9a-z]+")
_NUM_TRANSFERS = 4
"""Files that one worker sends or fetches at the same time."""

_MODEL_STATE = "mp_rank_"
"""How DeepSpeed begins the name of the file that the first worker writes for all of them, below ZeRO-3."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint whose workers have all written their lists: `rank_files` has that of each worker, by rank."""

    path: str
    step: int
    rank_files: tuple[FileList, ...]

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def num_workers(self) -> int:
        return len(self.rank_files)

    @property
    def files(self) -> FileList:
        """The files of all workers."""
        return {name: facts for files in self.rank_files for name, facts in files.items()}

    def files_of(self, rank: int, with_shared: bool = True) -> FileList:
        """What one of as many workers loads: its own files, and the one that the first worker wrote for all of them.

        Args:
            with_shared: with that one; a node fetches it once for all its workers.
        """
        own = self.rank_files[rank].items()
        shared = self.rank_files[0].items() if with_shared else ()
        return {
            **{name: facts for name, facts in shared if _is_shared(name)},
            **{name: facts for name, facts in own if not _is_shared(name)},
        }


def new_checkpoint_name(step: int) -> str:
    """A name that sorts by step, then by time."""
    return f"step-{step:08d}-{time.time_ns():x}"


def upload_checkpoint(
    files: Mapping[str, SnapshotFile | Path],
    filesystem: FileSystem,
    folder: str,
    *,
    rank: int,
    num_workers: int,
    step: int,
) -> None:
    """Copy one worker's files into a checkpoint's folder, and its list at the end.

    Raises:
        OSError: the storage does not take them; without the list they count for nothing.
    """
    listed = {"step": step, "num_workers": num_workers, "files": send_files(files, filesystem, folder)}
    write_at_once(filesystem, f"{folder}/rank-{rank}.json", json.dumps(listed).encode())


def send_files(files: Mapping[str, SnapshotFile | Path], filesystem: FileSystem, folder: str) -> FileList:
    """Copy files into a folder of the storage; their sizes and digests."""
    for parent in sorted({str(Path(folder, name).parent) for name in files} | {folder}):
        filesystem.create_dir(parent, recursive=True)

    def send(name: str) -> tuple[int, str]:
        return _send_file(files[name], filesystem, f"{folder}/{name}")

    return dict(zip(files, _in_parallel(send, files), strict=True))


def fetch_files(filesystem: FileSystem, folder: str, files: FileList, target: Path) -> list[str]:
    """Copy files of the storage to a local folder; what is wrong with them, one sentence each."""
    for parent in {(target / name).parent for name in files}:
        parent.mkdir(parents=True, exist_ok=True)

    def fetch(name: str) -> str | None:
        return _file_problem(filesystem, f"{folder}/{name}", name, files[name], target / name)

    return [problem for problem in _in_parallel(fetch, files) if problem]


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
    files = checkpoint.files

    def read(name: str) -> str | None:
        return _file_problem(filesystem, f"{checkpoint.path}/{name}", name, files[name])

    return [problem for problem in _in_parallel(read, sorted(files)[part::num_parts]) if problem]


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
    files = ({name: (facts[0], facts[1]) for name, facts in part["files"].items()} for part in lists)
    return StoredCheckpoint(path, lists[0]["step"], tuple(files))


def _is_shared(name: str) -> bool:
    return Path(name).name.startswith(_MODEL_STATE)


def _in_parallel(do: Callable[[str], T], names: Iterable[str]) -> list[T]:
    with ThreadPoolExecutor(_NUM_TRANSFERS) as threads:
        return list(threads.map(do, names))


def _file_problem(
    filesystem: FileSystem, path: str, name: str, facts: tuple[int, str], target: Path | None = None
) -> str | None:
    """Read a file to its end, into `target` where one is given; what is wrong with it."""
    size, digest = facts
    info = filesystem.get_file_info(path)
    if info.type == FileType.NotFound:
        return f"{name} is missing"
    if info.size != size:
        return f"{name} has {info.size} of {size} bytes"
    digest_read = hashlib.sha256()
    # A local file's own errors, such as a full disk, are not the storage's.
    with target.open("wb") if target else nullcontext() as copy:
        for chunk in _read_stored(filesystem, path):
            if isinstance(chunk, OSError):
                return f"{name} cannot be read ({chunk})"
            digest_read.update(chunk)
            if copy:
                copy.write(chunk)
    return None if digest_read.hexdigest() == digest else f"{name} has other content than was written"


def _read_stored(filesystem: FileSystem, path: str) -> Iterator[bytes | OSError]:
    """A stored file in pieces; an error of the storage as the last of them."""
    try:
        with filesystem.open_input_stream(path) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        yield error


def write_at_once(filesystem: FileSystem, target: str, content: bytes) -> None:
    """Write a file that readers see whole or not at all.

    In a store an object appears whole when its stream is closed; pyarrow cannot even move one on Azure.
    """
    is_local = filesystem.type_name == "local"
    written = str(Path(target).with_name(f".{Path(target).name}")) if is_local else target
    with filesystem.open_output_stream(written) as stream:
        stream.write(content)
    if is_local:
        filesystem.move(written, target)


def _send_file(source: SnapshotFile | Path, filesystem: FileSystem, target: str) -> tuple[int, str]:
    """Copy a file into the storage; its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with filesystem.open_output_stream(target) as stream:
        for chunk in source.read_chunks() if isinstance(source, SnapshotFile) else read_chunks(source):
            digest.update(chunk)
            stream.write(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
