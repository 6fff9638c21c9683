"""Intervals against published values, against scipy's own bootstrap and tests, and the number of questions needed."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from evaluation.verdicts.statistics import (
    PairedDifference,
    holm,
    more_to_separate,
    more_to_tie,
    paired_difference,
    paired_differences,
    percentile,
    share,
    smallest_effect,
)


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


def found_in(data: list[tuple[bool, bool]], clusters: list[int] | None = None) -> PairedDifference:
    found = paired_difference(data, clusters)
    assert found is not None
    return found


def test_no_answers_have_no_share() -> None:
    assert share([]).share is None
    assert paired_difference([]) is None
    assert paired_differences([]) == []
    assert percentile([], 50) is None


@pytest.mark.parametrize(("won", "lost", "n"), [(40, 15, 150), (9, 3, 60), (300, 220, 2000)])
def test_the_difference_is_the_bootstrap_of_scipy(won: int, lost: int, n: int) -> None:
    found = found_in(pairs(won, lost, both=n - won - lost))
    deltas = np.array([1] * won + [-1] * lost + [0] * (n - won - lost))
    theirs = bootstrap((deltas,), np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    assert found.difference == pytest.approx((won - lost) / n)
    slack = 1.01 / n + 0.003
    assert (found.low, found.high) == (pytest.approx(theirs.low, abs=slack), pytest.approx(theirs.high, abs=slack))


def test_nothing_is_drawn() -> None:
    assert found_in(pairs(20, 9, 50)) == found_in(pairs(20, 9, 50))
    assert found_in(pairs(20, 9, 50)).low == -found_in(pairs(9, 20, 50)).high


@pytest.mark.parametrize(("won", "separated"), [(3, False), (4, False), (5, False), (6, True)])
def test_a_few_lucky_questions_do_not_separate(won: int, separated: bool) -> None:
    assert found_in(pairs(won, 0, both=50)).separated is separated


def test_arms_that_never_differ_may_differ_on_a_question_not_asked() -> None:
    ten, hundred = found_in(pairs(0, 0, both=10)), found_in(pairs(0, 0, both=100))
    assert not ten.separated and ten.p_value == 1
    assert ten.low == -ten.high and ten.high >= 0.2
    assert 0.01 <= hundred.high <= 0.04, "the rule of three: 0.03"


def test_holms_method_as_published() -> None:
    """Holm, 1979: the smallest of m is multiplied by m, the next by m - 1; none is below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_of_many_comparisons_has_to_show_more() -> None:
    lucky, equal = pairs(9, 1, both=40), pairs(5, 5, both=40)
    assert found_in(lucky).separated
    found = paired_differences([lucky, *[equal] * 14])
    assert found[0] is not None and not found[0].separated
    assert found[0].adjusted_p == pytest.approx(min(found[0].p_value * 15, 1))
    assert found[0].high - found[0].low > found_in(lucky).high - found_in(lucky).low
    assert found[0].low <= 0


def test_a_bound_does_not_cross_0_where_holm_tells_apart_and_bonferroni_does_not() -> None:
    close, clear = pairs(14, 4, both=40), pairs(50, 0, both=8)
    found = paired_differences([close, *[clear] * 5])
    assert found[0] is not None and found[0].p_value > 0.05 / 6
    assert (found[0].separated, found[0].low) == (True, 0.0)


def test_the_test_by_clusters_is_the_sign_test_where_each_has_one_question() -> None:
    data = pairs(17, 6, both=30)
    assert found_in(data, list(range(53))) == found_in(data)
    assert found_in(data).p_value == pytest.approx(binomtest(17, 23).pvalue)


def test_exchanging_whole_clusters_is_counted_exactly() -> None:
    sums = [3, 2, 2, -1, 1, 2, -2, 3, 1, 2, 1, 2]
    data = [(value > 0, value < 0) for value in sums for _ in range(abs(value))]
    clusters = [number for number, value in enumerate(sums) for _ in range(abs(value))]
    signed = [sum(sign * abs(value) for sign, value in zip(signs, sums, strict=True))
              for signs in itertools.product((1, -1), repeat=len(sums))]  # fmt: skip
    expected = sum(abs(each) >= abs(sum(sums)) for each in signed) / len(signed)
    assert found_in(data, clusters).p_value == pytest.approx(expected)
    assert found_in(data).p_value < expected / 2


