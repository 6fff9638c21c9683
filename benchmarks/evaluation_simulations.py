"""How often the verdict is right and its intervals hold, on answers that are drawn at known rates.

OMP_NUM_THREADS=1 python -m benchmarks.evaluation_simulations              # all, about ten minutes on one core
python -m benchmarks.evaluation_simulations coverage false_winners        # only these; the other rows stay as they were

A simulation is a function that returns rows for benchmarks/results/, each with its target; SIMULATIONS lists them.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import FOLDER, row, write
from evaluation.questions.question import OVERALL
from evaluation.results import ArmResult, Cell, Difference, Recommendation
from evaluation.verdicts.sampling.looks import ONE_LOOK, Looks, error_of_look
from evaluation.verdicts.sampling.selection import optimism
from evaluation.verdicts.sampling.stages import arms_out, looks_of_stages, stage_end
from evaluation.verdicts.statistics import paired_difference, share
from evaluation.verdicts.summary import DEFAULT_WORTH, Compared, Marks
from evaluation.verdicts.verdict import recommend

Answers = NDArray[np.bool_]
Marked = NDArray[np.int8]
Sizes = NDArray[np.int64]
Rows = list[dict[str, Any]]
NUM_QUESTIONS = 120
DOCUMENTS = (3, 6, 8, 12, 20, 40)
SHAPES = ("equal", "unequal", "third")
MODELS = ("half", "none")
RATES = ((0.5, 0.5), (0.7, 0.7), (0.95, 0.95), (0.95, 0.8))


def document_sizes(shape: str, num_documents: int, num_questions: int = NUM_QUESTIONS) -> Sizes:
    """Questions of each document: `equal`; `unequal`, the k-th as 1 / k; or the first with a `third` of all."""
    parts = np.ones(num_documents)
    if shape == "unequal":
        parts = 1 / np.arange(1, num_documents + 1)
    if shape == "third" and num_documents > 1:
        parts[0] = (num_documents - 1) / 2
    sizes: Sizes = np.maximum(np.round(parts / parts.sum() * num_questions), 1).astype(np.int64)
    return sizes


def draw_answers(rng: np.random.Generator, sizes: Sizes, rates: Sequence[float], model: str) -> Answers:
    """Right or not, `[questions, arms]`. In the model `half` an arm is right on all questions or on none of half of the
    documents; in `none` every question is drawn by itself, and in `all` whole documents are."""
    documents = np.repeat(np.arange(len(sizes)), sizes)
    questions = rng.random((len(documents), len(rates))) < rates
    whole = (rng.random((len(sizes), len(rates))) < rates)[documents]
    together = rng.random((len(sizes), 1)) < {"half": 0.5, "none": 0.0, "all": 1.0}[model]
    return np.where(together[documents], whole, questions)


def coverage(num_draws: int = 800) -> Rows:
    """How often intervals of shares and differences cover the truth, and how often equal arms are called different."""
    rng, worst = np.random.default_rng(1), dict[tuple[str, str], float]()
    for model, shape, num_documents, rates in product(MODELS, SHAPES, DOCUMENTS, RATES):
        sizes = document_sizes(shape, num_documents)
        clusters = np.repeat(np.arange(num_documents), sizes)
        held = np.zeros(3)
        for _ in range(num_draws):
            right = draw_answers(rng, sizes, rates, model)
            found, single = paired_difference(right, clusters), share(right[:, 0], clusters)
            assert found and single.low is not None and single.high is not None
            held += [single.low <= rates[0] <= single.high,
                     found.low - 1e-9 <= rates[0] - rates[1] <= found.high + 1e-9, found.separated]  # fmt: skip
        shares = held / num_draws
        name = f"{model}_{shape}"
        worst["share", name] = min(worst.get(("share", name), 1.0), shares[0])
        worst["difference", name] = min(worst.get(("difference", name), 1.0), shares[1])
        if rates[0] == rates[1]:
            worst["told_apart", name] = max(worst.get(("told_apart", name), 0.0), shares[2])
    return [
        row(f"{'most' if what == 'told_apart' else 'least'}_{what}_{name}_3_to_40_documents", "share", round(value, 4),
            "<= 0.06" if what == "told_apart" else ">= 0.93")
        for (what, name), value in worst.items()
    ]  # fmt: skip


class Drawn:
    """The verdict on answers that are drawn, by the functions that a comparison uses."""

    def __init__(self, num_arms: int) -> None:
        names = [f"arm{number}" for number in range(num_arms)]
        self.marks = Marks([], [])
        self.family = [(first, second) for first, second in combinations(names, 2)]
        self.arms = [
            ArmResult(
                name=name, title=name, model=name, answered_as=[name], warm_up_s=None, warm_up_failed=None, failures={}
            )
            for name in names
        ]

    def differences(self, marks: Marked, clusters: NDArray[np.int64], looks: Looks) -> list[Difference]:
        """Of every pair of arms, on marks `[questions, arms]`: 1 right, 0 wrong, -1 not asked."""
        self.marks.clusters = clusters
        self.marks.by_arm = {arm.name: column for arm, column in zip(self.arms, marks.T, strict=True)}
        rows = np.arange(len(marks))
        compared = [Compared(OVERALL, rows, first, second) for first, second in self.family]
        return self.marks.differences_of(compared, DEFAULT_WORTH, looks)

    def verdict(
        self, answers: Answers | Marked, clusters: NDArray[np.int64], looks: Looks = ONE_LOOK
    ) -> Recommendation:
        """The verdict on answers, or marks, `[questions, arms]` with the cluster of each question."""
        marks = answers.astype(np.int8)
        differences = self.differences(marks, clusters, looks)
        cells = [_cell(arm.name, column, clusters) for arm, column in zip(self.arms, marks.T, strict=True)]
        return recommend(self.arms, cells, differences, max_failed_share=0.05)


def _cell(arm: str, marks: Marked, clusters: NDArray[np.int64]) -> Cell:
    asked = marks >= 0
    accuracy = share(marks[asked] == 1, clusters[asked])
    return Cell(
        arm=arm, slice=OVERALL, num_questions=len(marks), num_failed=0, num_not_asked=int(np.sum(~asked)),
        accuracy=accuracy, content=None, form=None, refused=accuracy, false_answers=None, cited_right=None,
        retrieved_right=None, latency_p50_s=None, latency_p95_s=None,
    )  # fmt: skip


def false_winners(num_draws: int = 200) -> Rows:
    """How often one of four equal arms is declared the winner, through the whole verdict."""
    rng, drawn, most = np.random.default_rng(2), Drawn(4), dict[str, float]()
    for model, shape, num_documents, rate in product(MODELS, SHAPES, (6, 10, 40), (0.7, 0.95)):
        sizes = document_sizes(shape, num_documents)
        clusters = np.repeat(np.arange(num_documents), sizes)
        found = [drawn.verdict(draw_answers(rng, sizes, [rate] * 4, model), clusters) for _ in range(num_draws)]
        winners = sum(each.outcome == "winner" for each in found) / num_draws
        most[f"{model}_{shape}"] = max(most.get(f"{model}_{shape}", 0.0), winners)
    return [
        row(f"most_false_winners_{name}_6_to_40_documents", "share", value, "<= 0.06") for name, value in most.items()
    ]


def optional_stopping(num_draws: int = 400) -> Rows:
    """Two equal arms, looked at again and again until one wins or they tie: how often does one win?"""
    spent = [Looks(k, error_of_look(k), error_of_look(k + 1)) for k in range(1, 30)]
    rows = []
    for name, looks, target in (("", spent, "<= 0.05"), ("_without_the_rule", [ONE_LOOK] * len(spent), None)):
        by_words = _share_of_winners(num_draws, looks, lambda found, n: min(found.more_questions or 100, 4000 - n), 100)
        by_twenty = _share_of_winners(num_draws, looks, lambda found, n: 20 if n < 480 else 0, 60)
        rows.append(row(f"false_winners_following_about_n_more{name}", "share", by_words, target))
        rows.append(row(f"false_winners_adding_20_up_to_22_looks{name}", "share", by_twenty, target))
    return [*rows, *_after_about_n_more(num_draws, spent)]


def _share_of_winners(
    num_draws: int, looks: Sequence[Looks], more: Callable[[Recommendation, int], int], first: int
) -> float:
    rng, drawn, winners = np.random.default_rng(3), Drawn(2), 0
    for _ in range(num_draws):
        right = rng.random((first, 2)) < 0.7
        for look in looks:
            found = drawn.verdict(right, np.arange(len(right)), look)
            added = more(found, len(right)) if found.outcome == "not_enough" else 0
            if added <= 0:
                break
            right = np.concatenate([right, rng.random((added, 2)) < 0.7])
        winners += found.outcome == "winner"
    return winners / num_draws


def _after_about_n_more(num_draws: int, looks: Sequence[Looks]) -> Rows:
    """Of comparisons that were not settled, how many are after "about N more"; four of five are promised."""
    rows = []
    for rates in ((0.8, 0.7), (0.7, 0.7)):
        rng, drawn, settled, open_ones = np.random.default_rng(4), Drawn(2), 0, 0
        for _ in range(num_draws):
            right = rng.random((100, 2)) < rates
            found = drawn.verdict(right, np.arange(100), looks[0])
            if found.more_questions and found.more_questions < 20_000:
                more = rng.random((found.more_questions, 2)) < rates
                again = drawn.verdict(np.concatenate([right, more]), np.arange(100 + len(more)), looks[1])
                open_ones, settled = open_ones + 1, settled + (again.outcome != "not_enough")
        name = f"settled_after_about_n_more_{rates[0]}_and_{rates[1]}"
        # Four of five are promised if the difference stays; between equal arms it does not.
        target = ">= 0.8" if rates[0] != rates[1] else None
        rows.append(row(name, "share", round(settled / max(open_ones, 1), 4), target))
    return rows


def winners_figure(num_draws: int = 400) -> Rows:
    """By how much the best arm's share is too high, with and without the correction; how often its interval holds."""
    rng, rows = np.random.default_rng(5), []
    cases = (
        ("six_equal", [0.7] * 6, 176, 176), ("four_equal", [0.9] * 4, 1000, 1000), ("two_equal", [0.7] * 2, 100, 100),
        ("six_equal_40_documents", [0.7] * 6, 160, 40), ("one_clear", [0.3, 0.5, 0.9], 150, 150),
        ("two_close", [0.6, 0.7, 0.72], 150, 150),
    )  # fmt: skip
    for name, rates, n, num_documents in cases:
        sizes, found = document_sizes("equal", num_documents, n), []
        clusters = np.repeat(np.arange(num_documents), sizes)
        for _ in range(num_draws):
            right = draw_answers(rng, sizes, rates, "none" if n == num_documents else "half")
            best = int(np.argmax(right.mean(axis=0)))
            own, lucky = share(right[:, best], clusters), optimism(right, clusters)
            assert own.share is not None and own.low is not None and own.high is not None
            over = own.share - rates[best]
            found.append([over, over - lucky, own.low - lucky <= rates[best] <= own.high])
        raw, left, held = np.mean(found, axis=0)
        rows.append(row(f"too_high_{name}", "share", round(float(raw), 4)))
        rows.append(row(f"too_high_after_correction_{name}", "share", round(float(left), 4), "<= 0.015"))
        rows.append(row(f"interval_holds_after_correction_{name}", "share", round(float(held), 4), ">= 0.93"))
    return rows


