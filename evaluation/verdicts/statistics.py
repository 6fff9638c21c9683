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
- Answers that come from one document are right or wrong together. Questions with one source are a cluster: the test
  exchanges the arms' answers cluster by cluster (with one question in each this is the sign test), and the intervals
  count n questions as n / (design effect) (J. N. K. Rao and A. J. Scott, 1992, Biometrics 48:577). Without this,
  intervals that say 95 % hold in about 80 of 100 cases: tests/evaluation/verdicts/test_simulations.py shows both.
  This speaks for documents like these. Where there are in effect fewer than ten, they are no sample of others: the
  questions count one by one, and what is found holds for these documents.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import bdtr, ndtri, stdtrit

from evaluation.results import Share

CONFIDENCE = 0.95
POWER = 0.8
PSEUDO_COUNT = 0.5
MIN_CLUSTERS = 10

Floats = NDArray[np.float64]
Flags = Sequence[bool] | NDArray[np.bool_]
Pairs = Sequence[tuple[bool, bool]] | NDArray[np.bool_]
Clusters = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class PairedDifference:
    """`difference` is the first share less the second, over `n` questions, with its interval and p-value.

    `discordance` is the share of questions on which the two differ, `level` the error that its interval may make, and
    `design_effect` by how much more a question would say if it were the only one from its document.
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

    @property
    def separated(self) -> bool:
        return self.adjusted_p < 1 - CONFIDENCE


def share(flags: Flags, clusters: Clusters | None = None) -> Share:
    """The share of True, with its Wilson interval; with `clusters`, that of as many independent flags as these say."""
    right, n = int(np.sum(flags)), len(flags)
    if n == 0:
        return Share(right=0, n=0, share=None, low=None, high=None)
    effective = n / _design_effect(np.asarray(flags, dtype=float), _numbers(clusters))
    low, high = _wilson(right / n, effective, 1 - CONFIDENCE)
    return Share(right=right, n=n, share=right / n, low=low, high=high)


def paired_differences(
    comparisons: Sequence[Pairs], clusters: Sequence[Clusters] | None = None
) -> list[PairedDifference | None]:
    """The differences of one family of comparisons, corrected for their number; None where there are no pairs.

    Args:
        comparisons: for each, both arms' answers (right or not) to the questions that both answered, `[n, 2]`.
        clusters: for each comparison, the number of the cluster of each question. Without it every one stands alone.
    """
    level = (1 - CONFIDENCE) / max(sum(len(pairs) > 0 for pairs in comparisons), 1)
    differences = [
        _paired_difference(pairs, level, clusters[number] if clusters else None) if len(pairs) else None
        for number, pairs in enumerate(comparisons)
    ]
    adjusted = iter(holm([each.p_value for each in differences if each]))
    return [_corrected(each, next(adjusted)) if each else None for each in differences]


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
    spread = _quantile(difference.level) * math.sqrt(difference.discordance)
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
    spread = math.sqrt(max(smoothed - difference.difference**2, 0.0)) * (_quantile(difference.level) + ndtri(POWER))
    return max(math.ceil(float(spread / room) ** 2 * difference.design_effect) - difference.n, 1)


def percentile(latencies_s: Sequence[float], percent: float) -> float | None:
    """The linearly interpolated percentile, in seconds; None without latencies."""
    return float(np.percentile(latencies_s, percent)) if latencies_s else None


def _paired_difference(pairs: Pairs, level: float, clusters: Clusters | None) -> PairedDifference:
    answers = np.asarray(pairs, dtype=np.int64)
    steps = answers[:, 0] - answers[:, 1]
    n, won, lost = len(steps), int(np.sum(steps > 0)), int(np.sum(steps < 0))
    numbers = _numbers(clusters)
    effect = _design_effect(steps.astype(float), numbers)
    low, high = _bootstrap(won / n, lost / n, max(round(n / effect), 1), level)
    p_value = _sign_test(won, lost) if numbers is None else _exchange_test(_sums(steps, numbers))
    return PairedDifference(
        n, (won - lost) / n, low, high, p_value, (won + lost) / n, level=level, design_effect=effect
    )


def _corrected(difference: PairedDifference, adjusted_p: float) -> PairedDifference:
    difference = replace(difference, adjusted_p=adjusted_p)
    if not difference.separated:
        return difference
    return (
        replace(difference, low=max(difference.low, 0.0))
        if difference.difference > 0
        else replace(difference, high=min(difference.high, 0))
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


def _sign_test(won: int, lost: int) -> float:
    return min(2 * float(bdtr(min(won, lost), won + lost, 0.5)), 1.0) if won + lost else 1.0


def _exchange_test(sums: NDArray[np.int64]) -> float:
    """How often exchanging the two arms in whole clusters at random gives a sum as far from 0 as the real one."""
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    reach = int(np.sum(sizes * counts))
    if not reach:
        return 1.0
    if reach == np.sum(counts):
        return _sign_test(int(np.sum(sums > 0)), int(np.sum(sums < 0)))
    # The sum is one of -reach, -reach + 2, ..., reach: half the steps do.
    angles = 2 * np.pi * np.arange(2 * reach + 1) / (2 * reach + 1)
    product = np.prod(np.cos(angles[:, None] * sizes) ** counts, axis=1)
    weights = np.roll(np.maximum(fft.ifft(product).real, 0.0), reach)
    values = np.arange(-reach, reach + 1)
    return float(min(np.sum(weights[np.abs(values) >= abs(int(np.sum(sums)))]), 1.0))


def _sums(steps: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(numbers, weights=steps).round().astype(np.int64)


def _design_effect(values: Floats, numbers: NDArray[np.int64] | None) -> float:
    """The variance of the mean with these clusters, by that without; with few clusters more, and never below 1."""
    if numbers is None or not np.ptp(values):
        return 1.0
    apart = values - values.mean()
    num_clusters = int(numbers.max()) + 1
    together = float(np.sum(np.bincount(numbers, weights=apart) ** 2)) * num_clusters / (num_clusters - 1)
    few = (float(stdtrit(num_clusters - 1, (1 + CONFIDENCE) / 2)) / _quantile(1 - CONFIDENCE)) ** 2
    return min(max(together / float(np.sum(apart**2)) * few, 1.0), float(len(values)))


def _numbers(clusters: Clusters | None) -> NDArray[np.int64] | None:
    """The clusters numbered from 0; None where each has one question, or there are in effect too few."""
    if clusters is None:
        return None
    known, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    if len(known) == len(numbers):
        return None
    effective = len(numbers) ** 2 / np.sum(np.bincount(numbers) ** 2)
    return numbers if effective >= MIN_CLUSTERS else None


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
