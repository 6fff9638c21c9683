"""The training loop of one rank: steps, held-out losses, checkpoints, and the weights at the end.

Everything random in a step is drawn from (seed, step, pack), so that neither a restart nor another number of workers
changes a result.
"""

import json
import math
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from training.data.batches import OptimizerSteps, max_pass_tokens, plan_padded_epoch
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.data.packing import Pack, plan_epoch
from training.model.attention_check import settle_attention
from training.model.attention_choice import find_attention
from training.model.loss import compare_losses
from training.model.model import DTYPES, load_model
from training.model.objective import describe_label_weights, make_objective
from training.plan.deepspeed_config import deepspeed_config, num_forward_passes
from training.plan.flops import mfu, step_flops, why_no_mfu
from training.plan.schedule import LearningRateSchedule
from training.plan.shapes import adapter_notes, read_model_shapes
from training.publish.parity_rows import answer_logprobs, write_parity_rows
from training.publish.publish import result_kind
from training.publish.weights import merge_adapter, save_adapter, save_full
from training.trainer import deepspeed_engine
from training.trainer.checkpoint_store import StoredCheckpoint
from training.trainer.checkpointer import Checkpointer
from training.trainer.collectives import broadcast_from_first, first_of_any, gather_from_all, reference_point
from training.trainer.job import (
    ADAPTER_FOLDER,
    BASE_LOGPROBS_FILE,
    BEST_WEIGHTS_FILE,
    HELD_OUT_ROWS_FILE,
    TRAINING_ROWS_FILE,
    TrainingJob,
)
from training.trainer.metrics import MetricsRecorder
from training.trainer.snapshots import Snapshot


class TrainingDiverged(TandemError):
    """A loss is not a finite number. Every rank raises this, because every rank knows the loss."""

    def __init__(self, name: str, value: float, step: int, rows: str = "") -> None:
        super().__init__(
            f"The training diverged: the {name} became {value} in step {step}{rows}.",
            f"A {name} that stays finite.",
            "Lower `training.learning_rate`, or raise `training.warmup_ratio`.",
        )


@dataclass
class TrainingPosition:
    """How far the training is: steps done, this epoch's loss, held-out losses, and the figures of the last epoch.

    `held_out_loss` was measured after `held_out_step` steps, and says nothing of the weights after any other.
    """

    step: int = 0
    loss_sum: float = 0.0
    weight: float = 0.0
    held_out_loss: float = math.nan
    held_out_step: int = -1
    best_loss: float = math.inf
    num_worse: int = 0
    mlflow_run: str | None = None
    figures: dict[str, float] = field(default_factory=dict)