# Rates of the arms, and the number of questions.
STAGED = {
    "six_arms": ([0.15, 0.3, 0.5, 0.75, 0.82, 0.9], 400), "six_arms_of_1000": ([0.15, 0.3, 0.5, 0.75, 0.82, 0.9], 1000),
    "four_arms": ([0.2, 0.35, 0.7, 0.85], 400), "close": ([0.6, 0.7, 0.72, 0.75], 400), "equal": ([0.7] * 4, 400),
}  # fmt: skip


def calls_saved(num_draws: int = 100) -> Rows:
    """Four stages beside asking everything: the share of calls saved, and how often the verdict is the same."""
    rng, rows, looks = np.random.default_rng(6), [], Looks(1, error_of_look(1), error_of_look(2))
    for name, (rates, n) in STAGED.items():
        drawn, saved, same, winners = Drawn(len(rates)), 0.0, 0, 0
        for _ in range(num_draws):
            right = rng.random((n, len(rates))) < rates
            staged, asked = _in_stages(drawn, right, looks)
            whole = drawn.verdict(right, np.arange(len(right)), looks)
            saved += 1 - asked / right.size
            same += (staged.outcome, staged.arm) == (whole.outcome, whole.arm)
            winners += staged.outcome == "winner"
        # Half is the aim where most arms are clearly worse; nothing can be saved among equals.
        target = ">= 0.5" if name.startswith(("six", "four")) else None
        rows.append(row(f"calls_saved_{name}", "share", round(saved / num_draws, 4), target))
        rows.append(row(f"same_verdict_{name}", "share", round(same / num_draws, 4), ">= 0.9"))
        if name == "equal":
            rows.append(row(f"false_winners_in_stages_{name}", "share", round(winners / num_draws, 4), "<= 0.05"))
    return rows


