"""Which settings a search tries, and what is refused before anything starts."""

from typing import Any

import pytest

from cluster.errors import TandemError
from training.config import SearchConfig, TrainingConfig
from training.search import candidates


def _config(space: dict[str, list[Any]], num_trials: int = 8, **settings: Any) -> TrainingConfig:
    return TrainingConfig(search=SearchConfig(space=space, num_trials=num_trials), epochs=2, **settings)


def test_each_combination_is_tried_once() -> None:
    tried = candidates(_config({"learning_rate": [1e-4, 1e-3], "rank": [8, 16]}))
    assert {(each.learning_rate, each.rank) for each in tried} == {(1e-4, 8), (1e-4, 16), (1e-3, 8), (1e-3, 16)}
    assert all(each.epochs == 2 and each.search is None for each in tried)


def test_the_seed_decides_which_are_drawn() -> None:
    space = {"rank": list(range(1, 100))}
    ranks = [[each.rank for each in candidates(_config(space, 5, seed=seed))] for seed in (0, 0, 1)]
    assert ranks[0] == ranks[1] != ranks[2]
    assert len(set(ranks[0])) == 5


@pytest.mark.parametrize("space", [{}, {"rank": []}, {"rnak": [8]}, {"rank": [8, 0]}, {"learning_rate": ["fast"]}])
def test_a_space_that_is_wrong_is_refused(space: dict[str, list[Any]]) -> None:
    with pytest.raises(TandemError, match="space names settings"):
        candidates(_config(space))


def test_no_held_out_rows_are_refused() -> None:
    with pytest.raises(TandemError, match="held-out"):
        candidates(_config({"rank": [8]}, held_out=0))
