"""Which settings a search tries."""

import itertools
import random

from pydantic import ValidationError

from cluster.errors import TandemError
from training.config import TrainingConfig


def candidates(config: TrainingConfig) -> list[TrainingConfig]:
    """The settings that a search tries: all combinations, or `num_trials` of them drawn by the seed.

    Raises TandemError for an unknown setting, a value that it does not take, an empty space or no held-out rows.
    """
    search = config.search
    if search is None or not search.space or not all(search.space.values()):
        raise _refused("training.search has no values to try.")
    if not config.held_out and not config.held_out_data:
        raise _refused("training.search compares held-out losses, and no rows are held out.")
    names = sorted(search.space)
    combinations = itertools.product(*(search.space[name] for name in names))
    tried = [_with(config, dict(zip(names, values, strict=True))) for values in combinations]  # all: a draw hides none
    if len(tried) > search.num_trials:
        return random.Random(config.seed).sample(tried, search.num_trials)
    return tried


def _with(config: TrainingConfig, settings: dict[str, object]) -> TrainingConfig:
    values = config.model_dump(exclude_unset=True, exclude={"search"}) | settings
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise _refused(f"training.search.space: {settings} is refused: {error.errors()[0]['msg']}.") from error


def _refused(seen: str) -> TandemError:
    return TandemError(
        seen,
        "A space names settings of `training`, each with a list of its values; a share of rows is held out.",
        "Correct `training.search` or `training.held_out` in the project file.",
    )
