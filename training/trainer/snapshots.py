"""One worker's files of a checkpoint, kept in main memory until they are uploaded.

The training waits for a copy in memory only; what does not fit the budget is written to the disk, while it waits.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.serialization import config as serialization

CHUNK_BYTES = 1 << 22


class SnapshotFile:
    """A file as `torch.save` writes it: its pieces in memory, or all of it on the disk once the budget is spent."""

    def __init__(self, path: Path, budget_bytes: int) -> None:
        self.path, self.num_bytes = path, 0
        self._budget_bytes = budget_bytes
        self._pieces: list[bytes] = []
        self._disk: Any = None

    @property
    def is_in_memory(self) -> bool:
        return self._disk is None

    def write(self, data: Any) -> int:
        """Take a piece; called by `torch.save`."""
        size = memoryview(data).nbytes
        self.num_bytes += size
        if self._disk is None and self.num_bytes > self._budget_bytes:
            self._disk = self.path.open("wb")
            self._disk.writelines(self._drain())
        if self._disk is None:
            self._pieces.append(bytes(data))
        else:
            self._disk.write(data)
        return size

    def flush(self) -> None:
        if self._disk is not None:
            self._disk.flush()

    def read_chunks(self) -> Iterator[bytes | memoryview]:
        """The content in pieces of up to 4 MiB; it can be read once, since memory is freed on the way."""
        if self._disk is not None:
            self._disk.close()
            yield from read_chunks(self.path)
            return
        for piece in self._drain():
            view = memoryview(piece)
            yield from (view[start : start + CHUNK_BYTES] for start in range(0, len(piece), CHUNK_BYTES))

    def _drain(self) -> Iterator[bytes]:
        self._pieces.reverse()
        while self._pieces:
            yield self._pieces.pop()


class Snapshot:
    """The files that one worker adds to a checkpoint, below a local folder or in memory."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        """`budget_bytes` is how much main memory the files may take."""
        self.folder = folder
        self._free_bytes = budget_bytes
        self._files: list[SnapshotFile] = []

    def save(self, state_dict: Any, path: str) -> None:
        """Keep a state as `torch.save` would write it to `path`; called by DeepSpeed in place of `torch.save`."""
        file = SnapshotFile(Path(path), self._free_bytes)
        # A checksum of each tensor takes twice as long as copying it, and each file gets a SHA-256 when it is uploaded.
        with serialization.patch("save.compute_crc32", False):
            torch.save(state_dict, file)
        file.flush()
        self._free_bytes -= file.num_bytes if file.is_in_memory else 0
        self._files.append(file)

    def files(self) -> dict[str, "SnapshotFile | Path"]:
        """Every file by its name below the folder, those that lie on the disk already among them."""
        found: dict[Path, SnapshotFile | Path] = {path: path for path in self.folder.rglob("*") if path.is_file()}
        found |= {file.path: file for file in self._files}
        return {path.relative_to(self.folder).as_posix(): found[path] for path in sorted(found)}


def read_chunks(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces of up to 4 MiB."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK_BYTES), b"")
