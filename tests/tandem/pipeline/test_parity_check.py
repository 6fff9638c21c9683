"""Which limit a version is checked against, and which earlier checks still decide."""

import pytest

from cluster.registry.registry import ParityCheck
from tandem.pipeline.parity_check import Tolerance, _decides, parity_limit
from training.config import TrainingConfig


@pytest.mark.parametrize(
    ("tolerance", "base", "limit"),
    [
        ("auto", None, 0.05),
        ("auto", 0.003, 0.05),
        ("auto", 0.046, 0.092),  # the base's noise that vllm#18352 shows on a GPU
        ("auto", 1.5, 0.25),  # another base than was trained on is no noise
        (0.01, 0.046, 0.01),
        (0.4, None, 0.4),
    ],
)
def test_the_limit_follows_the_base_unless_it_is_set(tolerance: Tolerance, base: float | None, limit: float) -> None:
    assert parity_limit(tolerance, base) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("known", "tolerance", "decides"),
    [
        ({"mean_difference": 0.01, "tolerance": 0.05}, "auto", True),  # passed in an earlier version of Tandem
        ({"mean_difference": 0.07, "tolerance": 0.05}, "auto", False),  # failed there: the base was never asked
        ({"mean_difference": 0.07, "tolerance": 0.05, "base_difference": 0.01}, "auto", True),
        ({"mean_difference": 0.07, "tolerance": 0.09, "base_difference": 0.045}, "auto", True),
        ({"mean_difference": 0.3, "tolerance": 0.5}, "auto", False),  # passed under a number that is not set any more
        ({"mean_difference": 0.07, "tolerance": 0.05}, 0.05, True),
        ({"mean_difference": 0.07, "tolerance": 0.05}, 0.1, False),
    ],
)
def test_an_earlier_check_decides_under_the_same_limit_only(known: dict, tolerance: Tolerance, decides: bool) -> None:
    facts = {"num_rows": 2, "num_tokens": 9, "max_difference": 1.0, "checked": "2026-01-01", "versions": {}}
    assert _decides(ParityCheck.model_validate({**facts, **known}), tolerance) == decides


@pytest.mark.parametrize("value", [0, -0.1, "always"])
def test_a_tolerance_is_a_positive_number_auto_or_null(value: object) -> None:
    with pytest.raises(ValueError, match="parity_tolerance"):
        TrainingConfig.model_validate({"parity_tolerance": value})


@pytest.mark.parametrize("value", [0.05, "auto", None])
def test_tolerances_that_are_accepted(value: object) -> None:
    assert TrainingConfig.model_validate({"parity_tolerance": value}).parity_tolerance == value
