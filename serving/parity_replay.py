"""Whether the endpoint computes what was trained: the trainer's log-probabilities, asked for again over HTTP."""

import json
import math
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

TOO_LONG = "maximum context length"
"""What vLLM 0.29 says of a prompt that is too long (renderers/params.py); its status is 400, as of other refusals."""


def has_base_logprobs(recorded: Path) -> bool:
    """Whether a training left the base model's log-probabilities beside those of what it trained."""
    return all(BASE_LOGPROBS in json.loads(line) for line in recorded.read_text().splitlines())


def replay_parity(
    client: "OpenAI", model: str, recorded: Path, longest: int | None, expected: str = "logprobs"
) -> ParityResult:
    """Ask an endpoint for the log-probabilities that a training left in its parity.jsonl.

    Args:
        model: what is asked, such as `base:support@7`.
        longest: most tokens that the endpoint takes; longer rows are left out. None where only the engine knows, which
            refuses them.
        expected: the key of the log-probabilities in a line: those of what was trained, or BASE_LOGPROBS.

    Raises:
        TandemError: the endpoint refuses the model or gives no log-probabilities, or every row is too long.
    """
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    most = math.inf if longest is None else longest
    rows = [line for line in lines if len(line["prompt_token_ids"]) + len(line["answer_token_ids"]) < most]
    if not rows:
        raise _too_long(len(lines), recorded, f"the {longest} tokens that are served")
    asked = [(row, _ask(client, model, row)) for row in rows]
    answered = [(row, logprobs) for row, logprobs in asked if logprobs is not None]
    if not answered:
        raise _too_long(len(lines), recorded, "what the engine takes")
    differences = [
        abs(served - trained)
        for row, logprobs in answered
        for served, trained in zip(logprobs, row[expected], strict=True)
    ]
    return ParityResult(len(answered), len(differences), sum(differences) / len(differences), max(differences))


def _too_long(num_rows: int, recorded: Path, most: str) -> TandemError:
    return TandemError(
        f"Each of the {num_rows} rows in {recorded} is longer than {most}.",
        "At least one row to compare log-probabilities on.",
        "Raise `serving.max_model_len`.",
    )


def _ask(client: "OpenAI", model: str, row: dict[str, Any]) -> list[float] | None:
    """The endpoint's log-probability of each answer token; None where the row is longer than the engine takes.

    Only the engine knows its longest request where it was fitted to the memory (`serving.max_model_len` on a GPU).
    """
    from openai import OpenAIError

    answer = row["answer_token_ids"]
    try:
        completion = client.completions.create(
            model=model, prompt=row["prompt_token_ids"] + answer, max_tokens=1, temperature=0,
            extra_body={"prompt_logprobs": 0},
        )  # fmt: skip
    except OpenAIError as error:
        told = failed(error, str(client.base_url))
        if told.status == 400 and TOO_LONG in str(told):
            return None
        raise told from error
    places = (completion.choices[0].model_extra or {}).get("prompt_logprobs")
    if not places:
        raise TandemError(
            f"The endpoint {client.base_url} gives no log-probabilities of a prompt.",
            "vLLM's `prompt_logprobs`.",
            "Serve with `tandem serve`.",
        )
    return [float(place[str(token)]["logprob"]) for token, place in zip(answer, places[-len(answer) :], strict=True)]
