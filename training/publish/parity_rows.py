"""Log-probabilities of the trainer on rows it was not trained on, to check the server against.

They come from the training engine: no second model is loaded, and a fault of saving, merging or loading is between them
and what vLLM computes from the files. Those of the base, from before the first step, say how far two correct engines
are apart on this machine.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.data.examples import Examples, Flags
from training.data.micro_batch import MicroBatch
from training.model.loss import answer_losses

PARITY_FILE = "parity.jsonl"
MAX_PARITY_ROWS = 32

RowLogprobs = Mapping[int, list[float]]
"""Row -> the log-probability of each token of its last answer, in nats."""


def answer_logprobs(
    model: Any, rows: Examples, device: torch.device, rank: int = 0, num_ranks: int = 1
) -> dict[int, list[float]]:
    """Log-probabilities of the last answer of every `num_ranks`-th row from `rank` on, of the first 32.

    Every rank computes the same number of rows, so that weights that are shared out can be gathered.
    """
    number = min(MAX_PARITY_ROWS, len(rows))
    logprobs = {}
    with torch.no_grad():
        for first in range(0, number, num_ranks):
            row = min(first + rank, number - 1)
            values = [round(-loss, 6) for loss in answer_losses(model, _last_answer(rows, row, device)).tolist()]
            if first + rank < number:
                logprobs[row] = values
    return logprobs


def write_parity_rows(
    rows: Examples, folder: Path, tuned: RowLogprobs, base: RowLogprobs | None, dtype: torch.dtype
) -> None:
    """Write a line for each row: prompt and answer token ids of its last turn, and the answer's log-probabilities.

    Args:
        base: those of the base model; None where they are not known.
        dtype: the number format that they were computed in.
    """
    lines = []
    for row in sorted(tuned):
        token_ids, is_answer = rows.sequence(row)
        start, end = find_last_answer(is_answer)
        of_base = {} if base is None else {"base_logprobs": base[row]}
        lines.append({
            "prompt_token_ids": token_ids[:start].tolist(), "answer_token_ids": token_ids[start:end].tolist(),
            "logprobs": tuned[row], **of_base, "dtype": str(dtype).removeprefix("torch."),
        })  # fmt: skip
    (folder / PARITY_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def _last_answer(rows: Examples, row: int, device: torch.device) -> MicroBatch:
    token_ids, is_answer = rows.sequence(row)
    start, end = find_last_answer(is_answer)
    tokens = torch.from_numpy(token_ids[:end]).long().to(device)
    return MicroBatch(
        token_ids=tokens[None],
        positions=torch.arange(end, device=device)[None],
        row_starts=torch.tensor([0, end], device=device),
        predicts_from=torch.arange(start - 1, end - 1, device=device),
        answers=tokens[start:],
    )


def find_last_answer(is_answer: Flags) -> tuple[int, int]:
    """Start and end of the last run of answer tokens."""
    places = is_answer.nonzero()[0]
    end = int(places[-1]) + 1
    before = (~is_answer[:end]).nonzero()[0]
    return int(before[-1]) + 1, end
