"""One worker's checkpoints: written while the training runs, and found again after a failure.

A checkpoint is saved to a local folder while the training waits, and copied to storage while the training continues.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed
from pyarrow.fs import FileSystem, copy_files

from training.trainer import checkpoint_store
from training.trainer.deepspeed_engine import convert_to_universal
from training.trainer.job import local_folder

# (local folder, name, metrics, upload(local folder, name) -> (filesystem, path), wait for the upload)
ReportCheckpoint = Callable[[Path, str, dict[str, float], Callable[[Path, str], tuple[FileSystem, str]], bool], None]


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
    _uploaded: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._uploaded.set()
        for leftover in self._folder().glob(f"save-{self.rank}-*"):  # of a worker that was killed
            shutil.rmtree(leftover, ignore_errors=True)

    def save(self, step: int, write: Callable[[Path], None], metrics: dict[str, float], wait: bool) -> None:
        """Let `write` fill a local folder, and have it uploaded. Waits first until the previous upload is done."""
        self._uploaded.wait()
        local = self._folder() / f"save-{self.rank}-{step}"
        local.mkdir(parents=True)
        write(local)
        self._uploaded.clear()

        def upload(local: Path, name: str) -> tuple[FileSystem, str]:
            try:
                target = f"{self.root}/{name}"
                checkpoint_store.upload_checkpoint(
                    local, self.filesystem, target, rank=self.rank, num_workers=self.num_workers, step=step
                )
                return self.filesystem, target
            finally:
                self._uploaded.set()

        name = self._broadcast_from_first(checkpoint_store.new_checkpoint_name(step))
        self.report(local, name, metrics, upload, wait)

    def close(self) -> None:
        """Wait for uploads that still run, and delete the local files of this node."""
        self._uploaded.wait()
        torch.distributed.barrier()
        if self.local_rank == 0:
            shutil.rmtree(self._folder(), ignore_errors=True)

    def find_latest(self) -> tuple[checkpoint_store.StoredCheckpoint | None, list[str]]:
        """The latest checkpoint that can be read whole, and what is wrong with the later ones."""
        if self.rank == 0:
            checkpoint_store.remove_unfinished(self.filesystem, self.root)
        stored = self._broadcast_from_first(
            checkpoint_store.list_checkpoints(self.filesystem, self.root) if self.rank == 0 else []
        )
        problems: list[str] = []
        for checkpoint in stored:
            parts = self._gather_from_all(
                checkpoint_store.find_damage(self.filesystem, checkpoint, self.rank, self.num_workers)
            )
            damages = [problem for part in parts for problem in part]
            if not damages:
                return checkpoint, problems
            problems.append(f"the checkpoint {checkpoint.name} is damaged ({'; '.join(damages[:3])})")
        return None, problems

    @contextmanager
    def open_checkpoint(self, checkpoint: checkpoint_store.StoredCheckpoint) -> Iterator[Path]:
        """A local folder with a checkpoint, converted where another number of workers wrote it."""
        local = Path(checkpoint.path)
        if not local.is_dir():
            local = self._once_per_node("fetch", lambda target: self._fetch(checkpoint, target))
        if checkpoint.num_workers != self.num_workers:
            source = local
            local = self._once_per_node("convert", lambda target: convert_to_universal(source, target))
        yield local
        torch.distributed.barrier()
        if self.local_rank == 0:
            for purpose in ("fetch", "convert"):
                shutil.rmtree(self._folder_for(purpose), ignore_errors=True)

    def _once_per_node(self, purpose: str, fill: Callable[[Path], None]) -> Path:
        target = self._folder_for(purpose)
        if self.local_rank == 0:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            fill(target)
        torch.distributed.barrier()
        return target

    def _fetch(self, checkpoint: checkpoint_store.StoredCheckpoint, target: Path) -> None:
        copy_files(checkpoint.path, str(target), source_filesystem=self.filesystem)

    def _folder_for(self, purpose: str) -> Path:
        return self._folder() / purpose

    def _folder(self) -> Path:
        return local_folder(self.run)

    def _broadcast_from_first(self, value: Any) -> Any:
        values = [value]
        torch.distributed.broadcast_object_list(values)
        return values[0]

    def _gather_from_all(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.num_workers
        torch.distributed.all_gather_object(values, value)
        return values
