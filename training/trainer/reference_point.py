"""KTO's reference point: how far the trained model is from the base on answers that belong to other prompts."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed

from training.data.examples import Examples
from training.data.packing import Pack
from training.model.mismatched import draw_mismatched, make_mismatched_batch
from training.model.objective import DesirabilityLoss, Objective


def reference_point(
    objective: Objective, model: Any, rows: Examples, packs: Sequence[Pack], draw: str, device: torch.device,
    *, padded: bool = False,
) -> torch.Tensor | None:  # fmt: skip
    """The KL divergence from the base, in nats, estimated over the rows of all packs; a scalar, at least 0.

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
