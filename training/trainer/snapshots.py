"""One worker's files of a checkpoint, kept in main memory until they are uploaded.

Tensors in main memory are copied while the next step computes its gradients, since only the optimizer changes them, and
the training waits for what is left of that (`Snapshot.settle`). What does not fit the budget goes to the disk at once.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.serialization import config as serialization

CHUNK_BYTES = 1 << 22


class SnapshotFile:
    """A file as `torch.save` writes it: its pieces in memory, or all of it on the disk once the budget is spent."""

    def __init__(self, path: Path, budget_bytes: int, tensors: "dict[int, torch.Tensor] | None" = None) -> None:
        """`tensors` are those in main memory that `torch.save` will write, by address: they are copied by `settle`."""
        self.path, self.num_bytes = path, 0
        self._budget_bytes = budget_bytes
        self._tensors = tensors or {}
        self._pieces: list[bytes | memoryview | torch.Tensor] = []
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
            self._pieces.append(self._keep(data, size))
        else:
            self._disk.write(data)
        return size

    def _keep(self, data: Any, size: int) -> "bytes | torch.Tensor":
        """A copy of a piece, or the tensor that it is all of."""
        if self._tensors and size:
            tensor = self._tensors.get(np.frombuffer(data, np.uint8).ctypes.data)
            if tensor is not None and tensor.nbytes == size:
                return tensor
        return bytes(data)

    def settle(self) -> None:
        """Copy the tensors that are not copied yet; they may change afterwards."""
        for place, piece in enumerate(self._pieces):
            if isinstance(piece, torch.Tensor):
                self._pieces[place] = _bytes_of(piece.clone())  # which lets other threads run, as bytes() does not
        self._tensors = {}

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

    def _drain(self) -> "Iterator[bytes | memoryview]":
        self._pieces.reverse()
        while self._pieces:
            piece = self._pieces.pop()
            yield _bytes_of(piece) if isinstance(piece, torch.Tensor) else piece


class Snapshot:
    """The files that one worker adds to a checkpoint, below a local folder or in memory."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        """`budget_bytes` is how much main memory the files may take."""
        self.folder = folder
        self._free_bytes = budget_bytes
        self._files: list[SnapshotFile] = []
        self._settling = threading.Lock()

    def save(self, state_dict: Any, path: str) -> None:
        """Keep a state as `torch.save` would write it to `path`; called by DeepSpeed in place of `torch.save`."""
        file = SnapshotFile(Path(path), self._free_bytes, {each.data_ptr(): each for each in _cpu_storages(state_dict)})
        # A checksum of each tensor takes twice as long as copying it, and each file gets a SHA-256 when it is uploaded.
        with serialization.patch("save.compute_crc32", False):
            torch.save(state_dict, file)
        file.flush()
        self._free_bytes -= file.num_bytes if file.is_in_memory else 0
        self._files.append(file)

    def settle(self) -> None:
        """Copy what is not copied yet. Call it before the optimizer's step: until then the state is as it was saved."""
        with self._settling:
            for file in self._files:
                file.settle()

    def files(self) -> dict[str, "SnapshotFile | Path"]:
        """Every file by its name below the folder, those that lie on the disk already among them."""
        found: dict[Path, SnapshotFile | Path] = {path: path for path in self.folder.rglob("*") if path.is_file()}
        found |= {file.path: file for file in self._files}
        return {path.relative_to(self.folder).as_posix(): found[path] for path in sorted(found)}


def read_chunks(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces of up to 4 MiB."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK_BYTES), b"")


def _cpu_storages(state: Any) -> Iterator[torch.Tensor]:
    """The memory of each tensor of a state that lies in main memory, as bytes."""
    if isinstance(state, torch.Tensor):
        storage = state.untyped_storage()
        if state.device.type == "cpu" and storage.nbytes():
            yield torch.empty(0, dtype=torch.uint8).set_(storage)
    elif isinstance(state, dict):
        for value in state.values():
            yield from _cpu_storages(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _cpu_storages(value)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.numpy())
