"""Known answers: over 1,000 simulated data sets with a known truth, intervals cover it and arms are ranked right.

A share of 1,000 data sets may miss the stated one by what chance allows: three standard errors of a binomial share.
"""

import math
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.evaluation_power import AGRICULTURE, OVADIA, PAPERS, RAFT, Paper, Synthetic, verdicts
from benchmarks.evaluation_simulations import document_sizes, draw_answers, optional_stopping
from evaluation.arms import Arm
from evaluation.questions.question import Question
from evaluation.results import Row
from evaluation.verdicts.statistics import paired_difference, paired_differences, share, smallest_effect
from evaluation.verdicts.summary import make_cells, make_differences

NUM_SETS = 1000
CHANCE = 3 * math.sqrt(0.05 * 0.95 / NUM_SETS)
Answers = NDArray[np.bool_]


def all_pairs(right: Answers) -> list[Answers]:
    num_arms = right.shape[1]
    return [right[:, [one, other]] for one in range(num_arms) for other in range(one + 1, num_arms)]


def true_differences(rates: list[float]) -> list[float]:
    return [one - other for place, one in enumerate(rates) for other in rates[place + 1 :]]


@pytest.mark.parametrize("n", [60, pytest.param(300, marks=pytest.mark.matrix)])
def test_intervals_cover_the_truth_all_together_and_arms_are_ranked_right(n: int) -> None:
    """Five arms, ten pairs: in 95 of 100 data sets every one of the ten intervals holds the true difference."""
    rng, rates = np.random.default_rng(1), [0.85, 0.70, 0.68, 0.40, 0.40]
    truth, covered, ranked_wrong = true_differences(rates), 0, 0
    for _ in range(NUM_SETS):
        found = paired_differences(all_pairs(rng.random((n, 5)) < rates))
        covered += all(each and each.low <= true <= each.high for each, true in zip(found, truth, strict=True))
        ranked_wrong += any(each and each.separated and each.difference * true <= 0
                            for each, true in zip(found, truth, strict=True))  # fmt: skip
    assert covered / NUM_SETS >= 0.95 - CHANCE
    assert ranked_wrong / NUM_SETS <= 0.05 + CHANCE


def test_one_interval_covers_at_its_rate_and_is_not_too_wide() -> None:
    rng, covered, width = np.random.default_rng(2), 0, 0.0
    for _ in range(NUM_SETS):
        found = paired_difference(rng.random((150, 2)) < [0.80, 0.72])
        assert found is not None
        covered += found.low <= 0.08 <= found.high
        width += found.high - found.low
    assert abs(covered / NUM_SETS - 0.95) <= CHANCE + 0.01, "0.01: a difference goes in steps of 1/150"
    normal = 2 * 1.96 * math.sqrt((0.80 * 0.28 + 0.20 * 0.72 - 0.08**2) / 150)
    assert width / NUM_SETS == pytest.approx(normal, rel=0.05)


@pytest.mark.parametrize(
    ("rate", "n"),
    [(0.5, 40), pytest.param(0.5, 400, marks=pytest.mark.matrix), pytest.param(0.95, 100, marks=pytest.mark.matrix)],
)
def test_of_equal_arms_none_is_told_apart(rate: float, n: int) -> None:
    """Six arms, fifteen pairs: in at most 5 of 100 data sets is any pair told apart."""
    rng = np.random.default_rng(3)
    wrong = sum(any(each and each.separated for each in paired_differences(all_pairs(rng.random((n, 6)) < rate)))
                for _ in range(NUM_SETS))  # fmt: skip
    assert wrong / NUM_SETS <= 0.05 + CHANCE


def clustered(rng: np.random.Generator, num_documents: int, each: int) -> Answers:
    """Two arms at .7 and .7: on half of the documents an arm is right on all of their questions or on none."""
    questions = rng.random((num_documents * each, 2)) < 0.7
    documents = np.repeat(rng.random((num_documents, 2)) < 0.7, each, axis=0)
    return np.where(np.repeat(rng.random((num_documents, 1)) < 0.5, each, axis=0), documents, questions)


@pytest.mark.parametrize("num_documents", [12, 60])
def test_where_questions_share_documents_only_the_clustered_interval_covers(num_documents: int) -> None:
    rng, numbers = np.random.default_rng(4), np.repeat(np.arange(num_documents), 5)
    covered, told_apart = {"plain": 0, "clustered": 0, "share": 0}, {"plain": 0, "clustered": 0}
    for _ in range(NUM_SETS):
        right = clustered(rng, num_documents, 5)
        for name, clusters in (("plain", None), ("clustered", numbers)):
            found = paired_difference(right, clusters)
            assert found is not None
            covered[name] += found.low <= 0 <= found.high
            told_apart[name] += found.separated
        single = share(right[:, 0], numbers)
        covered["share"] += single.low is not None and single.high is not None and single.low <= 0.7 <= single.high
    assert covered["plain"] / NUM_SETS < 0.90, "so the clusters are needed"
    assert covered["clustered"] / NUM_SETS >= 0.95 - CHANCE
    assert covered["share"] / NUM_SETS >= 0.95 - CHANCE
    assert told_apart["plain"] / NUM_SETS > 0.08
    assert told_apart["clustered"] / NUM_SETS <= 0.05 + CHANCE


