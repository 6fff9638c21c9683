"""What the workers of a training agree on. No worker decides alone whether all of them enter a collective.

A file that one worker sees may be missing for another: with a bucket each worker has its own copy of the run folder,
and a network file system shows a new file late. Every function here must be called by all workers.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed

from training.data.examples import Examples
from training.data.packing import Pack
from training.model.mismatched import draw_mismatched, make_mismatched_batch
from training.model.objective import DesirabilityLoss, Objective


def broadcast_from_first(value: Any) -> Any:
    """The first worker's value."""
    values = [value]
    torch.distributed.broadcast_object_list(values)
    return values[0]


def gather_from_all(value: Any) -> list[Any]:
    """The value of each worker, by rank."""
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def is_true_for_any(flag: bool) -> bool:
    """Whether a condition holds for at least one worker."""
    return any(gather_from_all(flag))


def first_of_any(value: Any) -> Any:
    """The value of the first worker that has one; None where no worker has."""
    return next((each for each in gather_from_all(value) if each is not None), None)


def reference_point(
    objective: Objective, model: Any, rows: Examples, packs: Sequence[Pack], draw: str, device: torch.device,
    *, padded: bool = False,
) -> torch.Tensor | None:  # fmt: skip
    """KTO's reference point: the KL divergence from the base, in nats, estimated over the rows of all packs; a scalar,
    at least 0.

    Every worker must call it with the same packs, and makes as many forward passes as the others. None, without a
    forward pass, where the objective has no reference point.

    Args:
        draw: decides which answer goes to which prompt.
    """
    if not isinstance(objective, DesirabilityLoss):
        return None
    rank, num_workers = torch.distributed.get_rank(), torch.distributed.get_world_size()
    mismatched = draw_mismatched(rows, packs, draw)
    total = torch.zeros((), device=device)
    for number in range(rank, -(-len(packs) // num_workers) * num_workers, num_workers):
        pack = mismatched[number] if number < len(mismatched) else ()
        total += objective.log_ratio_sum(model, make_mismatched_batch(rows, pack, padded=padded).to(device))
    torch.distributed.all_reduce(total)
    return (total / sum(map(len, packs))).clamp(min=0)
