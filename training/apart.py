"""Whether a model lets what stands in one row of a pack reach the next."""

from typing import Any

import torch

from cluster.errors import TandemError
from training.examples import Examples
from training.model import answer_losses
from training.packing import micro_batch


def check_that_rows_stay_apart(model: Any, rows: Examples, name: str, device: torch.device) -> None:
    """Change the first row of a pack and see that the second one's losses stay.

    Raises:
        TandemError: they do not, as in a recurrent model.
    """
    if len(rows) < 2:
        return
    shortest = sorted(range(len(rows)), key=lambda row: rows.row_lengths[row])[:2]
    batch = micro_batch(rows, tuple(shortest)).to(device)
    end = int(batch.row_starts[1])
    own = int((batch.predicts_from < end).sum())
    other = batch.with_tokens(batch.token_ids.clone())
    other.token_ids[:, :end] = batch.token_ids[:, -1:]
    with torch.no_grad():
        before, after = (answer_losses(model, each)[own:] for each in (batch, other))
    if not torch.allclose(before, after, atol=1e-4):
        raise TandemError(
            f"In {name} a row of a pack reaches the row behind it.",
            "A transformer whose only way from token to token is attention.",
            "Set `model` to such a model, or `training.packing: false`.",
        )
