"""The loss: a sum over the rows of a batch, and the weights of rows that it is divided by."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.functional import logsigmoid

from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import MicroBatch
from training.model.loss import answer_losses


class Objective(Protocol):
    """A loss that is a mean over the whole global batch, however its rows are shared out over workers."""

    def row_weights(self, rows: Examples) -> list[int]:
        """What each row counts in the mean, [num_rows]."""
        ...

    def loss_sum(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """The loss summed over the rows of a batch, a scalar with a gradient."""
        ...


class AnswerLoss:
    """Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens."""

    def row_weights(self, rows: Examples) -> list[int]:
        return rows.num_answers

    def loss_sum(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        return answer_losses(model, batch).sum()


@dataclass(frozen=True)
class PreferenceLoss:
    """Direct preference optimization (arXiv:2305.18290, equation 7): a row is a chosen and a rejected answer.

    The reference is the base model: the same weights with the adapter switched off.
    """

    beta: float

    def row_weights(self, rows: Examples) -> list[int]:
        return [1] * len(rows)

    def loss_sum(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        return -logsigmoid(self.margins(model, batch)).sum()

    def margins(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """By how much the chosen answer's reward exceeds the rejected one's, [num_rows].

        The reward is beta * (log-probability of the whole answer - that of the reference), in nats.
        """
        with torch.no_grad(), _reference_model(model):
            reference = answer_losses(model, batch)
        rewards = self.beta * batch.sum_by_sequence(reference - answer_losses(model, batch))
        # An empty pack is a single sequence without a partner.
        pairs = rewards[: len(rewards) // 2 * 2].view(-1, 2)
        return pairs[:, 0] - pairs[:, 1]


def make_objective(config: TrainingConfig) -> Objective:
    """The objective that `training.objective` names."""
    return PreferenceLoss(config.dpo_beta) if config.objective == "dpo" else AnswerLoss()


@contextmanager
def _reference_model(model: Any) -> Iterator[None]:
    """The base model, without its adapter and without dropout; also inside a DeepSpeed engine."""
    module = getattr(model, "module", model)
    training = module.training
    module.eval()
    try:
        with module.disable_adapter():
            yield
    finally:
        module.train(training)
