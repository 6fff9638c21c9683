"""What each Ray Train worker runs: the same loop on every rank, each with its share of the packs."""

import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed

from training import engine as deepspeed_engine
from training.examples import Examples
from training.job import ADAPTER, HELD_OUT_ROWS, METRICS, SUMMARY, TRAINING_ROWS, Job
from training.model import answer_losses, load_model, save_adapter, served_dtype, set_threads
from training.packing import Pack, micro_batch, plan_epoch
from training.parity import write_parity
from training.plan import deepspeed_config


class Diverged(ArithmeticError):
    """The loss is no longer a number; starting again would give the same."""


def run_worker(settings: dict[str, Any]) -> None:
    """Train to the end, from the last checkpoint if there is one; leaves adapter and summary in the run folder."""
    import ray.train
    import ray.train.torch

    job, context = Job.of(settings), ray.train.get_context()
    set_threads(context.get_local_world_size())
    worker = Worker(job, context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            worker.restore(Path(folder))
    try:
        worker.train()
        worker.finish()
    except Diverged as error:
        worker.summarise({"error": str(error)})


class Worker:
    """One rank: its engine, the rows, and its place in them (`epoch`, `step`: how many are done)."""

    def __init__(self, job: Job, rank: int, world_size: int, device: torch.device) -> None:
        self.job, self.config, self.rank, self.world_size, self.device = job, job.config, rank, world_size, device
        self.rows = Examples.load(job.folder / TRAINING_ROWS)
        self.held_out = Examples.load(job.folder / HELD_OUT_ROWS)
        model = load_model(job.model, self.config, device)
        self.dtype = served_dtype(model)
        self.engine = deepspeed_engine.open_engine(model, deepspeed_config(self.config, job.num_steps))
        self.epoch, self.step = 0, 0
        self.last: dict[str, float] = {}

    def restore(self, folder: Path) -> None:
        """Go back to where a checkpoint was written."""
        position = deepspeed_engine.load_state(self.engine, folder)
        self.epoch, self.step = position["epoch"], position["step"]

    def train(self) -> None:
        """All epochs that are left."""
        while self.epoch < self.config.epochs:
            self._train_epoch()
            self.epoch += 1
            if self.epoch < self.config.epochs and self.epoch % self.config.checkpoint_epochs == 0:
                self._checkpoint()

    def finish(self) -> None:
        """Write the adapter, log-probabilities in the served format, and the summary; the driver publishes them."""
        state = deepspeed_engine.trained_weights(self.engine)
        folder = self.job.folder / ADAPTER if self.rank == 0 else None
        if folder:
            save_adapter(self.engine.module, state, self.job.model, folder)
        if self.config.zero_stage < 3:
            self.engine.module.to(self.dtype)
        write_parity(self.engine.module.eval(), self.held_out if len(self.held_out) else self.rows, folder, self.device)
        self.summarise(self.last)

    def summarise(self, values: dict[str, Any]) -> None:
        """Leave the last word of the training for the driver."""
        if self.rank == 0:
            (self.job.folder / SUMMARY).write_text(json.dumps(values) + "\n")

    def _train_epoch(self) -> None:
        self.engine.train()
        start, loss_sum, num_answers = time.perf_counter(), 0.0, 0
        for packs in self._steps(self.rows, self.job.packs_per_step):
            began = time.perf_counter()
            loss, answers = self._train_step(packs)
            loss_sum, num_answers, self.step = loss_sum + loss * answers, num_answers + answers, self.step + 1
            self._record(epoch=self.epoch, loss=loss, tokens_per_s=self._tokens(packs) / (time.perf_counter() - began))
            if not math.isfinite(loss):
                raise Diverged(f"the loss became {loss} in step {self.step}")
        seconds = time.perf_counter() - start
        self.last = {
            "epoch": self.epoch + 1,
            "epoch_loss": loss_sum / num_answers,
            "epoch_tokens_per_s": len(self.rows.token_ids) / seconds,
            **self._held_out(),
        }
        self._record(**self.last)

    def _train_step(self, packs: list[Pack]) -> tuple[float, int]:
        """One optimizer step on the mean over all answer tokens of the global batch, however they are shared out."""
        num_answers = self._answers(packs)
        loss_sum = torch.zeros((), device=self.device)
        for pack in packs[self.rank :: self.world_size]:
            losses = answer_losses(self.engine, micro_batch(self.rows, pack).to(self.device)).sum()
            # DeepSpeed divides by the accumulation and averages over workers: undone here.
            self.engine.backward(losses * (len(packs) / num_answers))
            self.engine.step()
            loss_sum += losses.detach()
        return self._sum(loss_sum) / num_answers, num_answers

    def _held_out(self) -> dict[str, float]:
        if not len(self.held_out):
            return {}
        self.engine.eval()
        loss_sum = torch.zeros((), device=self.device)
        with torch.no_grad():
            for packs in self._steps(self.held_out, self.world_size):
                batch = micro_batch(self.held_out, packs[self.rank]).to(self.device)
                loss_sum += answer_losses(self.engine, batch).sum()
        return {"held_out_loss": self._sum(loss_sum) / int(self.held_out.is_answer.sum())}

    def _steps(self, rows: Examples, packs_per_step: int) -> Iterator[list[Pack]]:
        packs = plan_epoch(rows.lengths, self.job.capacity, packs_per_step, self.config.seed, self.epoch)
        for start in range(0, len(packs), packs_per_step):
            yield packs[start : start + packs_per_step]

    def _checkpoint(self) -> None:
        import ray.train

        with TemporaryDirectory() as folder:
            deepspeed_engine.save_state(self.engine, Path(folder), {"epoch": self.epoch, "step": self.step})
            ray.train.report(self.last, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def _record(self, **values: float) -> None:
        if self.rank == 0:
            with (self.job.folder / METRICS).open("a") as file:
                file.write(json.dumps({"step": self.step, **values}) + "\n")

    def _sum(self, value: torch.Tensor) -> float:
        torch.distributed.all_reduce(value)
        return float(value)

    def _tokens(self, packs: Iterable[Pack]) -> int:
        return sum(self.rows.lengths[row] for pack in packs for row in pack)

    def _answers(self, packs: Iterable[Pack]) -> int:
        return sum(self.rows.num_answers[row] for pack in packs for row in pack)
