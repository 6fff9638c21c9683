"""Rows -> packs: whole rows laid end to end up to a number of tokens, with nothing padded and nothing cut.

Which rows go together is decided by (seed, epoch) alone, so every worker computes the same plan by itself and a
restarted one finds its place again.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch

from training.examples import Examples

Pack = tuple[int, ...]


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass: `num_tokens` tokens of several rows.

    `token_ids` and `positions` are [1, num_tokens]; positions start at 0 in each row. `row_starts` [num_rows + 1] are
    the rows' borders. `predicts_from` [num_answers] are the places whose next token is an answer's, `answers`
    [num_answers] are those tokens.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    row_starts: torch.Tensor
    predicts_from: torch.Tensor
    answers: torch.Tensor

    def to(self, device: torch.device) -> "MicroBatch":
        return MicroBatch(*(tensor.to(device) for tensor in vars(self).values()))

    def with_tokens(self, token_ids: torch.Tensor) -> "MicroBatch":
        """The same rows with other tokens in them."""
        return replace(self, token_ids=token_ids)


def plan_epoch(lengths: Sequence[int], capacity: int, multiple: int, seed: int, epoch: int) -> list[Pack]:
    """Share rows out over packs of up to `capacity` tokens, of nearly equal size so that no worker waits for another.

    The longest row goes first into the emptiest pack (Graham, 1969), ties in an order drawn from (seed, epoch). The
    number of packs follows from the lengths alone and is a multiple of `multiple` (workers * gradient accumulation);
    where there are fewer rows than packs the last ones stay empty. Rows within a pack are sorted by length.
    """
    rng = Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    order.sort(key=lambda row: -lengths[row])
    num_packs = multiple * max(1, -(-sum(lengths) // (capacity * multiple)))
    while (packs := _fill(order, lengths, num_packs, capacity)) is None:
        num_packs += multiple
    filled = [pack for pack in packs if pack]
    rng.shuffle(filled)
    return [tuple(sorted(pack, key=lambda row: lengths[row])) for pack in filled] + [()] * (num_packs - len(filled))


def micro_batch(examples: Examples, pack: Pack) -> MicroBatch:
    """Lay the rows of a pack end to end; an empty pack becomes a single token that nothing is learnt from."""
    rows = [examples.row(index) for index in pack] or [(np.zeros(1, np.int32), np.zeros(1, np.bool_))]
    token_ids = torch.from_numpy(np.concatenate([tokens for tokens, _ in rows])).long()
    is_answer = torch.from_numpy(np.concatenate([marks for _, marks in rows]))
    lengths = [len(tokens) for tokens, _ in rows]
    # A row's first token is never an answer, so the place before an answer lies in the same row.
    places = is_answer.nonzero().squeeze(1)
    return MicroBatch(
        token_ids=token_ids[None],
        positions=torch.cat([torch.arange(length) for length in lengths])[None],
        row_starts=torch.tensor([0, *lengths]).cumsum(0),
        predicts_from=places - 1,
        answers=token_ids[places],
    )


def _fill(order: Sequence[int], lengths: Sequence[int], num_packs: int, capacity: int) -> list[list[int]] | None:
    """The packs, or None where one of them got more than `capacity` tokens."""
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    heap = [(0, number) for number in range(num_packs)]
    for row in order:
        tokens, number = heap[0]
        if tokens + lengths[row] > capacity:
            return None
        packs[number].append(row)
        heapq.heapreplace(heap, (tokens + lengths[row], number))
    return packs