@pytest.mark.parametrize("model", ["half", pytest.param("none", marks=pytest.mark.matrix)])
@pytest.mark.parametrize("shape", ["equal", "unequal", "third"])
@pytest.mark.parametrize("num_documents", [3, 8, 20])
def test_intervals_hold_and_equal_arms_stay_equal_on_few_documents(num_documents: int, shape: str, model: str) -> None:
    """benchmarks/results/evaluation-simulations-*.json has every number of documents and rate."""
    rng, sizes, num_sets = np.random.default_rng(8), document_sizes(shape, num_documents), 200
    clusters, held, told_apart = np.repeat(np.arange(num_documents), sizes), np.zeros(2), 0
    for _ in range(num_sets):
        right = draw_answers(rng, sizes, [0.9, 0.9], model)
        found, single = paired_difference(right, clusters), share(right[:, 0], clusters)
        assert found is not None and single.low is not None and single.high is not None
        held += [found.low <= 0 <= found.high, single.low <= 0.9 <= single.high]
        told_apart += found.separated
    assert held.min() / num_sets >= 0.93 - 3 * math.sqrt(0.05 * 0.95 / num_sets)
    assert told_apart / num_sets <= 0.06 + 3 * math.sqrt(0.05 * 0.95 / num_sets)


def test_looking_again_and_again_keeps_the_error() -> None:
    found = {each["metric"]: each["ours"] for each in optional_stopping(num_draws=60)}
    chance = 3 * math.sqrt(0.05 * 0.95 / 60)
    assert found["false_winners_following_about_n_more"] <= 0.05 + chance
    assert found["false_winners_adding_20_up_to_22_looks"] <= 0.05 + chance
    without = found["false_winners_adding_20_up_to_22_looks_without_the_rule"]
    assert without >= found["false_winners_adding_20_up_to_22_looks"]


@pytest.mark.parametrize(("n", "discordance"), [(100, 0.2), (400, 0.3), (1000, 0.1)])
def test_the_smallest_effect_is_shown_in_four_of_five_data_sets(n: int, discordance: float) -> None:
    effect = smallest_effect(n, discordance)
    assert effect is not None
    rng = np.random.default_rng(5)
    chances = [(discordance + effect) / 2, (discordance - effect) / 2, 1 - discordance]
    shown = 0
    for won, lost, same in rng.multinomial(n, chances, size=NUM_SETS):
        pairs = np.repeat(np.array([[1, 0], [0, 1], [1, 1]], dtype=bool), [won, lost, same], axis=0)
        found = paired_difference(pairs)
        shown += found is not None and found.separated
    assert 0.75 <= shown / NUM_SETS <= 0.90


@pytest.mark.parametrize("paper", [OVADIA, RAFT], ids=lambda paper: paper.name)
def test_the_verdict_is_the_papers_at_its_own_number_of_questions(paper: Paper) -> None:
    counts = verdicts(paper.rates, paper.num_questions or 0, num_draws=40)
    assert counts[paper.best] / 40 >= 0.95, counts


@pytest.mark.matrix
@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_the_verdict_is_right_in_95_of_100_data_sets(paper: Paper) -> None:
    counts = verdicts(paper.rates, paper.num_questions or 2500, num_draws=NUM_SETS)
    assert counts[paper.best] / NUM_SETS >= 0.95, counts


@pytest.mark.parametrize("paper", [RAFT, AGRICULTURE], ids=lambda paper: paper.name)
def test_thirty_questions_do_not_settle_what_is_close(paper: Paper) -> None:
    counts = verdicts(paper.rates, 30, num_draws=100)
    assert counts["not_enough"] >= 90, counts


@pytest.mark.parametrize(
    "rates", [{"base": 0.0, "tuned_retrieval": 1.0}, dict(OVADIA.rates), {"base": 1.0, "tuned": 1.0}], ids=str
)
def test_five_questions_settle_nothing(rates: dict[str, float]) -> None:
    assert verdicts(rates, 5, num_draws=50) == {"not_enough": 50}


def test_equal_arms_get_no_winner() -> None:
    counts = verdicts({"base": 0.6, "tuned": 0.6, "retrieval": 0.6, "tuned_retrieval": 0.6}, 100, num_draws=200)
    assert 200 - counts["not_enough"] - counts["tie"] <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95), counts


def test_five_thousand_questions_take_seconds() -> None:
    """6 arms, 10 slices, all pairs, several questions a document; processor time, so that neighbours do not count."""
    names, rng = [f"arm{number}" for number in range(6)], np.random.default_rng(6)
    made = Synthetic(names, 1)
    replies = [row.replies["arm0"] for row in (made.rows[0][0], made.rows[0][1])]
    rows = [
        Row(question=Question(id=str(i), slice=f"s{i % 10}", question="?", answers=("a",), sources=(f"{i // 3}.md",)),
            replies={name: replies[int(right)] for name, right in zip(names, rng.random(6) < 0.7, strict=True)})
        for i in range(5000)
    ]  # fmt: skip
    arms, started = [Arm(name, name) for name in names], time.process_time()
    cells, differences = make_cells(rows, arms), make_differences(rows, arms)
    assert (len(cells), len(differences)) == (66, 165)
    assert time.process_time() - started < 5
