"""How often an adapter is loaded already when it is asked for: an LRU of some slots, and popularity by Zipf's law.

    hit_rate(zipf(1000, 1.0), 16)

Che's approximation (Che, Tung and Wang, IEEE JSAC 20(7), 2002): an LRU keeps what was asked for within the last T
requests, where T is such that as many are kept as there are slots.
"""

import math
from collections.abc import Sequence


def zipf(number: int, exponent: float) -> list[float]:
    """Shares of the requests, from the most to the least popular; exponent 0 has all alike."""
    weights = [rank**-exponent for rank in range(1, number + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def hit_rate(shares: Sequence[float], slots: int) -> float:
    """Share of the requests whose adapter is loaded."""
    if slots >= len(shares):
        return 1.0
    low, high = 0.0, 1.0
    while _kept(shares, high) < slots:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _kept(shares, middle) < slots else (low, middle)
    return sum(share * -math.expm1(-share * high) for share in shares)


def _kept(shares: Sequence[float], window: float) -> float:
    return sum(-math.expm1(-share * window) for share in shares)
