"""Shares and differences in percent and points: none and all are said of exactly these, and a sign is never lost."""

import pytest

from evaluation.results import Difference, Share
from evaluation.verdicts.percentages import percent, points, points_with_interval, with_interval


@pytest.mark.parametrize("n", [1, 7, 60, 241, 1000, 5000, 100_000])
def test_no_share_is_rounded_to_none_or_all(n: int) -> None:
    shown = [percent(right / n) for right in range(n + 1)]
    assert shown[0] == "0 %" and shown[-1] == "100 %"
    assert not {"0 %", "100 %", "0.0 %", "100.0 %"} & {*shown[1:-1]}
    values = [float(words.removesuffix(" %")) for words in shown]
    assert values == sorted(values)
    assert all(abs(value - 100 * right / n) <= 0.5 for right, value in enumerate(values))


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        (0.22, "+22 points"), (-0.22, "−22 points"), (0.0, "0 points"), (-0.0, "0 points"), (0.01, "+1 point"),
        (-0.01, "−1 point"), (0.004, "+0.4 points"), (-0.004, "−0.4 points"), (1.0, "+100 points"),
        (0.1 + 0.2 - 0.3, "0 points"), (1e-5, "0 points"), (0.0149, "+1 point"),
    ],
)  # fmt: skip
def test_a_difference_is_in_points(difference: float, shown: str) -> None:
    assert points(difference) == shown


def test_intervals_stand_in_brackets() -> None:
    assert with_interval(Share(right=171, n=241, share=0.7095, low=0.649, high=0.763)) == "71 % (65 to 76)"
    assert with_interval(Share(right=0, n=0, share=None, low=None, high=None)) == "none"
    assert with_interval(Share(right=1, n=2, share=0.5, low=None, high=None)) == "50 %"
    made = Difference(
        slice="overall", first="a", second="b", n=10, difference=0.22, low=0.1, high=0.33, p_value=0.01, separated=True
    )
    assert points_with_interval(made) == "+22 points (10 to 33)"
    assert points_with_interval(made.model_copy(update={"low": -0.1})) == "+22 points (−10 to 33)"
    assert points_with_interval(made.model_copy(update={"difference": None})) == "no question was answered by both"
