"""What the driver and its workers agree on: the job's settings and the files in the run folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.config import TrainingConfig

TRAINING_ROWS = "training.npz"
HELD_OUT_ROWS = "held_out.npz"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
ADAPTER = "adapter"


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to know; `folder` is the run folder, which the driver and all workers see."""

    config: TrainingConfig
    model: str
    folder: Path
    num_steps: int

    @property
    def capacity(self) -> int:
        """Tokens in one forward pass of one worker."""
        return self.config.micro_batch_size * self.config.sequence_length

    @property
    def packs_per_step(self) -> int:
        return self.config.workers.max * self.config.gradient_accumulation

    def to_dict(self) -> dict[str, Any]:
        """For the way to a worker."""
        return {**asdict(self), "config": self.config.model_dump(mode="json")}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Job":
        return cls(**{**values, "config": TrainingConfig.model_validate(values["config"])})
