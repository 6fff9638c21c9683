"""Intervals against published values, against scipy's own bootstrap, and against the truth they have to cover."""

import random

import numpy as np
import pytest
from scipy.stats import bootstrap

from evaluation.statistics import paired_difference, percentile, share


def pairs(won: int, lost: int, both: int = 0, neither: int = 0) -> list[tuple[bool, bool]]:
    return [(True, False)] * won + [(False, True)] * lost + [(True, True)] * both + [(False, False)] * neither


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_as_published(right: int, n: int, low: float, high: float) -> None:
    """Newcombe, 1998, Statistics in Medicine 17:857, table I, method 3."""
    found = share([True] * right + [False] * (n - right))
    assert (found.right, found.n) == (right, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_no_answers_have_no_share() -> None:
    assert share([]).share is None
    assert paired_difference([], seed=0) is None
    assert percentile([], 50) is None


def test_the_difference_is_the_bootstrap_of_scipy() -> None:
    data = pairs(won=40, lost=15, both=60, neither=35)
    found = paired_difference(data, seed=3)
    deltas = np.array([int(first) - int(second) for first, second in data])
    theirs = bootstrap((deltas,), np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    assert found is not None and found.difference == pytest.approx(25 / 150)
    assert (found.low, found.high) == (pytest.approx(theirs.low, abs=0.01), pytest.approx(theirs.high, abs=0.01))
    assert found.separated


def test_the_same_seed_gives_the_same_interval() -> None:
    assert paired_difference(pairs(20, 9, 50), seed=5) == paired_difference(pairs(20, 9, 50), seed=5)


@pytest.mark.parametrize(("won", "separated"), [(3, False), (4, False), (5, False), (6, True)])
def test_a_few_lucky_questions_do_not_separate(won: int, separated: bool) -> None:
    found = paired_difference(pairs(won, 0, both=50), seed=0)
    assert found is not None and found.separated is separated


def test_arms_that_never_differ_are_not_separated() -> None:
    found = paired_difference(pairs(0, 0, both=10), seed=0)
    assert found is not None and (found.low, found.high, found.separated) == (0.0, 0.0, False)


def test_intervals_cover_the_true_difference() -> None:
    """200 simulated comparisons of two arms at .80 and .72 on the same 150 questions: about 95 % cover .08."""
    rng, covered = random.Random(1), 0
    for seed in range(200):
        draws = [(rng.random() < 0.80, rng.random() < 0.72) for _ in range(150)]
        found = paired_difference(draws, seed)
        covered += found is not None and found.low <= 0.08 <= found.high
    assert 0.91 <= covered / 200 <= 0.985


def test_percentiles() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([1.0], 95) == 1.0
