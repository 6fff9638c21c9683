import pytest

from training.config import TrainingConfig
from training.plan.schedule import LearningRateSchedule


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_rate_rises_in_the_warm_up_and_falls_after_it(kind: str, shares: list[float]) -> None:
    schedule = LearningRateSchedule.from_config(TrainingConfig(schedule=kind, warmup_ratio=0.3), num_steps=6)
    assert [schedule(step) for step in range(6)] == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.9])
@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_no_step_is_taken_at_nought_and_the_peak_is_reached(kind: str, warmup: float, num_steps: int) -> None:
    schedule = LearningRateSchedule.from_config(TrainingConfig(schedule=kind, warmup_ratio=warmup), num_steps)
    shares = [schedule(step) for step in range(num_steps)]
    assert min(shares) > 0
    assert max(shares) == 1
