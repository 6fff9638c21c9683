"""A training job as driver and workers share it: its settings, and the names of the files in the run folder."""

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.data.batches import OptimizerSteps
from training.plan.placement import ON_CPU, Placement

TRAINING_ROWS_FILE = "training.npz"
HELD_OUT_ROWS_FILE = "held_out.npz"
METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
ADAPTER_FOLDER = "adapter"
TRAINED_ROWS_FILE = "trained.jsonl"
BEST_WEIGHTS_FILE = "best.safetensors"
BASE_LOGPROBS_FILE = "base_logprobs.json"
JOB_FILE = "job.json"


@dataclass(frozen=True)
class TrainingJob:
    """One training, as the driver hands it to its workers.

    `folder` is the run folder, which the driver and all workers see. With `store`, the URL of the run in a bucket, only
    the driver sees it, and each worker has its own copy.
    """

    config: TrainingConfig
    model: str
    folder: Path
    num_steps: int
    store: str | None = None
    placement: Placement = ON_CPU

    @property
    def checkpoint_steps(self) -> int:
        """Steps between checkpoints: a twentieth of the training where nothing is set, so that no more can be lost."""
        return self.config.checkpoint_steps or max(1, self.num_steps // 20)

    def evaluates_after(self, step: int, steps: OptimizerSteps) -> bool:
        """Whether the held-out loss is computed after a step, counted from 0, whatever else happens there."""
        every = self.config.eval_steps
        return (step + 1) % every == 0 if every else steps.is_last_of_epoch(step)

    def num_evaluations(self, steps: OptimizerSteps) -> int:
        """The number of held-out losses of a training that runs to its last step, where the last one is computed."""
        by_loss = self.config.keep_by == "held_out_loss"
        due = (
            self.evaluates_after(step, steps) or (by_loss and (step + 1) % self.checkpoint_steps == 0)
            for step in range(len(steps) - 1)
        )  # fmt: skip
        return 1 + sum(due)

    def to_dict(self) -> dict[str, Any]:
        """The job as JSON values, as a worker and job.json get it."""
        return {**asdict(self), "folder": str(self.folder), "config": self.config.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingJob":
        """The job that `to_dict` wrote, in this version or an earlier one."""
        config = TrainingConfig.model_validate(values["config"])
        placement = Placement(**values.get("placement", {}))
        return cls(**{**values, "folder": Path(values["folder"]), "config": config, "placement": placement})


def check_evaluations(job: TrainingJob, steps: OptimizerSteps, num_held_out: int) -> None:
    """Check that what is decided by held-out losses can be decided.

    Args:
        num_held_out: the number of rows that are held out.

    Raises:
        TandemError: no row is held out, or early stopping needs more held-out losses than the training has.
    """
    config, number = job.config, job.config.early_stopping
    by_loss = {"early_stopping": number, "keep_by: held_out_loss": config.keep_by == "held_out_loss"}
    setting = next((name for name, is_set in by_loss.items() if is_set), None)
    if setting and not num_held_out:
        raise TandemError(
            f"`training.{setting}` decides by the held-out loss, and no row is held out.",
            "At least one row that is held out, and one to train on.",
            f"Add rows, set `training.held_out` or `training.held_out_data`, or leave `training.{setting}` out.",
        )
    if number and (measured := job.num_evaluations(steps)) <= number:
        every = f"every {config.eval_steps} steps (`training.eval_steps`)" if config.eval_steps else "after each epoch"
        most = (len(steps) - 1) // number
        more = f"Set `training.eval_steps` to {most} or less" if most else "Train for more epochs"
        raise TandemError(
            f"`training.early_stopping: {number}` can never act: it needs {number + 1} held-out losses, a best one and "
            f"{number} that are no better, and this training of {len(steps)} steps has {measured}, {every} and at the "
            f"end.",
            f"More than {number} held-out losses in a training.",
            f"{more}, lower `training.early_stopping`, or leave it out.",
        )


def local_folder(run: str) -> Path:
    """Where the workers of a run keep files on their node while they train."""
    return Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}-{run}"
