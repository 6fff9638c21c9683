"""What is minimised: a sum over the rows of a batch, and what it is divided by."""

from typing import Any, Protocol

import torch

from training.config import TrainingConfig
from training.examples import Examples
from training.model import answer_losses
from training.packing import MicroBatch


class Objective(Protocol):
    """A loss that is a mean over the whole global batch, however its rows are shared out over workers."""

    def weights(self, rows: Examples) -> list[int]:
        """What each row counts in the mean."""
        ...

    def loss_sum(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """The loss summed over the rows of a batch, a scalar with a gradient."""
        ...


class AnswerLoss:
    """Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens."""

    def weights(self, rows: Examples) -> list[int]:
        return rows.num_answers

    def loss_sum(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        return answer_losses(model, batch).sum()


def objective_of(config: TrainingConfig) -> Objective:
    """The objective that `training.objective` names."""
    return AnswerLoss()
