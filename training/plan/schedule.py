"""The learning rate of each step.

The schedule is our own: DeepSpeed's schedulers take the first two steps at a rate of zero, and in a short training two
steps count.
"""

import math
from dataclasses import dataclass

from training.config import TrainingConfig


@dataclass(frozen=True)
class LearningRateSchedule:
    """Rises along a line to the peak, then falls towards zero along a cosine or a line, or stays."""

    kind: str
    num_steps: int
    num_warmup: int

    @classmethod
    def from_config(cls, config: TrainingConfig, num_steps: int) -> "LearningRateSchedule":
        """The schedule of `config` over `num_steps` optimizer steps."""
        return cls(config.schedule, num_steps, math.ceil(config.warmup_ratio * num_steps))

    def __call__(self, step: int) -> float:
        """The share of the peak that step `step`, counted from 0, is taken with."""
        if step < self.num_warmup:
            return (step + 1) / self.num_warmup
        if self.kind == "constant":
            return 1.0
        progress = min(1.0, (step - self.num_warmup) / max(1, self.num_steps - self.num_warmup))
        return (1 + math.cos(math.pi * progress)) / 2 if self.kind == "cosine" else 1 - progress
