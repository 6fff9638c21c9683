"""The training loop as a worker runs it, in this process alone: no Ray, and without DeepSpeed a plain optimizer.

Everything but the engine, the recorder and the report of a checkpoint is what `tandem train` runs.
"""

import gc
import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed
from torch.optim.lr_scheduler import LambdaLR

from training.config import TrainingConfig
from training.data.examples import Examples
from training.plan.placement import ON_CPU, Placement, worker_environment
from training.trainer import deepspeed_engine
from training.trainer.job import HELD_OUT_ROWS_FILE, TRAINING_ROWS_FILE, TrainingJob
from training.trainer.loop import TrainingLoop

WARM_UP = 2


PLAIN = "torch AdamW without DeepSpeed"
PLAIN_VARIABLE = "TANDEM_PLAIN_ENGINE"
"""Set: the plain engine is taken although DeepSpeed is installed."""


def engine_name() -> str:
    """What takes the optimizer's steps here."""
    is_installed = importlib.util.find_spec("deepspeed") is not None
    return "DeepSpeed" if is_installed and PLAIN_VARIABLE not in os.environ else PLAIN


class PlainEngine(torch.nn.Module):
    """What the loop asks of a DeepSpeed engine, by torch's AdamW on fp32 copies of the trained weights.

    One rank, nothing shared out: ZeRO-0.
    """

    def __init__(self, model: Any, config: dict[str, Any], schedule: Callable[[int], float]) -> None:
        super().__init__()
        self.module, self.checkpoint_engine = model, TorchFiles()
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._masters = [parameter.detach().float().clone().requires_grad_() for parameter in self._trained]
        wanted = config["optimizer"]["params"]
        self._optimizer = torch.optim.AdamW(
            self._masters, lr=wanted["lr"], weight_decay=wanted["weight_decay"],
            fused=self._trained[0].device.type == "cuda",
        )  # fmt: skip
        self._scheduler = LambdaLR(self._optimizer, schedule)
        self._clip, self._accumulation = config["gradient_clipping"], config["gradient_accumulation_steps"]
        self._passes, self._norm = 0, 0.0

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return self.module(*arguments, **named)

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self._accumulation).backward()

    def step(self) -> None:
        self._passes += 1
        if self._passes % self._accumulation:
            return
        for master, parameter in zip(self._masters, self._trained, strict=True):
            master.grad = torch.zeros_like(master) if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        self._norm = float(torch.nn.utils.clip_grad_norm_(self._masters, self._clip))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._scheduler.step()
        with torch.no_grad():
            for master, parameter in zip(self._masters, self._trained, strict=True):
                parameter.copy_(master)

    def get_lr(self) -> list[float]:
        return [group["lr"] for group in self._optimizer.param_groups]

    def get_global_grad_norm(self) -> float:
        return self._norm

    def zero_optimization_stage(self) -> int:
        return 0

    def save_checkpoint(self, folder: str, tag: str, client_state: dict[str, Any], **_: Any) -> None:
        Path(folder, tag).mkdir(parents=True, exist_ok=True)
        state = {
            "masters": self._masters, "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(), "client": client_state,
        }  # fmt: skip
        self.checkpoint_engine.save(state, str(Path(folder, tag, "rank-0.pt")))

    def load_checkpoint(self, folder: str, tag: str, **_: Any) -> tuple[str, dict[str, Any]]:
        path = Path(folder, tag, "rank-0.pt")
        state = torch.load(path, map_location=self._masters[0].device, weights_only=True)
        with torch.no_grad():
            for master, parameter, saved in zip(self._masters, self._trained, state["masters"], strict=True):
                parameter.copy_(master.copy_(saved))
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        return str(path), state["client"]

    def destroy(self) -> None:
        self._masters, self._optimizer = [], None


class TorchFiles:
    """DeepSpeed's checkpoint engine, whose method is replaced where files are kept elsewhere."""

    def save(self, state: Any, path: str) -> None:
        torch.save(state, path)


