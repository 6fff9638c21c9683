"""Which trials a tuning has; that it runs is in test_train.py."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from tests.machines import MACHINES
from training.config import TrainingConfig
from training.run import prepare_run
from training.tune import Trial, _finished_trial, check_same_held_out, find_best, trial_configs


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
        ({"control_tokens": ["warn", "refuse"]}, {}, "names control_tokens"),
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


def trial(number: int, loss: float | None, share: float = 1, error: str | None = None) -> Trial:
    return Trial(number, {"learning_rate": 10.0**-number}, loss, share, error)


def test_only_a_trial_that_ran_to_its_end_is_the_best_one() -> None:
    ended = [trial(0, 2.0), trial(1, 1.5), trial(2, 1.5)]
    others = [
        trial(3, 0.1, share=0.3), trial(4, 0.1, error="The training diverged."), trial(5, None, share=0),
        trial(6, None), trial(7, None, share=0.05, error="The training diverged: the loss became nan in step 3."),
    ]  # fmt: skip
    for shift in range(8):
        assert find_best([*ended, *others][shift:] + [*ended, *others][:shift]) == ended[1]
    assert find_best(others) is None


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, None])
def test_a_loss_that_cannot_be_compared_is_a_failure(loss: float | None) -> None:
    ended = _finished_trial(0, {"rank": 4}, loss)
    assert not ended.has_finished
    assert ended.describe(1).startswith("trial 1 of 1 (rank 4): failed. Its held-out loss is ")


def test_a_trial_is_described_by_how_it_went() -> None:
    assert trial(0, 1.5).describe(2) == "trial 1 of 2 (learning_rate 1.0): held-out loss 1.5000"
    assert trial(0, 1.5, share=0.33).describe(2).endswith("held-out loss 1.5000, stopped after 33%")
    assert trial(0, None, share=0).describe(2).endswith("stopped before its first held-out loss")
    assert (
        trial(0, 0.5, share=0.1, error="It diverged.").describe(2).endswith("(learning_rate 1.0): failed. It diverged.")
    )


@pytest.mark.parametrize("objective", ["sft", "text"])
def test_trials_are_measured_on_the_same_tokens(tmp_path: Path, model_folder: Path, objective: str) -> None:
    row = {"text": "one two three " * 30} if objective == "text" else {"prompt": "One?", "completion": "two"}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 4)
    space = {"sequence_length": [32, 64]}
    changed = {"objective": objective, "data": tmp_path / "rows.jsonl", "workers": 1}
    jobs, trials = [], trial_configs(config(space, **changed))
    for number, (_, each) in enumerate(trials):
        (tmp_path / str(number)).mkdir()
        jobs.append(prepare_run(each, str(model_folder), tmp_path / str(number), hardware=MACHINES["no GPU"]))
    settings = [changed for changed, _ in trials]
    seen = r"Trial 1 \(sequence_length 32\) and trial 2 \(sequence_length 64\) hold out different rows or tokens"
    with pytest.raises(TandemError, match=seen) if objective == "text" else nullcontext():
        check_same_held_out(jobs, settings)