def test_answers_that_go_together_count_for_less() -> None:
    data = pairs(30, 10, both=60)
    together = found_in(data, [number // 5 for number in range(100)])
    assert together.design_effect > 3
    assert together.high - together.low > 1.5 * (found_in(data).high - found_in(data).low)
    flags = [number < 60 for number in range(100)]
    wide, narrow = share(flags, [number // 5 for number in range(100)]), share(flags)
    assert wide.low is not None and narrow.low is not None and wide.low < narrow.low - 0.05


@pytest.mark.parametrize("num_documents", [1, 2, 3, 5])
def test_on_fewer_than_six_documents_nothing_is_told_apart(num_documents: int) -> None:
    found = found_in(pairs(100, 0), [number % num_documents for number in range(100)])
    assert (found.separated, found.low, found.high) == (False, -1.0, 1.0)
    assert found.p_value == pytest.approx(2.0 ** (1 - num_documents))


def test_fewer_documents_never_show_more() -> None:
    """The same answers, once on many documents and once on few: the interval is wider, the p-value larger."""
    data = [pair for number in range(12) for pair in pairs(3 if number < 3 else 0, 1 if number == 4 else 0, 9)[:9]]
    many = found_in(data, [number // 9 for number in range(len(data))])
    few = found_in(data, [number // 18 for number in range(len(data))])
    assert many.p_value < few.p_value and few.high - few.low > many.high - many.low
    assert few.num_clusters == 6 and many.num_clusters == 12


@pytest.mark.parametrize("sizes", [[20] * 6, [1] * 10 + [40], [9, 7, 5, 3, 2, 2, 1, 1], [35] + [1] * 65, [3] * 30])
def test_the_interval_reaches_across_0_where_the_test_tells_nothing_apart(sizes: list[int]) -> None:
    rng, clusters = np.random.default_rng(7), np.repeat(np.arange(len(sizes)), sizes)
    for lead in (0.0, 0.2, 0.5, 0.9):
        right = rng.random((len(clusters), 2)) < [0.1 + lead, 0.1]
        found = found_in([(bool(one), bool(other)) for one, other in right], clusters.tolist())
        assert (found.low > 0 or found.high < 0 or 0.0 in (found.low, found.high)) >= found.separated
        assert found.separated or found.low <= 0 <= found.high
        assert found.low <= found.difference <= found.high


def test_one_large_document_does_not_hide_what_all_documents_show() -> None:
    """131 documents, one with a third of the questions: one arm is better on all of them."""
    sizes = np.array([65] + [1] * 130)
    clusters = np.repeat(np.arange(131), sizes)
    right = np.stack([np.ones(195, dtype=bool), np.arange(195) % 2 == 0], axis=1)
    found = found_in([(bool(one), bool(other)) for one, other in right], clusters.tolist())
    assert found.separated and found.low > 0.3 and found.high < 0.7


def test_an_interval_and_its_test_agree_for_questions_that_stand_alone() -> None:
    lucky = found_in(pairs(4, 0, both=50))
    assert (lucky.separated, lucky.low) == (False, 0.0)


def test_the_smallest_effect_shrinks_with_the_questions() -> None:
    effects = [smallest_effect(n, 0.2) for n in (30, 100, 400, 5000)]
    assert all(later < earlier for earlier, later in itertools.pairwise(effects) if earlier and later)
    assert smallest_effect(100, 0.2, 0.05 / 15) > smallest_effect(100, 0.2)  # type: ignore[operator]
    assert smallest_effect(5, 0.2) is None, "five questions won of five are no proof"


def test_more_questions_are_none_where_it_is_settled() -> None:
    assert more_to_separate(found_in(pairs(40, 2, both=58))) is None
    assert more_to_tie(found_in(pairs(1, 1, both=998)), worth=0.05) is None
    assert more_to_tie(found_in(pairs(20, 5, both=75)), worth=0.05) is None, "0.15 apart is no tie"
    assert (more_to_separate(found_in(pairs(12, 6, both=82))) or 0) > 50
    assert (more_to_tie(found_in(pairs(8, 7, both=85)), worth=0.05) or 0) > 50


def test_percentiles() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([1.0], 95) == 1.0