def _in_stages(drawn: Drawn, right: Answers, looks: Looks, num_stages: int = 4) -> tuple[Recommendation, int]:
    """The verdict, and how many answers were asked for."""
    between, last = looks_of_stages(looks, num_stages)
    marks = np.full(right.shape, -1, dtype=np.int8)
    names, asked = [arm.name for arm in drawn.arms], [True] * right.shape[1]
    for stage in range(num_stages):
        part = slice(int(np.sum((marks >= 0).any(axis=1))), stage_end(len(right), stage + 1, num_stages))
        marks[part, asked] = right[part, asked]
        differences = drawn.differences(marks[: part.stop], np.arange(part.stop), between)
        if stage < num_stages - 1:
            still = {name for name, is_asked in zip(names, asked, strict=True) if is_asked}
            out = arms_out([each for each in differences if {each.first, each.second} <= still], DEFAULT_WORTH)
            asked = [name in still - out for name in names]
    return drawn.verdict(marks, np.arange(len(right)), last), int(np.sum(marks >= 0))


SIMULATIONS: dict[str, Callable[[], Rows]] = {
    "coverage": coverage, "false_winners": false_winners, "optional_stopping": optional_stopping,
    "winners_figure": winners_figure, "calls_saved": calls_saved,
}  # fmt: skip


def main() -> None:
    """Run the named simulations, or all, and write benchmarks/results/evaluation-simulations-<machine>.json."""
    for name in sys.argv[1:] or list(SIMULATIONS):
        started = time.perf_counter()
        found = [{**each, "metric": f"{name}: {each['metric']}"} for each in SIMULATIONS[name]()]
        found.append(row(f"{name}: seconds", "s", round(time.perf_counter() - started, 1)))
        for each in found:
            print(each["metric"], each["ours"], each["target"] or "", file=sys.stderr)
        kept = [each for each in _written() if not each["metric"].startswith(f"{name}: ")]
        print(write("evaluation-simulations", [*kept, *found], " ".join((__doc__ or "").split())))


def _written() -> Rows:
    return [
        each for path in FOLDER.glob("evaluation-simulations-*.json") for each in json.loads(path.read_text())["rows"]
    ]


if __name__ == "__main__":
    main()
