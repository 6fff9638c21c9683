"""What answers show that go together document by document: an exact test, and the interval that inverts it.

- Two arms that are equally good could be exchanged on any document. The test counts how often exchanging them on whole
  documents at random gives a difference as large as the real one (R. A. Fisher, 1935). It is exact at any number of
  documents: with fewer than six nothing can reach 0.05.
- The interval holds every difference d that the same test does not reject, once d is taken from each question
  (J. A. Hartigan, 1969, JASA 64:1303). The signs of the eight largest documents are counted out, the sum of the
  others is taken as normal: so one document with a third of the questions weighs as what it is. Half a document of
  average size is added to the variance, or arms that never differed would be equal beyond all doubt.
- A share counts n questions as n / (design effect) (J. N. K. Rao and A. J. Scott, 1992, Biometrics 48:577). With few
  documents its variance is known badly: what a document differs from the rest is counted without the document's own
  pull on the mean (CR3; J. G. MacKinnon and H. White, 1985), two documents that are all right or all wrong are added
  with half a weight each, and the interval is widened as Student's t with as many documents as would count, of equal
  size.

benchmarks/evaluation_simulations.py measures how often these intervals hold.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import bdtr, ndtr, ndtri, stdtrit

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
COUNTED_OUT = 8
PSEUDO_DOCUMENTS = 0.5
_STEPS = 24
"""Of a bisection: an interval's ends are known to 2 / 2 ** 24."""


def sign_test(won: int, lost: int) -> float:
    """The exact two-sided p-value of so many questions won and lost."""
    return min(2 * float(bdtr(min(won, lost), won + lost, 0.5)), 1.0) if won + lost else 1.0


def exchange_test(sums: Whole) -> float:
    """How often exchanging the two arms in whole documents at random gives a sum as far from 0 as the real one.

    Args:
        sums: questions won less questions lost, `[documents]`.
    """
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    reach = int(np.sum(sizes * counts))
    if not reach:
        return 1.0
    if reach == np.sum(counts):
        return sign_test(int(np.sum(sums > 0)), int(np.sum(sums < 0)))
    # The sum is one of -reach, -reach + 2, ..., reach: half the steps do.
    angles = 2 * np.pi * np.arange(2 * reach + 1) / (2 * reach + 1)
    product = np.prod(np.cos(angles[:, None] * sizes) ** counts, axis=1)
    weights = np.roll(np.maximum(fft.ifft(product).real, 0.0), reach)
    values = np.arange(-reach, reach + 1)
    return float(min(np.sum(weights[np.abs(values) >= abs(int(np.sum(sums)))]), 1.0))


def least_documents(level: float) -> int:
    """The fewest documents with which the exchange test can reach an error of `level`, if all are won."""
    return math.ceil(1 - math.log2(level) - 1e-9)


def exchange_interval(sums: Whole, sizes: Whole, level: float) -> tuple[float, float]:
    """The differences per question that the exchange test does not reject at `level`; -1 to 1 where it rejects none.

    Args:
        sums: questions won less questions lost, `[documents]`; `sizes`: questions, `[documents]`.
    """
    if len(sums) < least_documents(level):
        return -1.0, 1.0
    order = np.argsort(-sizes, kind="stable")
    sums, sizes = sums[order], sizes[order]
    signs = _signs(min(COUNTED_OUT, len(sums)))
    middle = float(sums.sum() / sizes.sum())
    noise = PSEUDO_DOCUMENTS * float(sizes.mean()) ** 2

    def p_value(difference: float) -> float:
        apart = sums - difference * sizes
        reached, totals = abs(float(apart.sum())), signs @ apart[: signs.shape[1]]
        spread = math.sqrt(float(np.sum(apart[signs.shape[1] :] ** 2)) + noise)
        return float(np.mean(ndtr((totals - reached) / spread) + ndtr((-totals - reached) / spread)))

    return _last_kept(p_value, middle, -1.0, level), _last_kept(p_value, middle, 1.0, level)


def share_design_effect(right: Whole, sizes: Whole, level: float) -> float:
    """By how much more a question would say about a share if it were the only one from its document; at least 1.

    Args:
        right: right answers, `[documents]`; `sizes`: questions, `[documents]`.
    """
    n, num_documents = float(sizes.sum()), len(sizes)
    if num_documents == 1:
        return n
    mean, equal = float(right.sum()) / n, n**2 / float(np.sum(sizes.astype(float) ** 2))
    apart = (right - mean * sizes) / (1 - sizes / n)
    size = n / math.sqrt(num_documents * equal)
    together = float(np.sum(apart**2)) + PSEUDO_DOCUMENTS * size**2
    alone = n * mean * (1 - mean) + PSEUDO_DOCUMENTS * size
    few = (float(stdtrit(max(equal - 1, 0.5), 1 - level / 2)) / float(ndtri(1 - level / 2))) ** 2
    return min(max(together / alone * few, 1.0), n)


def difference_design_effect(sums: Whole, sizes: Whole, squares: int) -> float:
    """By how much more a question would say about a difference if it were the only one from its document; at least 1.

    Args:
        sums: as for `exchange_interval`; `squares`: the questions on which the two arms differ.
    """
    n = float(sizes.sum())
    mean, average = float(sums.sum()) / n, n / len(sizes)
    together = float(np.sum((sums - mean * sizes) ** 2)) + PSEUDO_DOCUMENTS * average**2
    alone = squares - n * mean**2 + PSEUDO_DOCUMENTS * average
    return min(max(together / alone, 1.0), n)


def _signs(number: int) -> Floats:
    """Every pattern of signs of so many documents but for the opposite ones, `[patterns, documents]`."""
    patterns = np.arange(2 ** (number - 1))[:, None] >> np.arange(number) & 1
    signs: Floats = 1.0 - 2.0 * patterns
    return signs


def _last_kept(p_value: Callable[[float], float], kept: float, end: float, level: float) -> float:
    """Towards `end`, the last difference whose p-value is above `level`, by bisection."""
    if p_value(end) > level:
        return end
    rejected = end
    for _ in range(_STEPS):
        half = (kept + rejected) / 2
        kept, rejected = (half, rejected) if p_value(half) > level else (kept, half)
    return rejected
