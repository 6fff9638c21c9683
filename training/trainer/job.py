"""A training job as driver and workers share it: its settings, and the names of the files in the run folder."""

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
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

    def to_dict(self) -> dict[str, Any]:
        """The job as JSON values, as a worker and job.json get it."""
        return {**asdict(self), "folder": str(self.folder), "config": self.config.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingJob":
        """The job that `to_dict` wrote, in this version or an earlier one."""
        config = TrainingConfig.model_validate(values["config"])
        placement = Placement(**values.get("placement", {}))
        return cls(**{**values, "folder": Path(values["folder"]), "config": config, "placement": placement})


def local_folder(run: str) -> Path:
    """Where the workers of a run keep files on their node while they train."""
    return Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}-{run}"
