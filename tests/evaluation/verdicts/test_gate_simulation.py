"""Known rates: an equal version is rarely refused, and one that is 10 points worse rarely passes.

A share of the draws may miss the stated one by what chance allows: three standard errors of a binomial share.
"""

import math
from dataclasses import replace

import pytest

from benchmarks.gate_simulation import AS_QUICKSTART, AT_1000, SHARED, WORSE, Setting, outcomes

FEW_DRAWS, MANY_DRAWS = 100, 500


def chance(share: float, num_draws: int) -> float:
    return 3 * math.sqrt(share * (1 - share) / num_draws)


def check(setting: Setting, num_draws: int) -> None:
    equal, worse = (outcomes(setting, loss, num_draws) for loss in (0.0, WORSE))
    assert equal["refused"] / num_draws <= 0.05 + chance(0.05, num_draws), equal
    assert worse["passed"] / num_draws <= 0.05 + chance(0.05, num_draws), worse
    if setting.times > 1 and not setting.documents:
        assert equal["passed"] / num_draws >= 0.9 - chance(0.9, num_draws), equal


@pytest.mark.parametrize(
    "setting", [AS_QUICKSTART[1], SHARED[0], replace(AS_QUICKSTART[1], times=AT_1000)], ids=lambda each: each.name
)
def test_gates_refuse_and_pass_at_their_rates(setting: Setting) -> None:
    check(setting, FEW_DRAWS)


@pytest.mark.matrix
@pytest.mark.parametrize("times", [0.25, 1.0, AT_1000])
@pytest.mark.parametrize("setting", [*AS_QUICKSTART, *SHARED], ids=lambda each: each.name)
def test_gates_refuse_and_pass_at_their_rates_whatever_is_asked(setting: Setting, times: float) -> None:
    check(replace(setting, times=times), MANY_DRAWS)
