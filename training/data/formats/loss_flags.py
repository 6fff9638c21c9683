"""Which messages are learnt, as rows say it: `weight`, `loss`, `train`, `masked` and their like."""

from typing import Any

from training.data.formats.keys import LOSS_FLAGS
from training.data.formats.values import json_type

_MAX_SHOWN = 12


def read_flags(message: dict[str, Any], role: str, where: str) -> float | None:
    """What a message counts in the loss by its own flags, or None where it has none.

    Raises:
        ValueError: a flag is no number from 0 to 1 and no boolean, two contradict each other, or one asks to learn a
            message that is not the assistant's.
    """
    weights: dict[str, float] = {}
    for key, meaning in LOSS_FLAGS.items():
        if message.get(key) is None:
            continue
        weight = read_weight(message[key], f"`{key}` of {where}")
        weights[key] = 1 - weight if meaning == "leave out" else weight
        if meaning == "learn" and weight and role != "assistant":
            raise ValueError(f"{where} is not the assistant's and asks by `{key}` to be learnt; only answers are")
    if len(set(weights.values())) > 1:
        first, *others = weights
        other = next(key for key in others if weights[key] != weights[first])
        raise ValueError(f"{where} has `{first}` and `{other}`, which contradict each other")
    return next(iter(weights.values()), None)


def read_weight(value: Any, field: str) -> float:
    """A weight in the loss.

    Raises:
        ValueError: it is neither a boolean nor a number from 0 to 1.
    """
    if not isinstance(value, bool | int | float):
        raise ValueError(f"{field} is a JSON {json_type(value)}, neither a number from 0 to 1 nor a boolean")
    if not 0 <= value <= 1:
        raise ValueError(f"{field} is {str(value)[:_MAX_SHOWN]}, and not a number from 0 to 1")
    return abs(float(value))
