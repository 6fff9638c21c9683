"""A pack as the tensors of one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.data.examples import Examples
from training.data.packing import Pack

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass over several sequences: laid end to end in one row, or padded to the longest in a row each.

    `token_ids` and `positions` are [1, num_tokens], or [num_sequences, length] where padded; positions start at 0 in
    each sequence. Places count through all rows: `row_starts` [num_sequences + 1] are the sequences' borders,
    `predicts_from` [num_answers] are the places whose next token is an answer's, `answers` [num_answers] those tokens.
    `answer_weights` [num_answers] is what each counts in the loss, None where each counts 1. `labels` [num_sequences]
    says whether a sequence's answer is a desired one, None where rows have no labels.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    row_starts: torch.Tensor
    predicts_from: torch.Tensor
    answers: torch.Tensor
    max_length: int = 0
    """Tokens of the longest sequence, pads counted; known here, so that a GPU is never waited for to learn it."""

    answer_weights: torch.Tensor | None = None
    labels: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not self.max_length:
            object.__setattr__(self, "max_length", int(self.row_starts.diff().max()))

    def to(self, device: torch.device) -> "MicroBatch":
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **moved)

    def with_tokens(self, token_ids: torch.Tensor) -> "MicroBatch":
        """The same sequences with other tokens in them."""
        return replace(self, token_ids=token_ids)

    def sum_by_sequence(self, values: torch.Tensor) -> torch.Tensor:
        """Sums of a value of each answer token, [num_answers], over each sequence, [num_sequences]."""
        sequence = torch.bucketize(self.predicts_from, self.row_starts[1:], right=True)
        return values.new_zeros(len(self.row_starts) - 1).index_add(0, sequence, values)


def make_micro_batch(examples: Examples, pack: Pack, *, padded: bool = False) -> MicroBatch:
    """The sequences of a pack's rows, in their order: laid end to end, or each in a row of its own with pads behind it.

    No token attends to a pad, since pads stand behind, and none is learnt. An empty pack becomes a single token that
    nothing is learnt from.
    """
    number = examples.sequences_per_row
    indices = [row * number + place for row in pack for place in range(number)]
    batch = lay_out([examples.sequence(index) for index in indices], padded=padded)
    weights = labels = None
    if examples.loss_weights is not None:
        counted = [examples.answer_weights(index) for index in indices]
        weights = torch.from_numpy(np.concatenate([*counted, np.zeros(0, np.float32)]))
    if examples.labels is not None:
        labels = torch.tensor([bool(examples.labels[row]) for row in pack] or [False])
    return replace(batch, answer_weights=weights, labels=labels)


def lay_out(sequences: Sequence[tuple[Array, Array]], *, padded: bool = False) -> MicroBatch:
    """Sequences of token ids and answer marks as one forward pass; none become a single token that is not learnt."""
    sequences = sequences or [(np.zeros(1, np.int32), np.zeros(1, np.bool_))]
    width = max(len(tokens) for tokens, _ in sequences) if padded else 0
    token_ids = torch.from_numpy(np.concatenate([_pad_right(tokens, width) for tokens, _ in sequences])).long()
    is_answer = torch.from_numpy(np.concatenate([_pad_right(marks, width) for _, marks in sequences]))
    lengths = [max(len(tokens), width) for tokens, _ in sequences]
    shape = (len(sequences), width) if padded else (1, len(token_ids))
    # A sequence's first token is never an answer, so the place before an answer lies in the same sequence.
    places = is_answer.nonzero().squeeze(1)
    return MicroBatch(
        token_ids=token_ids.view(shape),
        positions=torch.cat([torch.arange(length) for length in lengths]).view(shape),
        row_starts=torch.tensor([0, *lengths]).cumsum(0),
        predicts_from=places - 1,
        answers=token_ids[places],
    )


def _pad_right(values: Array, width: int) -> Array:
    """With zeros behind it up to a width."""
    return np.pad(values, (0, max(0, width - len(values))))
