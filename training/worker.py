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

from cluster.errors import TandemError
from training import engine as deepspeed_engine
from training.examples import Examples
from training.job import ADAPTER, HELD_OUT_ROWS, METRICS, SUMMARY, TRAINING_ROWS, Job
from training.model import answer_losses, load_model, set_threads
from training.objective import objective_of
from training.packing import Pack, micro_batch, plan_epoch
from training.parity import write_parity
from training.plan import deepspeed_config
from training.save import save_adapter, served_dtype


def run_worker(settings: dict[str, Any]) -> None:
    """Train to the end, from the last checkpoint if there is one; leaves adapter and summary in the run folder."""
    import ray.train
    import ray.train.torch

    job, context = Job.of(settings), ray.train.get_context()
    set_threads(context.get_local_world_size())
    rank = context.get_world_rank()
    try:
        worker = Worker(job, rank, context.get_world_size(), ray.train.torch.get_device())
        if checkpoint := ray.train.get_checkpoint():
            with checkpoint.as_directory() as folder:
                worker.restore(Path(folder))
        worker.train()
        summary: dict[str, Any] = worker.finish()
    except TandemError as error:
        # Every rank comes here, and starting again would give the same: no failure for Ray Train to recover from.
        summary = {"error": [error.seen, error.accepted, error.remedy]}
    if rank == 0:
        (job.folder / SUMMARY).write_text(json.dumps(summary) + "\n")


class Worker:
    """One rank: its engine, the rows, and its place in them (`epoch`, `step`: how many are done)."""

    def __init__(self, job: Job, rank: int, world_size: int, device: torch.device) -> None:
        self.job, self.config, self.rank, self.world_size, self.device = job, job.config, rank, world_size, device
        self.rows = Examples.load(job.folder / TRAINING_ROWS)
        self.held_out = Examples.load(job.folder / HELD_OUT_ROWS)
        model = load_model(job.model, self.config, device)
        self.engine = deepspeed_engine.open_engine(model, deepspeed_config(self.config, job.num_steps))
        self.objective = objective_of(self.config)
        self.epoch, self.step = 0, 0
        self.last: dict[str, float] = {}
        self._check_that_rows_stay_apart()

    def restore(self, folder: Path) -> None:
        """Go back to where a checkpoint was written."""
        position = deepspeed_engine.load_state(self.engine, folder)
        self.epoch, self.step = position["epoch"], position["step"]

    def train(self) -> None:
        """All epochs that are left."""
        while self.epoch < self.config.epochs:
            self._train_epoch()
            self.epoch += 1
            if self.epoch < self.config.epochs:
                self._checkpoint()

    def finish(self) -> dict[str, float]:
        """Write the adapter and its log-probabilities in the served format; returns the last epoch's figures."""
        state = deepspeed_engine.trained_weights(self.engine)
        folder = self.job.folder / ADAPTER if self.rank == 0 else None
        if folder:
            save_adapter(self.engine.module, state, self.job.model, folder)
        if self.config.zero_stage != 3:
            self.engine.module.to(served_dtype(self.job.model))
        write_parity(self.engine.module.eval(), self.held_out if len(self.held_out) else self.rows, folder, self.device)
        return self.last

    def _check_that_rows_stay_apart(self) -> None:
        """Refuse a model in which what stands in one row reaches the next row of the pack."""
        if len(self.rows) < 2:
            return
        pack = sorted(range(len(self.rows)), key=lambda row: self.rows.lengths[row])[:2]
        batch = micro_batch(self.rows, tuple(pack)).to(self.device)
        own = self.rows.num_answers[pack[0]]
        other = batch.with_tokens(batch.token_ids.clone())
        other.token_ids[:, : self.rows.lengths[pack[0]]] = batch.token_ids[:, -1:]
        with torch.no_grad():
            before, after = (answer_losses(self.engine, each)[own:] for each in (batch, other))
        if not torch.allclose(before, after, atol=1e-4):
            raise TandemError(
                f"In {self.job.model} a row of a pack reaches the row behind it.",
                "A transformer whose only way from token to token is attention.",
                "Set `model` to such a model.",
            )

    def _train_epoch(self) -> None:
        self.engine.train()
        start, loss_sum, num_answers = time.perf_counter(), 0.0, 0
        for packs in self._steps(self.rows, self.job.packs_per_step):
            began = time.perf_counter()
            loss, answers = self._train_step(packs)
            loss_sum, num_answers, self.step = loss_sum + loss * answers, num_answers + answers, self.step + 1
            self._record(epoch=self.epoch, loss=loss, tokens_per_s=self._tokens(packs) / (time.perf_counter() - began))
            if not math.isfinite(loss):
                raise TandemError(
                    f"The training diverged: the loss became {loss} in step {self.step}.",
                    "A loss that stays finite.",
                    "Lower `training.learning_rate`, or raise `training.warmup_ratio`.",
                )
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
        num_answers = self._weight(packs)
        loss_sum = torch.zeros((), device=self.device)
        for pack in packs[self.rank :: self.world_size]:
            losses = self.objective.loss_sum(self.engine, micro_batch(self.rows, pack).to(self.device))
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
                loss_sum += self.objective.loss_sum(self.engine, batch)
        return {"held_out_loss": self._sum(loss_sum) / sum(self.objective.weights(self.held_out))}

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

    def _weight(self, packs: Iterable[Pack]) -> int:
        weights = self.objective.weights(self.rows)
        return sum(weights[row] for pack in packs for row in pack)