class TrainingLoop:
    """One rank: its engine, the training rows, and its position in the training."""

    def __init__(
        self, job: TrainingJob, rank: int, num_workers: int, device: torch.device, checkpoints: Checkpointer
    ) -> None:
        self.job, self.config, self.rank, self.num_workers, self.device = job, job.config, rank, num_workers, device
        self.checkpoints = checkpoints
        self.rows = Examples.load(job.folder / TRAINING_ROWS_FILE)
        self.held_out = Examples.load(job.folder / HELD_OUT_ROWS_FILE)
        self.steps = OptimizerSteps(self.rows, self.config)
        self.objective = make_objective(self.config, self.rows)
        self.row_weights = self.objective.row_weights(self.rows)
        self.shapes = read_model_shapes(self.config, job.model)
        self.position, self.saved_at = TrainingPosition(), -1
        self.stall_s: float | None = None  # that a checkpoint took so far which may not be copied yet
        checkpoint, problems = checkpoints.find_latest()
        self.engine = self._open_engine(checkpoint)
        self._restore(checkpoint)
        self.recorder = self._open_recorder(checkpoint, problems)
        if self.position.step == 0:
            self._keep_base_logprobs()

    def train(self) -> None:
        """All steps that are left, or until the held-out loss no longer falls."""
        while self.position.step < len(self.steps) and not self._has_converged():
            step = self.position.step
            packs = self.steps[step]
            learning_rate, began = self.engine.get_lr()[0], time.perf_counter()
            loss, weight = self._train_step(step, packs)
            seconds = time.perf_counter() - began
            self.position.step += 1
            self.position.loss_sum += loss * weight
            self.position.weight += weight
            self._record(
                epoch=self.steps.epoch_of(step), loss=loss, learning_rate=learning_rate,
                num_workers=self.num_workers, **self._grad_norm(), **self._speed(packs, seconds),
            )  # fmt: skip
            if not math.isfinite(loss):
                raise TrainingDiverged("loss", loss, self.position.step)
            self._after_step(step)

    def finish(self) -> dict[str, float]:
        """Write the adapter and its log-probabilities; returns the last figures.

        The held-out loss among them is that of the weights that are written. A checkpoint of the last step is written
        before: where this fails, it is tried again without a training step.
        """
        self._evaluate()
        if self.saved_at != self.position.step:
            self._checkpoint(wait=True)
        self._settle_checkpoint()
        self.checkpoints.close()
        if self.config.early_stopping and math.isfinite(self.position.best_loss):
            self._take_best()
        logprobs = self._parity_logprobs()
        if not all(math.isfinite(value) for values in logprobs.values() for value in values):
            raise TrainingDiverged("loss", math.nan, self.position.step, " on rows of the parity check")
        state = deepspeed_engine.trained_weights(self.engine, keep=self.rank == 0)
        if self.recorder:
            self._write_adapter(state, logprobs, self.job.folder / ADAPTER_FOLDER)
            self.recorder.close()
        return {**self.position.figures, **self._held_out_figures(), "num_steps_done": self.position.step}

    def _take_best(self) -> None:
        """Put the weights with the lowest held-out loss into the model; the first worker alone has their file."""
        best = self.job.folder / BEST_WEIGHTS_FILE
        measured = broadcast_from_first(self._read_best(best) if self.rank == 0 else None)
        if measured is None:
            raise TandemError(
                f"The weights with the lowest held-out loss are not in the run folder: {best.name} is missing.",
                "The file that the training wrote there (`training.early_stopping`).",
                "Restore it and run `tandem train --resume`, or train again.",
            )
        deepspeed_engine.set_trained_weights(self.engine, load_file(best) if self.rank == 0 else None)
        self.position.held_out_loss, self.position.held_out_step = measured

    def _read_best(self, path: Path) -> tuple[float, int] | None:
        """The held-out loss that the file of the best weights says it has, and its step; None without such a file."""
        if not path.exists():
            return None
        with safe_open(path, "pt") as file:
            values = file.metadata() or {}
        # A file of an earlier version does not have the step.
        return float(values.get("held_out_loss", self.position.best_loss)), int(values.get("step", -1))

    def _write_adapter(self, state: dict[str, torch.Tensor], logprobs: dict[int, list[float]], folder: Path) -> None:
        """The trained weights as they are served, and the log-probabilities of the engine that they come from."""
        if self.config.method == "full":
            save_full(self.engine.module, state, self.job.model, folder)
        elif result_kind(self.config) == "merged":
            save_adapter(self.engine.module, state, self.job.model, folder / ADAPTER_FOLDER)
            merge_adapter(self.job.model, folder / ADAPTER_FOLDER, folder)
        else:
            save_adapter(self.engine.module, state, self.job.model, folder)
        path = self.job.folder / BASE_LOGPROBS_FILE
        base = {int(row): values for row, values in json.loads(path.read_text()).items()} if path.exists() else None
        write_parity_rows(self._parity_rows, folder, logprobs, base, DTYPES[self.config.precision])

    def _keep_base_logprobs(self) -> None:
        """Before the first step every method computes what the base computes."""
        logprobs = self._parity_logprobs()
        if self.rank == 0:
            write_atomically(self.job.folder / BASE_LOGPROBS_FILE, json.dumps(logprobs) + "\n")

    def _parity_logprobs(self) -> dict[int, list[float]]:
        self.engine.eval()
        own = answer_logprobs(self.engine, self._parity_rows, self.device, self.rank, self.num_workers)
        return {row: values for part in gather_from_all(own) for row, values in part.items()}

    @property
    def _parity_rows(self) -> Examples:
        return self.held_out if len(self.held_out) else self.rows

    def _open_engine(self, checkpoint: StoredCheckpoint | None) -> Any:
        converted = checkpoint is not None and checkpoint.num_workers != self.num_workers
        settings = deepspeed_config(self.config, self.num_workers, converted, self.job.placement, self.shapes.trained)
        with deepspeed_engine.sharded_loading(settings):
            model = load_model(self.job.model, self.config, self.device)
        engine = deepspeed_engine.open_engine(
            model, settings, LearningRateSchedule.from_config(self.config, self.job.num_steps)
        )
        chosen = find_attention(self.job.model, self.config, self.device)
        self.attention = settle_attention(
            engine, self.rows, self.config, self.job.model, self.device, chosen, first_of_any
        )
        self.loss_note = compare_losses(engine, self.rows, self.device)
        return engine

    def _restore(self, checkpoint: StoredCheckpoint | None) -> None:
        """Go back to where a checkpoint was written."""
        if checkpoint is not None:
            with self.checkpoints.open_checkpoint(checkpoint) as folder:
                self.position = TrainingPosition(**deepspeed_engine.load_state(self.engine, folder))
            self.position.figures.pop("held_out_loss", None)  # of an earlier version, which did not keep its step
            self.saved_at = self.position.step

    def _open_recorder(self, checkpoint: StoredCheckpoint | None, problems: list[str]) -> MetricsRecorder | None:
        """The first rank's recorder; notes the step from which a training is resumed."""
        if self.rank != 0:
            return None
        step = self.position.step
        recorder = MetricsRecorder(self.job.folder, self.config, step + 1, self.position.mlflow_run)
        self.position.mlflow_run = recorder.mlflow_run
        recorder.record_attention(step, self.attention.reason)
        slower = self.attention.reason if self.attention.is_fallback else None
        labels = describe_label_weights(self.objective, self.rows)
        for note in (slower, self.loss_note, *problems, *adapter_notes(self.shapes), labels, *self._notes_on_speed()):
            if note:
                recorder.record_note(step, note)
        if checkpoint is not None:
            workers = f" of {checkpoint.num_workers} workers" if checkpoint.num_workers != self.num_workers else ""
            recorder.record_note(
                step, f"going on from step {step} of {self.job.num_steps} with {self.num_workers} workers, from the "
                f"checkpoint {checkpoint.name}{workers}"
            )  # fmt: skip
        return recorder

    def _train_step(self, step: int, packs: list[Pack]) -> tuple[float, float]:
        """One optimizer step on the mean over the global batch, whose packs the workers share; its loss and weight."""
        self.engine.train()
        weight = sum(self.row_weights[row] for pack in packs for row in pack)
        passes = num_forward_passes(self.config, self.num_workers)
        point = self._reference_point(self.rows, packs, f"{self.config.seed}-{step}", padded=not self.config.packing)
        loss_sum = torch.zeros((), device=self.device)
        for number in range(self.rank, passes * self.num_workers, self.num_workers):
            pack = packs[number] if number < len(packs) else ()
            torch.manual_seed(hash((self.config.seed, step, number)) % 2**63)
            loss = self.objective.loss_sum(
                self.engine, make_micro_batch(self.rows, pack, padded=not self.config.packing).to(self.device), point
            )
            # DeepSpeed divides by the number of passes and averages over workers: undone here.
            self.engine.backward(loss * (passes * self.num_workers / weight))
            self._update_weights(step)
            loss_sum += loss.detach()
        return self._sum_over_workers(loss_sum) / weight, weight

    def _update_weights(self, step: int) -> None:
        """DeepSpeed's step; torch's AdamW raises where learning rate times gradient is more than float32 can hold."""
        if self.engine.is_gradient_accumulation_boundary():
            self._settle_checkpoint()
        try:
            self.engine.step()
        except RuntimeError as error:
            if "without overflow" not in str(error):
                raise
            raise TrainingDiverged("weight update", math.inf, step + 1) from error

    def _after_step(self, step: int) -> None:
        """Compute the held-out loss, record figures and save a checkpoint where each is due."""
        done, is_last = step + 1, self.steps.is_last_of_epoch(step)
        if is_last:
            self.position.figures |= {"epoch": self.steps.epoch_of(step) + 1, "epoch_loss": self._mean_loss()}
        if self.job.evaluates_after(step, self.steps):
            self._evaluate()
        if is_last:
            self._record(**self.position.figures)
        if done % self.job.checkpoint_steps == 0 and done < len(self.steps):
            self._checkpoint()

    def _mean_loss(self) -> float:
        """The mean over the steps since the last epoch ended."""
        mean = self.position.loss_sum / self.position.weight
        self.position.loss_sum, self.position.weight = 0.0, 0
        return mean

    def _evaluate(self) -> None:
        """Compute the held-out loss of the weights as they are, unless that has been done."""
        if not len(self.held_out) or self.position.held_out_step == self.position.step:
            return
        loss = self._held_out_loss()
        self.position.held_out_loss, self.position.held_out_step = loss, self.position.step
        self._record(held_out_loss=loss)
        if not math.isfinite(loss):
            raise TrainingDiverged("loss", loss, self.position.step, " on held-out rows")
        if loss < self.position.best_loss:
            self.position.best_loss, self.position.num_worse = loss, 0
            if self.config.early_stopping:
                self._keep_best()
        else:
            self.position.num_worse += 1

    def _held_out_figures(self) -> dict[str, float]:
        """The last held-out loss with its step, where one was measured."""
        if not math.isfinite(self.position.held_out_loss):
            return {}
        step = {"held_out_step": float(self.position.held_out_step)} if self.position.held_out_step >= 0 else {}
        return {"held_out_loss": self.position.held_out_loss, **step}

    def _held_out_loss(self) -> float:
        self.engine.eval()
        loss_sum = torch.zeros((), device=self.device)
        config, number = self.config, self.num_workers
        if config.packing:
            packs = plan_epoch(self.held_out.row_lengths, max_pass_tokens(config), number, config.seed, epoch=0)
        else:  # a model that is not packed must not be measured on packed rows either
            packs = plan_padded_epoch(len(self.held_out), config.micro_batch_size, number, config.seed, epoch=0)
        point = self._reference_point(self.held_out, packs, f"{config.seed}-held-out", padded=not config.packing)
        with torch.no_grad():
            for pack in packs[self.rank :: number]:
                batch = make_micro_batch(self.held_out, pack, padded=not config.packing).to(self.device)
                loss_sum += self.objective.loss_sum(self.engine, batch, point)
        return self._sum_over_workers(loss_sum) / sum(self.objective.row_weights(self.held_out))

    def _keep_best(self) -> None:
        state = deepspeed_engine.trained_weights(self.engine, keep=self.rank == 0)
        if self.rank == 0:
            path, unfinished = self.job.folder / BEST_WEIGHTS_FILE, self.job.folder / f"{BEST_WEIGHTS_FILE}.part"
            measured = {"held_out_loss": repr(self.position.best_loss), "step": str(self.position.step)}
            save_file(state, unfinished, measured)
            unfinished.replace(path)

    def _has_converged(self) -> bool:
        """Whether the held-out loss has not fallen for `early_stopping` evaluations."""
        return bool(self.config.early_stopping) and self.position.num_worse >= (self.config.early_stopping or 0)

    def _checkpoint(self, wait: bool = False) -> None:
        if self.config.keep_by == "held_out_loss":
            self._evaluate()
        self._settle_checkpoint()
        began = time.perf_counter()
        measured = self._held_out_figures() if self.position.held_out_step == self.position.step else {}
        metrics = {"step": float(self.position.step), **self.position.figures, **measured}

        def write(folder: Path, budget_bytes: int) -> Snapshot:
            return deepspeed_engine.save_state(self.engine, folder, asdict(self.position), budget_bytes)

        self.checkpoints.save(self.position.step, write, metrics, wait or self.config.checkpoint_upload == "sync")
        self.saved_at, self.stall_s = self.position.step, time.perf_counter() - began

    def _settle_checkpoint(self) -> None:
        """Wait until the last checkpoint is copied, before its state changes, and record how long was waited for it."""
        if self.stall_s is not None:
            began = time.perf_counter()
            self.checkpoints.settle()
            self._record(checkpoint_stall_s=self.stall_s + time.perf_counter() - began)
            self.stall_s = None

    def _record(self, **values: float) -> None:
        if self.recorder:
            self.recorder.record_step(self.position.step, values)

    def _speed(self, packs: list[Pack], seconds: float) -> dict[str, float]:
        """Useful tokens per second, the most memory so far in bytes, and MFU where the device's peak is known."""
        rows = [row for pack in packs for row in pack]
        tokens, answers = (
            sum(counts[row] for row in rows) for counts in (self.rows.row_lengths, self.rows.row_answers)
        )
        speed = {"time": time.time(), "tokens": tokens, "tokens_per_s": tokens / seconds}
        if self.device.type != "cuda":
            return {**speed, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        speed["memory"] = float(torch.cuda.max_memory_allocated(self.device))
        flops = step_flops(self.shapes, tokens, answers, self.config.objective)
        name = torch.cuda.get_device_name(self.device)
        share = mfu(flops, seconds, self.num_workers, name, self.config.precision)
        return speed if share is None else {**speed, "mfu": share}

    def _notes_on_speed(self) -> list[str]:
        """Why no MFU is recorded on a GPU, where none is."""
        if self.device.type != "cuda":
            return []
        reason = why_no_mfu(torch.cuda.get_device_name(self.device), self.config.precision)
        return [reason] if reason else []

    def _reference_point(
        self, rows: Examples, packs: Sequence[Pack], draw: str, padded: bool = False
    ) -> torch.Tensor | None:
        return reference_point(self.objective, self.engine, rows, packs, draw, self.device, padded=padded)

    def _sum_over_workers(self, value: torch.Tensor) -> float:
        torch.distributed.all_reduce(value)
        return float(value)

    def _grad_norm(self) -> dict[str, float]:
        """The norm of the gradient before it is clipped; nothing where the engine did not compute one."""
        norm = self.engine.get_global_grad_norm()
        return {} if norm is None else {"grad_norm": float(norm)}