class MemoryRecorder:
    """The recorder of a run as a list of values."""

    mlflow_run = None

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def record_step(self, step: int, values: dict[str, float]) -> None:
        self.lines.append({"step": step, **values})

    def record_note(self, step: int, text: str) -> None:
        self.lines.append({"step": step, "note": text})

    def close(self) -> None:
        """Nothing is open."""


class CoreLoop(TrainingLoop):
    """The loop with a recorder that keeps its values, and a limit on its steps."""

    def _open_recorder(self, *_: Any) -> Any:
        self.kept = MemoryRecorder()
        return self.kept


@dataclass
class LoopRun:
    """What a training did: its steps' values, its peaks in bytes (0 on a CPU), and the open loop."""

    loop: CoreLoop
    load_s: float
    peak_allocated: int = 0
    peak_reserved: int = 0
    outside_torch: int = 0
    """Bytes of the GPU that torch's allocator does not count: the context, libraries, and other processes."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def losses(self) -> dict[int, float]:
        return {line["step"]: line["loss"] for line in self.lines if "loss" in line}

    @property
    def tokens_per_s(self) -> float:
        """Useful tokens per second from the end of the warm-up to the last step, what is done between them included."""
        steps = [line for line in self.lines if "tokens_per_s" in line]
        counted = steps[WARM_UP:]
        return float(sum(line["tokens"] for line in counted) / (steps[-1]["time"] - steps[WARM_UP - 1]["time"]))

    @property
    def mfu(self) -> float | None:
        shares = [line["mfu"] for line in self.lines[WARM_UP:] if "mfu" in line]
        return median(shares) if shares else None


def write_job(
    folder: Path, model: Path, config: TrainingConfig, rows: Examples, num_steps: int, device: torch.device
) -> TrainingJob:
    """A run folder with its rows; no row is held out."""
    folder.mkdir(parents=True)
    rows.save(folder / TRAINING_ROWS_FILE)
    Examples.from_sequences([], rows.sequences_per_row).save(folder / HELD_OUT_ROWS_FILE)
    placement = Placement("gpu", gpus_per_worker=1, workers_per_node=1) if device.type == "cuda" else ON_CPU
    return TrainingJob(config, str(model), folder, num_steps, placement=placement)


@contextmanager
def train(job: TrainingJob, device: torch.device) -> Iterator[LoopRun]:
    """A loop that has been trained to its end, from the last checkpoint in its folder where there is one.

    The device's memory is free again afterwards.
    """
    if engine_name() == PLAIN:
        deepspeed_engine.open_engine = PlainEngine
    os.environ.update(worker_environment(job.placement))
    open_process_group(device, job.folder.parents[1])
    free_memory(device)
    began = time.perf_counter()
    loop = CoreLoop(job, 0, 1, device, local_checkpoints(job))
    run = LoopRun(loop, time.perf_counter() - began)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    loop.train()
    run.lines = loop.kept.lines
    if device.type == "cuda":
        run.peak_allocated, run.peak_reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        free, total = torch.cuda.mem_get_info()
        run.outside_torch = total - free - torch.cuda.memory_reserved()
    try:
        yield run
    finally:
        loop.engine.destroy()
        del loop.engine, run.loop, loop
        free_memory(device)


def local_checkpoints(job: TrainingJob) -> Any:
    """The checkpoints of a run in its own folder, each copied there before the training continues."""
    from pyarrow.fs import LocalFileSystem

    from training.trainer.checkpointer import Checkpointer

    def report(local: Path, name: str, metrics: dict[str, float], upload: Callable[..., Any], wait: bool) -> None:
        upload(local, name)
        shutil.rmtree(local)

    root = job.folder / "checkpoints"
    root.mkdir(exist_ok=True)
    return Checkpointer(LocalFileSystem(), str(root), job.folder.name, 0, 1, 0, report)


def open_process_group(device: torch.device, folder: Path) -> None:
    """A process group of this process alone, as Ray Train opens it for its workers."""
    if torch.distributed.is_initialized():
        return
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    if device.type == "cuda":
        torch.cuda.set_device(0)
    store = folder / f"store-{os.getpid()}"
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, f"file://{store}", rank=0, world_size=1)


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
