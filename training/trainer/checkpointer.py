"""One worker's checkpoints: written while the training runs, and found again after a failure.

A checkpoint is copied to main memory before the optimizer changes the weights, and from there to the storage. With
the same number of workers each loads its own files alone; for another number the checkpoint is converted once.
"""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch.distributed
from pyarrow.fs import FileSystem

from cluster.hardware import available_bytes
from training.trainer import checkpoint_store, conversion
from training.trainer.checkpoint_store import FileList, StoredCheckpoint
from training.trainer.collectives import broadcast_from_first, gather_from_all
from training.trainer.job import local_folder
from training.trainer.snapshots import Snapshot

# (local folder, name, metrics, upload(local folder, name) -> (filesystem, path), wait for the upload)
ReportCheckpoint = Callable[[Path, str, dict[str, float], Callable[[Path, str], tuple[FileSystem, str]], bool], None]

# (local folder, bytes of main memory that it may take) -> what is to be uploaded
WriteSnapshot = Callable[[Path, int], Snapshot]

_POLL_S = 0.2
_MEMORY_SHARE = 0.5
"""Part of a node's free main memory that copies of training states may take; the rest of them goes to its disk."""


@dataclass
class Checkpointer:
    """The checkpoints of one run as one worker sees them; every method must be called by all workers."""

    filesystem: FileSystem
    root: str
    run: str
    rank: int
    num_workers: int
    local_rank: int
    report: ReportCheckpoint
    num_local_workers: int = 1
    _uploaded: threading.Event = field(default_factory=threading.Event)
    _unsettled: Snapshot | None = None

    def __post_init__(self) -> None:
        self._uploaded.set()
        for leftover in self._folder().glob(f"save-{self.rank}-*"):  # of a worker that was killed
            shutil.rmtree(leftover, ignore_errors=True)

    def save(self, step: int, write: WriteSnapshot, metrics: dict[str, float], wait: bool) -> None:
        """Let `write` take the state, and have it uploaded. Waits first until the previous upload is done.

        The state must not change before `settle` has returned.
        """
        self._uploaded.wait()
        local = self._folder() / f"save-{self.rank}-{step}"
        local.mkdir(parents=True)
        snapshot = write(local, int(_MEMORY_SHARE * available_bytes() / self.num_local_workers))
        self._uploaded.clear()
        self._unsettled = snapshot

        def upload(_: Path, name: str) -> tuple[FileSystem, str]:
            try:
                snapshot.settle()
                target = f"{self.root}/{name}"
                checkpoint_store.upload_checkpoint(
                    snapshot.files(), self.filesystem, target, rank=self.rank, num_workers=self.num_workers, step=step
                )
                return self.filesystem, target
            finally:
                self._uploaded.set()

        name = broadcast_from_first(checkpoint_store.new_checkpoint_name(step))
        self.report(local, name, metrics, upload, wait)

    def settle(self) -> None:
        """Have the last state copied that was saved; no other worker is waited for."""
        if self._unsettled:
            self._unsettled.settle()
            self._unsettled = None

    def close(self) -> None:
        """Wait for uploads that still run, and delete the local files of this node."""
        self._uploaded.wait()
        torch.distributed.barrier()
        if self.local_rank == 0:
            shutil.rmtree(self._folder(), ignore_errors=True)

    def find_latest(self) -> tuple[StoredCheckpoint | None, list[str]]:
        """The latest checkpoint that can be read whole, and what is wrong with the later ones.

        From a bucket this fetches the worker's own files where the number of workers is the same.
        """
        if self.rank == 0:
            checkpoint_store.remove_unfinished(self.filesystem, self.root)
        stored = broadcast_from_first(
            checkpoint_store.list_checkpoints(self.filesystem, self.root) if self.rank == 0 else []
        )
        problems: list[str] = []
        for checkpoint in stored:
            damages = [problem for part in gather_from_all(self._read(checkpoint)) for problem in part]
            if not damages:
                return checkpoint, problems
            problems.append(f"the checkpoint {checkpoint.name} is damaged ({'; '.join(damages[:3])})")
        return None, problems

    @contextmanager
    def open_checkpoint(self, checkpoint: StoredCheckpoint) -> Iterator[Path]:
        """A local folder with what this worker loads of a checkpoint, converted where another number wrote it."""
        if checkpoint.num_workers != self.num_workers:
            yield self._open_conversion(checkpoint)
        else:
            yield Path(checkpoint.path) if self._is_local else self._fetch_folder(checkpoint.name)
        torch.distributed.barrier()
        if self.local_rank == 0:
            for folder in self._folder().glob("fetch-*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _read(self, checkpoint: StoredCheckpoint) -> list[str]:
        """Read this worker's part of a checkpoint, and keep what it loads; what is wrong with it."""
        if self._is_local or checkpoint.num_workers != self.num_workers:
            return checkpoint_store.find_damage(self.filesystem, checkpoint, self.rank, self.num_workers)
        files = checkpoint.files_of(self.rank, with_shared=self.local_rank == 0)
        return self._fetch(checkpoint.path, files, self._fetch_folder(checkpoint.name), self.num_local_workers)

    def _open_conversion(self, checkpoint: StoredCheckpoint) -> Path:
        """The folder of a converted checkpoint; a node's first worker fetches it where it lies in a bucket."""
        if self.rank == 0:
            conversion.convert_checkpoint(self.filesystem, checkpoint, self._folder() / "fetch-conversion")
        folder, files = conversion.wait_for_conversion(self.filesystem, checkpoint)
        if self._is_local:
            return Path(folder)
        # Named anew each time: what is there already is of an earlier attempt, and perhaps a part.
        target = self._fetch_folder(f"universal-{broadcast_from_first(uuid.uuid4().hex)}")
        fetched = target.with_name(f"{target.name}-done")
        if self.local_rank == 0:
            problems = self._fetch(folder, files, target, 1)
            if problems:
                with suppress(OSError):  # another node may have deleted it: the next attempt converts again
                    self.filesystem.delete_file(f"{checkpoint.path}/{conversion.MARKER_FILE}")
                raise RuntimeError(f"the converted {checkpoint.name} is damaged: {'; '.join(problems[:3])}")
            fetched.mkdir()
        while not fetched.exists():  # outside of any collective, which might time out
            time.sleep(_POLL_S)
        return target

    def _fetch(self, source: str, files: FileList, target: Path, num_fetching: int) -> list[str]:
        conversion.check_room(target, num_fetching * sum(size for size, _ in files.values()))
        return checkpoint_store.fetch_files(self.filesystem, source, files, target)

    @property
    def _is_local(self) -> bool:
        """Whether checkpoints lie in a folder that all workers see."""
        return bool(self.filesystem.type_name == "local")

    def _fetch_folder(self, name: str) -> Path:
        return self._folder() / f"fetch-{name}"

    def _folder(self) -> Path:
        return local_folder(self.run)
