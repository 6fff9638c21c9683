"""Real worker processes over gloo, without Ray: quick to start, and to be killed at a chosen place.

The processes are forked from one that has imported everything. As under Ray Train, the death of one ends them all.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

import training.trainer.checkpoint_store
import training.trainer.conversion
from training.data.packing import Pack
from training.plan.placement import ON_CPU, worker_environment
from training.trainer.checkpointer import Checkpointer
from training.trainer.deepspeed_engine import _import_deepspeed
from training.trainer.job import HELD_OUT_ROWS_FILE, TRAINING_ROWS_FILE, TrainingJob
from training.trainer.loop import TrainingLoop
from training.trainer.metrics import read_metrics
from training.trainer.snapshots import SnapshotFile, read_chunks

ROWS = "rows.jsonl"
FROZEN = "frozen.jsonl"
READS = "reads.jsonl"
CONVERSIONS = "conversions.jsonl"
FINISHED = "finished.jsonl"
"""What the first rank's loop gave back at its end."""


@dataclass(frozen=True)
class Place:
    """Where a gang works: how many ranks share a node, and whether checkpoints lie where only copies can be had.

    Each node has its own temporary folder. With `own_folders` each rank has its own copy of the run folder, as it has
    where the storage is a bucket.
    """

    ranks_per_node: int = 8
    is_remote: bool = False
    own_folders: bool = False


@dataclass(frozen=True)
class Death:
    """Where a rank kills itself: `when` is step, save, upload, publish or convert; `step` how many steps are done."""

    when: str
    step: int
    rank: int = 0


