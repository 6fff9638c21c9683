import pytest

from training.data.progress import format_duration
from training.trainer.fit import ProgressLine


def step(number: int, time: float, tokens: int = 100) -> dict[str, float]:
    return {"step": number, "time": time, "tokens": tokens, "loss": 1.5}


def test_speed_and_time_left_are_those_since_the_first_step() -> None:
    progress = ProgressLine(20)
    assert progress.render(step(1, 50.0)) == "█" + "░" * 19 + " step 1/20, loss 1.5000"
    progress.render(step(2, 52.0))
    assert progress.render(step(5, 58.0, 300)) == "█" * 5 + "░" * 15 + " step 5/20, loss 1.5000, 50 tokens/s, 30 s left"


def test_steps_that_are_done_again_start_the_clock_again() -> None:
    progress = ProgressLine(20)
    for number in (10, 11, 12):
        progress.render(step(number, 10.0 * number))
    assert "left" not in progress.render(step(9, 500.0))
    assert progress.render(step(10, 501.0)).endswith("100 tokens/s, 10 s left")


def test_the_end_of_the_bar_is_the_last_step() -> None:
    assert ProgressLine(7).render(step(7, 0.0)).startswith("█" * 20 + " step 7/7")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (187, "3:07"), (7500, "2:05:00")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
