"""Which settings a search tries; that it runs is in test_train.py."""

from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.tune import candidates


def config(space: dict[str, Any], **changed: Any) -> TrainingConfig:
    search = {"space": space, **changed.pop("search", {})}
    return TrainingConfig.model_validate({"data": "rows.jsonl", "epochs": 2, "search": search, **changed})


def test_all_combinations_are_tried() -> None:
    tried = candidates(config({"learning_rate": [1e-3, 1e-4], "rank": [4, 8, 16]}))
    assert [(each.learning_rate, each.rank) for _, each in tried] == [
        (rate, rank) for rate in (1e-3, 1e-4) for rank in (4, 8, 16)
    ]
    assert tried[0][0] == {"learning_rate": 1e-3, "rank": 4}
    assert all(each.epochs == 2 and each.search is None for _, each in tried)


def test_of_many_combinations_the_seed_draws_some() -> None:
    space = {"learning_rate": [1e-3, 1e-4], "rank": list(range(1, 20))}
    first, again, other = (
        [settings for settings, _ in candidates(config(space, search={"num_trials": 5}, seed=seed))]
        for seed in (0, 0, 1)
    )
    assert len(first) == 5 and first == again != other


@pytest.mark.parametrize(
    ("space", "changed", "seen"),
    [
        ({"learning_rte": [1]}, {}, "learning_rte"),
        ({"rank": [4, -1]}, {}, "'rank': -1"),
        ({"rank": [4]}, {"held_out": 0}, "no rows are held out"),
        ({"seed": [1, 2]}, {}, "names seed"),
        ({"objective": ["sft", "dpo"]}, {}, "names objective"),
    ],
)
def test_what_cannot_be_searched_is_refused(space: dict[str, Any], changed: dict[str, Any], seen: str) -> None:
    with pytest.raises(TandemError, match=seen):
        candidates(config(space, **changed))


@pytest.mark.parametrize("space", [{}, {"rank": []}, {"rank": 4}])
def test_a_space_has_values(space: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(space)
