"""Intervals for shares, paired differences between arms, and latency percentiles.

- A share's interval is Wilson's score interval (E. B. Wilson, 1927, JASA 22:209).
- A difference's interval is the percentile bootstrap over questions, paired: a draw takes a question with both arms'
  answers. The difference on one question is -1, 0 or 1, so drawing n questions with replacement is one draw from a
  multinomial distribution over these three counts. That is the same bootstrap, without the loop over questions.
- Where arms differ on very few questions the bootstrap is too narrow (with 4 questions won and none lost it excludes 0,
  yet by chance alone that happens once in eight times), so two arms count as separated only where the exact sign test
  on the questions on which they differ agrees (McNemar's test in its exact form).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from evaluation.results import Share

NUM_DRAWS = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """`difference` is the first share less the second, with its interval and the sign test's p-value."""

    n: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def separated(self) -> bool:
        return (self.low > 0 or self.high < 0) and self.p_value < 1 - CONFIDENCE


def share(flags: Sequence[bool]) -> Share:
    """The share of True, with its Wilson interval."""
    right, n = sum(flags), len(flags)
    if n == 0:
        return Share(right=0, n=0, share=None, low=None, high=None)
    interval = binomtest(right, n).proportion_ci(CONFIDENCE, method="wilson")
    return Share(right=right, n=n, share=right / n, low=float(interval.low), high=float(interval.high))


def paired_difference(pairs: Sequence[tuple[bool, bool]], seed: int) -> PairedDifference | None:
    """The difference of the two shares over questions that both arms answered; None without any."""
    n = len(pairs)
    if n == 0:
        return None
    won = sum(first and not second for first, second in pairs)
    lost = sum(second and not first for first, second in pairs)
    counts = np.random.default_rng(seed).multinomial(n, [won / n, lost / n, (n - won - lost) / n], size=NUM_DRAWS)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile((counts[:, 0] - counts[:, 1]) / n, [tail, 100 - tail])
    p_value = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return PairedDifference(n, (won - lost) / n, float(low), float(high), float(p_value))


def percentile(latencies_s: Sequence[float], percent: float) -> float | None:
    """The linearly interpolated percentile, in seconds; None without latencies."""
    return float(np.percentile(latencies_s, percent)) if latencies_s else None
