"""By how much the best arm's own share flatters it."""

import numpy as np
import pytest

from evaluation.arms import Arm
from evaluation.verdicts.sampling.selection import optimism, selection_optimism


def mean_error(rates: list[float], n: int, num_documents: int, num_draws: int = 150) -> tuple[float, float]:
    """How much too high the best arm's share is on average, before and after the correction."""
    rng, found = np.random.default_rng(1), []
    clusters = np.arange(n) % num_documents
    for _ in range(num_draws):
        right = rng.random((n, len(rates))) < rates
        best = int(np.argmax(right.mean(axis=0)))
        over = right[:, best].mean() - rates[best]
        found.append((over, over - optimism(right, clusters)))
    before, after = np.mean(found, axis=0)
    return float(before), float(after)


@pytest.mark.parametrize(("rates", "n"), [([0.7] * 6, 176), ([0.9] * 4, 400)])
def test_the_best_of_equals_is_lucky_by_about_what_is_said(rates: list[float], n: int) -> None:
    before, after = mean_error(rates, n, n)
    assert before > 0.01 and abs(after) < before / 3


def test_an_arm_that_is_far_ahead_is_not_corrected() -> None:
    before, after = mean_error([0.3, 0.5, 0.9], 150, 150)
    assert abs(before - after) < 1e-3


def test_the_same_answers_give_the_same_figure() -> None:
    right = np.random.default_rng(2).random((60, 3)) < 0.6
    assert optimism(right, np.arange(60)) == optimism(right, np.arange(60)) > 0
    assert optimism(right, np.arange(60) // 6) != optimism(right, np.arange(60)), "documents count"


@pytest.mark.parametrize(
    "right", [np.ones((20, 3), dtype=bool), np.zeros((20, 2), dtype=bool), np.ones((1, 2), dtype=bool)]
)
def test_arms_that_never_differ_have_no_best(right: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> None:
    assert optimism(right, np.arange(len(right))) == 0.0


def test_nothing_answered_by_all_is_nothing_to_say() -> None:
    assert selection_optimism([], [Arm("base", "base"), Arm("tuned", "tuned")]) is None
