"""From graded replies to numbers: one cell per arm and slice, one difference per pair of arms and slice.

`overall` is every question but the `general` ones, which have a slice of their own. The pairs of arms on `overall` are
one family of comparisons, those on all slices another: statistics.py says what is corrected and how. Where questions
share their first source they are a cluster; questions without a source stand alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evaluation.arms import Arm
from evaluation.config import ArmName, EvaluationConfig
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.results import Cell, Difference, Grade, Reply, Row, Share
from evaluation.verdicts.statistics import (
    PairedDifference,
    more_to_separate,
    more_to_tie,
    paired_differences,
    percentile,
    share,
    smallest_effect,
)

# On fewer, arms that never differed may be 0.05 apart: the rule of three.
MIN_QUESTIONS_FOR_A_TIE = 60
DEFAULT_WORTH: float = EvaluationConfig.model_fields["worth"].default


@dataclass(frozen=True)
class Compared:
    """Two arms on some rows of a `Marks`."""

    slice: str
    rows: NDArray[np.int64]
    first: ArmName
    second: ArmName


class Marks:
    """Every arm's answers as numbers, made once for all comparisons: 1 right, 0 wrong, -1 without a grade."""

    def __init__(self, rows: Sequence[Row], arms: Sequence[ArmName]) -> None:
        self.clusters = clusters_of(rows)
        self.by_arm = {arm: np.array([_mark(row.replies[arm]) for row in rows], dtype=np.int8) for arm in arms}

    def differences_of(self, family: Sequence[Compared], worth: float) -> list[Difference]:
        """The differences of comparisons that are read together, corrected for their number."""
        pairs, clusters = [], []
        for each in family:
            both = np.stack([self.by_arm[each.first][each.rows], self.by_arm[each.second][each.rows]], axis=1)
            answered = (both >= 0).all(axis=1)
            pairs.append(both[answered] == 1)
            clusters.append(self.clusters[each.rows][answered])
        paired = paired_differences(pairs, clusters)
        return [_difference(each, made, worth) for each, made in zip(family, paired, strict=True)]


def make_cells(rows: Sequence[Row], arms: Sequence[Arm]) -> list[Cell]:
    """Every arm on all questions, then on each slice, in the order of the file."""
    clusters = clusters_of(rows)
    return [
        _cell(arm, name, [rows[number] for number in chosen], clusters[chosen])
        for name, chosen in numbers_by_slice(rows).items()
        for arm in arms
    ]


def make_differences(rows: Sequence[Row], arms: Sequence[Arm], *, worth: float = DEFAULT_WORTH) -> list[Difference]:
    """Every pair of arms, on all questions and on each slice, over the questions that both answered.

    Args:
        worth: the difference that would matter: two arms are as good where their interval lies within it.
    """
    names, marks = [arm.name for arm in arms], Marks(rows, [arm.name for arm in arms])
    compared = [
        Compared(slice_name, chosen, first, second)
        for slice_name, chosen in numbers_by_slice(rows).items()
        for first, second in combinations(names, 2)
    ]
    overall = [each for each in compared if each.slice == OVERALL]
    sliced = [each for each in compared if each.slice != OVERALL]
    return [*marks.differences_of(overall, worth), *marks.differences_of(sliced, worth)]


def numbers_by_slice(rows: Sequence[Row]) -> dict[str, NDArray[np.int64]]:
    """Which rows are those of `overall`, then those of each slice in the order of the file."""
    groups: dict[str, list[int]] = {OVERALL: []}
    for number, row in enumerate(rows):
        groups.setdefault(row.question.slice, []).append(number)
        if row.question.slice != GENERAL:
            groups[OVERALL].append(number)
    return {name: np.array(numbers, dtype=np.int64) for name, numbers in groups.items()}


def clusters_of(rows: Sequence[Row]) -> NDArray[np.int64]:
    """The number of each row's cluster: its first source, or where it has none, itself."""
    known: dict[str, int] = {}
    named = [f"source {row.question.sources[0]}" if row.question.sources else f"question {row.question.id}"
             for row in rows]  # fmt: skip
    return np.array([known.setdefault(name, len(known)) for name in named], dtype=np.int64)


