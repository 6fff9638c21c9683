"""Which tokens end the answers that are learnt, and at which tokens the base model's answers end when it is served."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GENERATION_CONFIG = "generation_config.json"


def learnt_ends(last_tokens: Mapping[int, int], control_tokens: Mapping[int, str]) -> tuple[int, ...]:
    """The tokens that end learnt answers, by their id.

    Args:
        last_tokens: how many learnt sequences end with each token.
        control_tokens: the text of each token that cannot be a part of an ordinary text.

    An ordinary token (a line feed) is none: answers would stop at the first one. Where most answers end with such a
    token, a control token that a few end with was in their text, and is none either.
    """
    ends = Counter({token: count for token, count in last_tokens.items() if token in control_tokens})
    if 2 * ends.total() < sum(last_tokens.values()):
        return ()
    return tuple(sorted(ends))


def read_generation_config(model: str) -> dict[str, Any] | None:
    """generation_config.json of a model in a folder or on the hub; None where there is none that can be read."""
    return _read_model_file(model, GENERATION_CONFIG)


def served_ends(tokenizer: Any, model: str) -> tuple[int, ...]:
    """The tokens at which vLLM 0.29 ends an answer of the base model.

    These are the tokenizer's end-of-sequence token and those of generation_config.json; without that file, those of
    config.json (vllm/sampling_params.py, update_from_generation_config).
    """
    settings = read_generation_config(model)
    if settings is None:
        settings = _read_model_file(model, "config.json") or {}
        settings = settings if end_token_ids(settings) else settings.get("text_config") or {}
    return tuple(sorted({*end_token_ids(settings), *end_token_ids({"eos_token_id": tokenizer.eos_token_id})}))


def end_token_ids(settings: Mapping[str, Any]) -> list[int]:
    """`eos_token_id` of a configuration as a list: it may be a number, a list of them, or missing."""
    value = settings.get("eos_token_id")
    values = value if isinstance(value, list) else [value]
    return [each for each in values if type(each) is int]


def _read_model_file(model: str, name: str) -> dict[str, Any] | None:
    from transformers.utils import cached_file

    path = cached_file(model, name, _raise_exceptions_for_missing_entries=False)
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