class WatchedLoop(TrainingLoop):
    """Writes down which rows a rank took and what its frozen weights are, and dies where it is told to."""

    death: Death | None = None

    def _train_step(self, step: int, packs: list[Pack]) -> tuple[float, int]:
        result = super()._train_step(step, packs)
        rows = [row for pack in packs[self.rank :: self.num_workers] for row in pack]
        append(self.job.folder / ROWS, {"step": step, "rank": self.rank, "workers": self.num_workers, "rows": rows})
        return result

    def _after_step(self, step: int) -> None:
        self.die("step", step + 1)
        super()._after_step(step)

    def _checkpoint(self, wait: bool = False) -> None:
        if self.death and self.death.when == "upload" and self.death.step == self.position.step:
            send = training.trainer.checkpoint_store._send_file

            def send_half(source: SnapshotFile | Path, filesystem: FileSystem, target: str) -> tuple[int, str]:
                chunks = source.read_chunks() if isinstance(source, SnapshotFile) else read_chunks(source)
                content = b"".join(bytes(chunk) for chunk in chunks)
                with filesystem.open_output_stream(target) as stream:
                    stream.write(content[: len(content) // 2])
                self.die("upload", self.position.step)
                whole = SnapshotFile(Path(target).with_suffix(".whole"), len(content))
                whole.write(content)
                return send(whole, filesystem, target)

            training.trainer.checkpoint_store._send_file = send_half
        super()._checkpoint(wait)
        self.die("save", self.position.step)

    def _write_adapter(self, *arguments: Any) -> None:
        super()._write_adapter(*arguments)
        self.die("publish", self.position.step)

    def die(self, when: str, step: int) -> None:
        if self.death and (self.death.when, self.death.step, self.death.rank) == (when, step, self.rank):
            os.kill(os.getpid(), signal.SIGKILL)


def run(job: TrainingJob, num_workers: int, death: Death | None = None, place: Place = Place()) -> bool:
    """Train until the end, a death or an error; whether it was the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.gang"])
    store = job.folder / f"store-{time.time_ns()}"
    arguments = (job, num_workers, death, place, store)
    ranks = [context.Process(target=work, args=(rank, *arguments)) for rank in range(num_workers)]
    for rank in ranks:
        rank.start()
    try:
        while any(rank.is_alive() for rank in ranks) and all(rank.exitcode in (None, 0) for rank in ranks):
            time.sleep(0.02)
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()
    return all(rank.exitcode == 0 for rank in ranks)


def work(rank: int, job: TrainingJob, num_workers: int, death: Death | None, place: Place, store: Path) -> None:
    node, local_rank = divmod(rank, place.ranks_per_node)
    os.environ.update(worker_environment(ON_CPU))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(local_rank), WORLD_SIZE=str(num_workers))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=num_workers)
    shared, root, filesystem = job.folder, str(job.folder / "checkpoints"), LocalFileSystem()
    if place.is_remote:
        # Not a local file system to anyone who asks its type.
        root, filesystem = "checkpoints", SubTreeFileSystem(str(job.folder), LocalFileSystem())
        tempfile.tempdir = str(job.folder / f"node-{node}")
    if place.own_folders and rank:
        job = replace(job, folder=own_folder(job, rank))
    watch_reads(shared, rank, death)
    local_workers = min(place.ranks_per_node, num_workers - node * place.ranks_per_node)
    checkpoints = Checkpointer(
        filesystem, root, job.folder.name, rank, num_workers, local_rank, report, local_workers
    )  # fmt: skip
    loop = WatchedLoop(job, rank, num_workers, torch.device("cpu"), checkpoints)
    loop.death = death
    append(shared / FROZEN, {"sha256": frozen_digest(loop.engine)})
    loop.train()
    figures = loop.finish()
    if rank == 0:
        append(shared / FINISHED, figures)
    append(shared / FROZEN, {"sha256": frozen_digest(loop.engine)})
    torch.distributed.barrier()


def own_folder(job: TrainingJob, rank: int) -> Path:
    """A rank's copy of what a run folder has before the training."""
    folder = job.folder / f"copy-{rank}" / job.folder.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in (TRAINING_ROWS_FILE, HELD_OUT_ROWS_FILE):
        shutil.copy(job.folder / name, folder / name)
    return folder


def watch_reads(folder: Path, rank: int, death: Death | None) -> None:
    """Write down what a rank reads of stored checkpoints, and when it converts one."""
    read, convert = training.trainer.checkpoint_store._read_stored, training.trainer.conversion._run_converter

    def read_and_note(filesystem: FileSystem, path: str) -> Iterator[bytes | OSError]:
        num_bytes = 0
        for chunk in read(filesystem, path):
            num_bytes += 0 if isinstance(chunk, OSError) else len(chunk)
            yield chunk
        append(folder / READS, {"rank": rank, "path": path, "bytes": num_bytes})

    def convert_and_note(*arguments: Any) -> None:
        convert(*arguments)
        append(folder / CONVERSIONS, {"rank": rank})
        if death and death.when == "convert":
            os.kill(os.getpid(), signal.SIGKILL)

    training.trainer.checkpoint_store._read_stored = read_and_note
    training.trainer.conversion._run_converter = convert_and_note


def report(local: Path, name: str, metrics: dict[str, float], upload: Callable[..., Any], wait: bool) -> None:
    upload(local, name)
    shutil.rmtree(local)


def frozen_digest(engine: Any) -> str:
    """SHA-256 of the weights that are not trained, whole."""
    frozen = [parameter for parameter in engine.module.parameters() if not parameter.requires_grad]
    digest = hashlib.sha256()
    with _import_deepspeed().zero.GatheredParameters(frozen, enabled=engine.zero_optimization_stage() == 3):
        for parameter in frozen:
            digest.update(parameter.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def losses(job: TrainingJob) -> dict[int, float]:
    """The loss of each step; of one that was done again, the last."""
    return {line["step"]: line["loss"] for line in read_metrics(job.folder / "metrics.jsonl") if "loss" in line}


def notes(job: TrainingJob) -> list[str]:
    lines = map(json.loads, (job.folder / "metrics.jsonl").read_text().splitlines())
    return [line["note"] for line in lines if "note" in line]


def rows_taken(job: TrainingJob) -> list[int]:
    """Every row as often as it was taken, of steps that were done again only the last time counted."""
    steps: dict[int, dict[int, list[int]]] = {}
    workers: dict[int, int] = {}
    for line in map(json.loads, (job.folder / ROWS).read_text().splitlines()):
        if line["rank"] in steps.get(line["step"], {}) or workers.get(line["step"]) != line["workers"]:
            steps[line["step"]] = {}
        workers[line["step"]] = line["workers"]
        steps[line["step"]][line["rank"]] = line["rows"]
    return sorted(row for ranks in steps.values() for rows in ranks.values() for row in rows)


def lines_of(job: TrainingJob, name: str) -> list[dict[str, Any]]:
    """What the ranks wrote down in a file of the run folder."""
    path = job.folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def num_steps_done(job: TrainingJob) -> int:
    """Steps, with those that were done again."""
    return sum("loss" in line for line in lines_of(job, "metrics.jsonl"))


def frozen_digests(job: TrainingJob) -> set[str]:
    return {json.loads(line)["sha256"] for line in (job.folder / FROZEN).read_text().splitlines()}


def append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ != "__main__":
    _import_deepspeed()
