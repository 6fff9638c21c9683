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
from training.model.loss import answer_losses, evaluating

BALANCED = (1.0, 4 / 3)
"""What the desired answers of a KTO training count together, divided by what the undesired ones do: the range that is
recommended with the paper (arXiv:2402.01306, section 4.2; https://huggingface.co/docs/trl/kto_trainer)."""


class Objective(Protocol):
    """A loss that is a mean over the whole global batch, however its rows are shared out over workers."""

    def row_weights(self, rows: Examples) -> list[float]:
        """What each row counts in the mean, [num_rows]."""
        ...

    def loss_sum(self, model: Any, batch: MicroBatch, reference_point: torch.Tensor | None = None) -> torch.Tensor:
        """The loss summed over the rows of a batch, a scalar with a gradient.

        Args:
            reference_point: of the global batch, as `training.trainer.collectives` gives it; KTO needs one.
        """
        ...


class AnswerLoss:
    """The mean negative log-likelihood of the tokens that are learnt, each with its weight."""

    def row_weights(self, rows: Examples) -> list[float]:
        return rows.row_loss_weights

    def loss_sum(self, model: Any, batch: MicroBatch, reference_point: torch.Tensor | None = None) -> torch.Tensor:
        losses = answer_losses(model, batch)
        return losses.sum() if batch.answer_weights is None else (losses * batch.answer_weights).sum()


@dataclass(frozen=True)
class PreferenceLoss:
    """Direct preference optimization (arXiv:2305.18290, equation 7): a row is a chosen and a rejected answer.

    The reference is the base model: the same weights with the adapter switched off.
    """

    beta: float

    def row_weights(self, rows: Examples) -> list[float]:
        return [1.0] * len(rows)

    def loss_sum(self, model: Any, batch: MicroBatch, reference_point: torch.Tensor | None = None) -> torch.Tensor:
        return -logsigmoid(self.margins(model, batch)).sum()

    def margins(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """By how much the chosen answer's reward exceeds the rejected one's, [num_rows].

        The reward is beta * (log-probability of the whole answer - that of the reference), in nats.
        """
        rewards = self.beta * log_ratios(model, batch)
        # An empty pack is a single sequence without a partner.
        pairs = rewards[: len(rewards) // 2 * 2].view(-1, 2)
        return pairs[:, 0] - pairs[:, 1]


@dataclass(frozen=True)
class DesirabilityLoss:
    """Kahneman-Tversky optimization (arXiv:2402.01306, equation 8): a row is a desired or an undesired answer.

    The reference is that of `PreferenceLoss`. docs/decisions/037-kto.md says how the reference point is estimated.
    """

    beta: float
    desirable_weight: float
    undesirable_weight: float

    def row_weights(self, rows: Examples) -> list[float]:
        return [1.0] * len(rows)

    def loss_sum(self, model: Any, batch: MicroBatch, reference_point: torch.Tensor | None = None) -> torch.Tensor:
        assert reference_point is not None and batch.labels is not None
        gains = self.beta * (log_ratios(model, batch) - reference_point)
        desired, undesired = (
            self.desirable_weight * torch.sigmoid(-gains),
            self.undesirable_weight * torch.sigmoid(gains),
        )
        # The single sequence of an empty pack has no answer.
        has_answer = batch.sum_by_sequence(torch.ones_like(batch.predicts_from, dtype=gains.dtype)) > 0
        return (torch.where(batch.labels, desired, undesired) * has_answer).sum()

    def log_ratio_sum(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """The sum over a batch of log-probabilities of answers less those of the reference, without dropout."""
        with torch.no_grad(), evaluating(model):
            return log_ratios(model, batch).sum()


def make_objective(config: TrainingConfig, rows: Examples | None = None) -> Objective:
    """The objective that `training.objective` names.

    Args:
        rows: those that are trained on, by which KTO balances what desired and undesired answers count.
    """
    if config.objective == "dpo":
        return PreferenceLoss(config.dpo_beta)
    if config.objective == "kto":
        return DesirabilityLoss(config.kto_beta, *label_weights(config, *count_labels(rows)))
    return AnswerLoss()


def count_labels(rows: Examples | None) -> tuple[float, float]:
    """How many desired and undesired answers an epoch has; one of each where there are no labels."""
    if rows is None or rows.labels is None:
        return 1.0, 1.0
    return float(rows.weights[rows.labels].sum()), float(rows.weights[~rows.labels].sum())


def label_weights(config: TrainingConfig, num_desired: float, num_undesired: float) -> tuple[float, float]:
    """What each desired and each undesired answer counts: what is set, and for `auto` the weight nearest to 1 with
    which the sums over both kinds are balanced."""
    desired, undesired = config.kto_desirable_weight, config.kto_undesirable_weight
    ratio, (low, high) = num_desired / num_undesired, BALANCED
    if desired == "auto" and undesired == "auto":
        desired, undesired = (1.0, "auto") if ratio > high else ("auto", 1.0)
    if desired == "auto":
        assert undesired != "auto"
        return min(max(1.0, low * undesired / ratio), high * undesired / ratio), undesired
    if undesired == "auto":
        return desired, min(max(1.0, desired * ratio / high), desired * ratio / low)
    return desired, undesired


def describe_label_weights(objective: Objective, rows: Examples) -> str | None:
    """The labels of a KTO training and what they count, in words; None for other objectives."""
    if not isinstance(objective, DesirabilityLoss):
        return None
    desired, undesired = count_labels(rows)
    return (
        f"an epoch has {desired:g} desired answers, which count {objective.desirable_weight:.4g} each, and "
        f"{undesired:g} undesired ones, which count {objective.undesirable_weight:.4g} each"
    )


def log_ratios(model: Any, batch: MicroBatch) -> torch.Tensor:
    """The log-probability of each sequence's answer less that of the reference, in nats, [num_sequences]."""
    with torch.no_grad(), _reference_model(model):
        reference = answer_losses(model, batch)
    return batch.sum_by_sequence(reference - answer_losses(model, batch))


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
