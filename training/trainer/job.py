"""What the driver and its workers agree on: the job's settings and the files in the run folder."""

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.config import TrainingConfig

TRAINING_ROWS = "training.npz"
HELD_OUT_ROWS = "held_out.npz"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
ADAPTER = "adapter"
TRAINED = "trained.jsonl"
BEST = "best.safetensors"
JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to know; `folder` is the run folder, which the driver and all workers see.

    With `store`, the URL of the run in a bucket, it is the driver's only: workers have copies of their own.
    """

    config: TrainingConfig
    model: str
    folder: Path
    num_steps: int
    store: str | None = None

    @property
    def checkpoint_steps(self) -> int:
        """Steps between checkpoints: a twentieth of the training where nothing is set, so that no more can be lost."""
        return self.config.checkpoint_steps or max(1, self.num_steps // 20)

    def to_dict(self) -> dict[str, Any]:
        """For the way to a worker."""
        return {**asdict(self), "folder": str(self.folder), "config": self.config.model_dump(mode="json")}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Job":
        config = TrainingConfig.model_validate(values["config"])
        return cls(**{**values, "folder": Path(values["folder"]), "config": config})


def local_folder(run: str) -> Path:
    """Where the workers of a run keep files on their node while they are at it."""
    return Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}-{run}"
