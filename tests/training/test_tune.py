"""Which trials a tuning has; that it runs is in test_train.py."""

from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.tune import trial_configs


def config(space: dict[str, Any], **changed: Any) -> TrainingConfig:
    tune = {"space": space, **changed.pop("tune", {})}
    return TrainingConfig.model_validate({"data": "rows.jsonl", "epochs": 2, "tune": tune, **changed})


def test_all_combinations_are_tried() -> None:
    tried = trial_configs(config({"learning_rate": [1e-3, 1e-4], "rank": [4, 8, 16]}))
    assert [(each.learning_rate, each.rank) for _, each in tried] == [
        (rate, rank) for rate in (1e-3, 1e-4) for rank in (4, 8, 16)
    ]
    assert tried[0][0] == {"learning_rate": 1e-3, "rank": 4}
    assert all(each.epochs == 2 and each.tune is None for _, each in tried)


def test_of_many_combinations_the_seed_draws_some() -> None:
    space = {"learning_rate": [1e-3, 1e-4], "rank": list(range(1, 20))}
    first, again, other = (
        [settings for settings, _ in trial_configs(config(space, tune={"num_trials": 5}, seed=seed))]
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
def test_what_cannot_be_tuned_is_refused(space: dict[str, Any], changed: dict[str, Any], seen: str) -> None:
    with pytest.raises(TandemError, match=seen):
        trial_configs(config(space, **changed))


@pytest.mark.parametrize("space", [{}, {"rank": []}, {"rank": 4}])
def test_a_space_has_values(space: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(space)


def test_the_former_name_of_the_setting_is_read() -> None:
    former = TrainingConfig.model_validate({"search": {"space": {"rank": [4, 8]}}})
    assert former == TrainingConfig.model_validate({"tune": {"space": {"rank": [4, 8]}}})
    assert former.model_dump(exclude_unset=True).keys() == {"tune"}
    assert TrainingConfig.model_validate({"search": None}).tune is None


def test_an_error_names_the_setting_as_it_is_written() -> None:
    for name in ("search", "tune"):
        with pytest.raises(ValidationError) as error:
            TrainingConfig.model_validate({name: {"space": {}}})
        assert error.value.errors()[0]["loc"] == (name, "space")


def test_a_setting_under_both_names_is_refused() -> None:
    with pytest.raises(ValidationError, match="`search` is the former name of `tune`; write one of them"):
        TrainingConfig.model_validate({"search": {"space": {"rank": [4]}}, "tune": {"space": {"rank": [8]}}})
