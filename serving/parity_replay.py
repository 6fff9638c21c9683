"""Whether the endpoint computes what was trained: the trainer's log-probabilities, asked for again over HTTP."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from serving.client import failed

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass(frozen=True)
class ParityResult:
    """How far the endpoint's log-probabilities of the answers' tokens are from the trainer's, in nats per token."""

    num_rows: int
    num_tokens: int
    mean_difference: float
    max_difference: float


BASE_LOGPROBS = "base_logprobs"
"""The key of the base model's log-probabilities in a line of parity.jsonl; earlier versions have none."""


def has_base_logprobs(recorded: Path) -> bool:
    """Whether a training left the base model's log-probabilities beside those of what it trained."""
    return all(BASE_LOGPROBS in json.loads(line) for line in recorded.read_text().splitlines())


def replay_parity(
    client: "OpenAI", model: str, recorded: Path, longest: int | None, expected: str = "logprobs"
) -> ParityResult:
    """Ask an endpoint for the log-probabilities that a training left in its parity.jsonl.

    Args:
        model: what is asked, such as `base:support@7`.
        longest: most tokens that the endpoint takes; longer rows are left out. None where only the engine knows.
        expected: the key of the log-probabilities in a line: those of what was trained, or BASE_LOGPROBS.

    Raises:
        TandemError: the endpoint refuses the model or gives no log-probabilities, or every row is too long.
    """
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    most = math.inf if longest is None else longest
    rows = [line for line in lines if len(line["prompt_token_ids"]) + len(line["answer_token_ids"]) < most]
    if not rows:
        raise TandemError(
            f"Each of the {len(lines)} rows in {recorded} is longer than the {most:g} tokens that are served.",
            "At least one row to compare log-probabilities on.",
            "Raise `serving.max_model_len`.",
        )
    differences = [
        abs(served - trained)
        for row in rows
        for served, trained in zip(_ask(client, model, row), row[expected], strict=True)
    ]
    return ParityResult(len(rows), len(differences), sum(differences) / len(differences), max(differences))


def _ask(client: "OpenAI", model: str, row: dict[str, Any]) -> Iterator[float]:
    """The endpoint's log-probability of each answer token."""
    from openai import OpenAIError

    answer = row["answer_token_ids"]
    try:
        completion = client.completions.create(
            model=model, prompt=row["prompt_token_ids"] + answer, max_tokens=1, temperature=0,
            extra_body={"prompt_logprobs": 0},
        )  # fmt: skip
    except OpenAIError as error:
        raise failed(error, str(client.base_url)) from error
    places = (completion.choices[0].model_extra or {}).get("prompt_logprobs")
    if not places:
        raise TandemError(
            f"The endpoint {client.base_url} gives no log-probabilities of a prompt.",
            "vLLM's `prompt_logprobs`.",
            "Serve with `tandem serve`.",
        )
    for token, place in zip(answer, places[-len(answer) :], strict=True):
        yield float(place[str(token)]["logprob"])
