"""Che's approximation beside an LRU that is really asked."""

from collections import OrderedDict
from random import Random

import pytest

from serving.capacity.adapter_cache import hit_rate, zipf


def asked(shares: list[float], slots: int, number: int = 60_000) -> float:
    """Hits of an LRU, after it has filled."""
    rng, held, hits = Random(1), OrderedDict[int, None](), 0
    for turn, adapter in enumerate(rng.choices(range(len(shares)), shares, k=2 * number)):
        hits += turn >= number and adapter in held
        held[adapter] = None
        held.move_to_end(adapter)
        if len(held) > slots:
            held.popitem(last=False)
    return hits / number


@pytest.mark.parametrize(("number", "exponent", "slots"), [(1000, 1.0, 16), (1000, 1.0, 200), (100, 0.6, 16)])
def test_it_agrees_with_an_lru(number: int, exponent: float, slots: int) -> None:
    shares = zipf(number, exponent)
    assert hit_rate(shares, slots) == pytest.approx(asked(shares, slots), abs=0.01)


def test_the_ends() -> None:
    assert hit_rate(zipf(10, 1.0), 10) == 1.0
    assert hit_rate(zipf(1000, 0.0), 100) == pytest.approx(0.1, abs=1e-6)
    assert sum(zipf(1000, 1.3)) == pytest.approx(1.0)
