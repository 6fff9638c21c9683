"""generation_config.json beside published weights: the base model's, with the ends that the training taught."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.data.templates.learnt_ends import GENERATION_CONFIG, end_token_ids, read_generation_config


def write_generation_config(folder: Path, model: str, stop_token_ids: Sequence[int], known: Sequence[int]) -> None:
    """Write the base model's generation_config.json with every learnt end among its `eos_token_id`.

    A file that names all of them already is left as it is.

    Args:
        folder: that of the published weights.
        stop_token_ids: the tokens that end learnt answers.
        known: those at which the base model is known to end, for a model without that file.
    """
    path = folder / GENERATION_CONFIG
    settings: dict[str, Any] = read_generation_config(str(folder)) or read_generation_config(model) or {}
    ends = end_token_ids(settings)
    wanted = list(dict.fromkeys([*(ends or known), *stop_token_ids]))
    if path.exists() and set(stop_token_ids) <= set(ends):
        return
    if wanted and wanted != ends:
        settings["eos_token_id"] = wanted[0] if len(wanted) == 1 else wanted
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
