"""Intervals for shares, paired differences between arms, what they can show, and latency percentiles.

- A share's interval is Wilson's score interval (E. B. Wilson, 1927, JASA 22:209).
- A difference's interval is the percentile bootstrap over questions, paired: a draw takes a question with both arms'
  answers. The difference on one question is -1, 0 or 1, so the bootstrap's distribution is that of a sum of n such
  steps; it is worked out exactly (the n-th power of one step's characteristic function) instead of drawn. Nothing is
  random: the same answers give the same interval. Half a question is added to each of the four outcomes (A. Agresti and
  Y. Min, 2005, Statistics in Medicine 24:729), or arms that never differed would be equal beyond all doubt.
- Two arms are told apart by the exact sign test on the questions on which they differ (McNemar's test in its exact
  form): where arms differ on very few questions the bootstrap is too narrow. With 4 questions won and none lost it
  excludes 0, yet by chance alone that happens once in eight times.
- Several comparisons that are read together are a family. Their p-values are corrected by Holm's method (S. Holm,
  1979, Scandinavian Journal of Statistics 6:65): in 95 of 100 families nothing is told apart that is equal. Each
  interval holds with 1 - 0.05/m for a family of m: in 95 of 100 families all of them hold (Bonferroni). Holm's method
  tells a little more apart than these intervals do; there the bound beyond 0 is moved to 0, since the sign of the
  difference is settled (O. Guilbaud, 2008, Biometrical Journal 50:678).
- Answers that come from one document are right or wrong together. Questions that a document joins are a cluster: the
  test exchanges the arms' answers cluster by cluster (with one question in each this is the sign test), the interval
  of a difference inverts that test, and that of a share counts fewer questions (exchange.py says how). This holds at
  any number of documents; with too few nothing is told apart, and the interval says so. Without it, intervals that say
  95 % hold in about half of the cases: tests/evaluation/verdicts/test_simulations.py shows both.
- An interval and its test say the same: it reaches across 0 where, and only where, the two are not told apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtri

from evaluation.results import Share
from evaluation.verdicts.sampling.exchange import (
    difference_design_effect,
    exchange_interval,
    exchange_test,
    share_design_effect,
    sign_test,
)

CONFIDENCE = 0.95
POWER = 0.8
PSEUDO_COUNT = 0.5

Floats = NDArray[np.float64]
Flags = Sequence[bool] | NDArray[np.bool_]
Pairs = Sequence[tuple[bool, bool]] | NDArray[np.bool_]
Clusters = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class PairedDifference:
    """`difference` is the first share less the second, over `n` questions, with its interval and p-value.

    `discordance` is the share of questions on which the two differ, `level` the error that its interval may make, and
    `design_effect` by how much more a question would say if it were the only one from its document. `error` is what the
    whole family may make, and `next_level` the error that this interval may make when it is looked at again.
    """

    n: int
    difference: float
    low: float
    high: float
    p_value: float
    discordance: float
    adjusted_p: float = 1.0
    level: float = 1 - CONFIDENCE
    design_effect: float = 1.0
    num_clusters: int = 0
    error: float = 1 - CONFIDENCE
    next_level: float = 1 - CONFIDENCE

    @property
    def separated(self) -> bool:
        return self.adjusted_p < self.error


def share(flags: Flags, clusters: Clusters | None = None) -> Share:
    """The share of True, with its Wilson interval; with `clusters`, that of as many independent flags as these say."""
    marks = np.asarray(flags, dtype=np.int64)
    right, n = int(np.sum(marks)), len(marks)
    if n == 0:
        return Share(right=0, n=0, share=None, low=None, high=None)
    numbers = _numbers(clusters)
    effective = float(n)
    if numbers is not None:
        effective = n / share_design_effect(_sums(marks, numbers), np.bincount(numbers), 1 - CONFIDENCE)
    low, high = _wilson(right / n, effective, 1 - CONFIDENCE)
    num_clusters = n if numbers is None else int(numbers.max()) + 1
    return Share(right=right, n=n, share=right / n, low=low, high=high, num_documents=num_clusters)


def paired_differences(
    comparisons: Sequence[Pairs],
    clusters: Sequence[Clusters] | None = None,
    *,
    error: float = 1 - CONFIDENCE,
    next_error: float | None = None,
) -> list[PairedDifference | None]:
    """The differences of one family of comparisons, corrected for their number; None where there are no pairs.

    Args:
        comparisons: for each, both arms' answers (right or not) to the questions that both answered, `[n, 2]`.
        clusters: for each comparison, the number of the cluster of each question. Without it every one stands alone.
        error: the share of families in which something may be told apart that is equal (looks.py: by look).
        next_error: the same, when more questions have been asked; without it, `error`.
    """
    number_of_pairs = max(sum(len(pairs) > 0 for pairs in comparisons), 1)
    next_level = (error if next_error is None else next_error) / number_of_pairs
    differences = [
        _paired_difference(pairs, error / number_of_pairs, clusters[number] if clusters else None)
        if len(pairs)
        else None
        for number, pairs in enumerate(comparisons)
    ]
    adjusted = iter(holm([each.p_value for each in differences if each]))
    return [
        _corrected(replace(each, adjusted_p=next(adjusted), error=error, next_level=next_level)) if each else None
        for each in differences
    ]


def paired_difference(pairs: Pairs, clusters: Clusters | None = None) -> PairedDifference | None:
    """The difference of the two shares over questions that both arms answered, by itself; None without any."""
    return paired_differences([pairs], [clusters] if clusters is not None else None)[0]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the same order."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


def smallest_effect(n: int, discordance: float, level: float = 1 - CONFIDENCE) -> float | None:
    """The smallest true difference that n questions show in four of five cases; None where they cannot show any.

    The power of McNemar's test (R. J. Connor, 1987, Biometrics 43:207) with a correction for continuity. A difference
    cannot be larger than the share of questions on which the arms differ, so that share grows with it.

    Args:
        n: independent questions.
        discordance: the share of questions on which the two arms differ.
        level: the error that the test may make, corrected for the number of comparisons.
    """
    if 2.0 ** (1 - n) > level:
        return None  # not even all questions won are enough for the sign test
    effects = np.linspace(0.0005, 1.0, 2000)
    shown = effects[_power_reached(effects, np.maximum(discordance, effects), n, level)]
    return float(shown[0]) if len(shown) else None


def more_to_separate(difference: PairedDifference) -> int | None:
    """About how many more questions tell the two apart in four of five cases, if the difference stays as it is.

    None where they are told apart, and where they have not differed at all.
    """
    size = abs(difference.difference)
    if difference.separated or size == 0:
        return None
    spread = _quantile(difference.next_level) * math.sqrt(difference.discordance)
    spread += ndtri(POWER) * math.sqrt(max(difference.discordance - size**2, 0.0))
    # Fleiss' correction for continuity: the exact test counts in whole questions.
    needed = (spread / size) ** 2 + 1 / size
    return max(math.ceil(float(needed) * difference.design_effect) - difference.n, 1)


def more_to_tie(difference: PairedDifference, worth: float) -> int | None:
    """About how many more questions show the two to be within `worth` of each other in four of five cases.

    None where they are already, and where the difference is not within `worth`.
    """
    room = worth - abs(difference.difference)
    if room <= 0 or (difference.low >= -worth and difference.high <= worth):
        return None
    smoothed = (difference.discordance * difference.n + 2 * PSEUDO_COUNT) / (difference.n + 4 * PSEUDO_COUNT)
    spread = math.sqrt(max(smoothed - difference.difference**2, 0.0)) * (
        _quantile(difference.next_level) + ndtri(POWER)
    )
    return max(math.ceil(float(spread / room) ** 2 * difference.design_effect) - difference.n, 1)


def percentile(latencies_s: Sequence[float], percent: float) -> float | None:
    """The linearly interpolated percentile, in seconds; None without latencies."""
    return float(np.percentile(latencies_s, percent)) if latencies_s else None


def _paired_difference(pairs: Pairs, level: float, clusters: Clusters | None) -> PairedDifference:
    answers = np.asarray(pairs, dtype=np.int64)
    steps = answers[:, 0] - answers[:, 1]
    n, won, lost = len(steps), int(np.sum(steps > 0)), int(np.sum(steps < 0))
    numbers = _numbers(clusters)
    if numbers is None:
        (low, high), p_value, effect, count = _bootstrap(won / n, lost / n, n, level), sign_test(won, lost), 1.0, n
    else:
        sums, sizes = _sums(steps, numbers), np.bincount(numbers)
        (low, high), p_value = exchange_interval(sums, sizes, level), exchange_test(sums)
        effect, count = difference_design_effect(sums, sizes, won + lost), len(sizes)
    return PairedDifference(
        n, (won - lost) / n, low, high, p_value, (won + lost) / n, level=level, design_effect=effect, num_clusters=count
    )


def _corrected(difference: PairedDifference) -> PairedDifference:
    """With an interval that says the same as the corrected test."""
    if not difference.separated:
        return replace(difference, low=min(difference.low, 0.0), high=max(difference.high, 0.0))
    return (
        replace(difference, low=max(difference.low, 0.0))
        if difference.difference > 0
        else replace(difference, high=min(difference.high, 0.0))
    )


def _bootstrap(won: float, lost: float, n: int, level: float) -> tuple[float, float]:
    """The bounds of the bootstrap's distribution of the mean of n steps, which are 1 and -1 with these shares."""
    total = n + 4 * PSEUDO_COUNT
    up, down = (won * n + PSEUDO_COUNT) / total, (lost * n + PSEUDO_COUNT) / total
    length = fft.next_fast_len(2 * n + 1, real=True)
    turn = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
    weights = fft.irfft((1 - up - down + up * turn + down * turn.conj()) ** n, length)
    weights = np.roll(np.maximum(weights, 0.0), n)[: 2 * n + 1]
    below = np.cumsum(weights)
    low = int(np.searchsorted(below, level / 2, side="right"))
    high = int(np.searchsorted(below, 1 - level / 2, side="left"))
    return (low - n) / n, (min(high, 2 * n) - n) / n


def _sums(values: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(numbers, weights=values).round().astype(np.int64)


def _numbers(clusters: Clusters | None) -> NDArray[np.int64] | None:
    """The clusters numbered from 0; None where each has one question."""
    if clusters is None:
        return None
    known, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    return None if len(known) == len(numbers) else numbers


def _wilson(center: float, n: float, level: float) -> tuple[float, float]:
    """Wilson's interval for n that need not be whole."""
    z = _quantile(level)
    middle = (center + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(center * (1 - center) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return (0.0 if center == 0 else max(middle - half, 0.0)), (1.0 if center == 1 else min(middle + half, 1.0))


def _power_reached(effects: Floats, discordance: Floats, n: int, level: float) -> NDArray[np.bool_]:
    spread = ndtri(POWER) * np.sqrt(np.maximum(discordance - effects**2, 0.0))
    spread = spread + _quantile(level) * np.sqrt(discordance)
    reached: NDArray[np.bool_] = (spread / effects) ** 2 + 1 / effects <= n
    return reached


def _quantile(level: float) -> float:
    return float(ndtri(1 - level / 2))