def is_as_good(difference: Difference, worth: float) -> bool:
    """Whether the two arms are within `worth` of each other, as far as the interval goes."""
    if difference.n < MIN_QUESTIONS_FOR_A_TIE or difference.low is None or difference.high is None:
        return False
    return difference.low >= -worth and difference.high <= worth


def _cell(arm: Arm, slice_name: str, rows: Sequence[Row], clusters: NDArray[np.int64]) -> Cell:
    replies = [(row, row.replies[arm.name]) for row in rows]
    graded = [(row, reply.counted) for row, reply in replies if reply.counted]
    grades = [grade for _, grade in graded]
    answered = np.array([reply.counted is not None for _, reply in replies], dtype=bool)
    formed = [grade for grade in grades if grade.form is not None]
    judged = [grade for grade in grades if grade.cited_right is not None]
    grounded = [grade for grade in grades if grade.grounded is not None]
    unanswerable = [grade for row, grade in graded if not row.question.answerable]
    latencies = [reply.latency_s for _, reply in replies if reply.grade and reply.latency_s is not None]
    return Cell(
        arm=arm.name,
        slice=slice_name,
        num_questions=len(rows),
        num_failed=sum(reply.failed is not None for _, reply in replies),
        num_ungradable=sum(reply.failed is None and reply.ungradable is not None for _, reply in replies),
        num_no_answer=sum(reply.failed is None and reply.no_answer is not None for _, reply in replies),
        num_unclear=sum(reply.grade is not None and reply.grade.unclear for _, reply in replies),
        accuracy=share([grade.correct for grade in grades], clusters[answered]),
        content=_share_if(formed, lambda grade: grade.content),
        form=_share_if(formed, lambda grade: grade.form is True),
        refused=share([grade.refused for grade in grades]),
        false_answers=_share_if(unanswerable, lambda grade: not grade.correct),
        cited_right=_share_if(judged, lambda grade: grade.cited_right is True),
        retrieved_right=_share_if(judged, lambda grade: grade.retrieved_right is True),
        grounded=_share_if(grounded, lambda grade: grade.grounded is True),
        f1=_mean([grade.f1 for grade in grades]),
        citation_precision=_mean([grade.citation_precision for grade in grades]),
        citation_recall=_mean([grade.citation_recall for grade in grades]),
        latency_p50_s=percentile(latencies, 50),
        latency_p95_s=percentile(latencies, 95),
    )


def _share_if(grades: Sequence[Grade], counts: Callable[[Grade], bool]) -> Share | None:
    return share([counts(grade) for grade in grades]) if grades else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _difference(compared: Compared, paired: PairedDifference | None, worth: float) -> Difference:
    nothing = Difference(
        slice=compared.slice, first=compared.first, second=compared.second, n=0,
        difference=None, low=None, high=None, p_value=None, separated=False,
    )  # fmt: skip
    if paired is None:
        return nothing
    independent = max(round(paired.n / paired.design_effect), 1)
    made = nothing.model_copy(update={
        "n": paired.n, "difference": paired.difference, "low": paired.low, "high": paired.high,
        "p_value": paired.p_value, "adjusted_p": paired.adjusted_p, "separated": paired.separated,
        "smallest_effect": smallest_effect(independent, paired.discordance, paired.level),
    })  # fmt: skip
    return made if is_as_good(made, worth) else made.model_copy(update={"more_questions": _more(paired, worth)})


def _more(paired: PairedDifference, worth: float) -> int | None:
    """The fewest more questions that settle it: by telling the two apart, or, within `worth`, by showing a tie."""
    if paired.separated:
        return None
    least = max(MIN_QUESTIONS_FOR_A_TIE - paired.n, 1)
    tie = more_to_tie(paired, worth) if abs(paired.difference) < worth else None
    ways = [more_to_separate(paired), max(tie, least) if tie else None]
    if abs(paired.difference) < worth and tie is None:
        ways.append(least)
    return min((way for way in ways if way is not None), default=None)


def _mark(reply: Reply) -> int:
    return -1 if reply.counted is None else int(reply.counted.correct)
