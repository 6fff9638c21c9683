"""Log-probabilities of the tuned model on rows it was not trained on, to check the server against."""

import json
from pathlib import Path
from typing import Any

import torch

from training.data.examples import Examples, Flags
from training.data.micro_batch import MicroBatch
from training.model.loss import answer_losses

PARITY_FILE = "parity.jsonl"
MAX_PARITY_ROWS = 32


def write_parity_rows(model: Any, rows: Examples, folder: Path, device: torch.device) -> None:
    """Write up to 32 lines: prompt and answer token ids of a row's last turn, and the answer's log-probabilities."""
    with torch.no_grad():
        lines = [_parity_row(model, rows, index, device) for index in range(min(MAX_PARITY_ROWS, len(rows)))]
    (folder / PARITY_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def _parity_row(model: Any, rows: Examples, index: int, device: torch.device) -> dict[str, Any]:
    token_ids, is_answer = rows.sequence(index)
    start, end = find_last_answer(is_answer)
    tokens = torch.from_numpy(token_ids[:end]).long().to(device)
    batch = MicroBatch(
        token_ids=tokens[None],
        positions=torch.arange(end, device=device)[None],
        row_starts=torch.tensor([0, end], device=device),
        predicts_from=torch.arange(start - 1, end - 1, device=device),
        answers=tokens[start:],
    )
    losses = answer_losses(model, batch)
    return {
        "prompt_token_ids": tokens[:start].tolist(),
        "answer_token_ids": tokens[start:].tolist(),
        "logprobs": [round(-loss, 6) for loss in losses.tolist()],
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
    }


def find_last_answer(is_answer: Flags) -> tuple[int, int]:
    """Start and end of the last run of answer tokens."""
    places = is_answer.nonzero()[0]
    end = int(places[-1]) + 1
    before = (~is_answer[:end]).nonzero()[0]
    return int(before[-1]) + 1, end
