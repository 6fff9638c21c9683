"""What the workers of a training agree on. No worker decides alone whether all of them enter a collective.

A file that one worker sees may be missing for another: with a bucket each worker has its own copy of the run folder,
and a network file system shows a new file late. Every function here must be called by all workers.
"""

from typing import Any

import torch.distributed


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
