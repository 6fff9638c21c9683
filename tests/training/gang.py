"""Real worker processes over gloo, without Ray: quick to start, and to be killed at a chosen place.

The processes are forked from one that has imported everything. As under Ray Train, the death of one ends them all.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from pyarrow.fs import FileSystem, LocalFileSystem

import training.trainer.checkpoint_store
from training.data.packing import Pack
from training.plan.placement import ON_CPU, worker_environment
from training.trainer.checkpointer import Checkpointer
from training.trainer.deepspeed_engine import _import_deepspeed
from training.trainer.job import TrainingJob
from training.trainer.loop import TrainingLoop
from training.trainer.metrics import read_metrics

ROWS = "rows.jsonl"
FROZEN = "frozen.jsonl"


@dataclass(frozen=True)
class Death:
    """Where a rank kills itself: `when` is step, save or upload; `step` how many steps are done by then."""

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

    def _checkpoint(self) -> None:
        if self.death and self.death.when == "upload" and self.death.step == self.position.step:
            copy = training.trainer.checkpoint_store._copy_file

            def copy_half(source: Path, filesystem: FileSystem, target: str) -> tuple[int, str]:
                half = source.with_suffix(".half")
                half.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
                copy(half, filesystem, target)
                self.die("upload", self.position.step)
                return copy(source, filesystem, target)

            training.trainer.checkpoint_store._copy_file = copy_half
        super()._checkpoint()
        self.die("save", self.position.step)

    def die(self, when: str, step: int) -> None:
        if self.death and (self.death.when, self.death.step, self.death.rank) == (when, step, self.rank):
            os.kill(os.getpid(), signal.SIGKILL)


def run(job: TrainingJob, num_workers: int, death: Death | None = None, root: Path | None = None) -> bool:
    """Train until the end or a death; whether it was the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.gang"])
    store = job.folder / f"store-{time.time_ns()}"
    arguments = (job, num_workers, death, root or job.folder / "checkpoints", store)
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


def work(rank: int, job: TrainingJob, num_workers: int, death: Death | None, root: Path, store: Path) -> None:
    os.environ.update(worker_environment(ON_CPU))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(num_workers))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=num_workers)
    checkpoints = Checkpointer(LocalFileSystem(), str(root), job.folder.name, rank, num_workers, rank, report)
    loop = WatchedLoop(job, rank, num_workers, torch.device("cpu"), checkpoints)
    loop.death = death
    append(job.folder / FROZEN, {"sha256": frozen_digest(loop.engine)})
    loop.train()
    loop.finish()
    append(job.folder / FROZEN, {"sha256": frozen_digest(loop.engine)})
    torch.distributed.barrier()


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


def frozen_digests(job: TrainingJob) -> set[str]:
    return {json.loads(line)["sha256"] for line in (job.folder / FROZEN).read_text().splitlines()}


def append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ != "__main__":
    _import_deepspeed()
