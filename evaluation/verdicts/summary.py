"""From graded replies to numbers: one cell per arm and slice, one difference per pair of arms and slice.

`overall` is every question but the `general` ones, which have a slice of their own. The pairs of arms on `overall` are
one family of comparisons, those on all slices another: statistics.py says what is corrected and how. Questions that a
document joins count together in every share and every difference (clusters.py).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evaluation.arms import Arm
from evaluation.config import ArmName, EvaluationConfig
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.replies import Grade, Reply
from evaluation.results import Cell, Difference, Row, Share
from evaluation.verdicts.sampling.clusters import clusters_of
from evaluation.verdicts.sampling.exchange import least_documents
from evaluation.verdicts.sampling.looks import ONE_LOOK, Looks
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

    def differences_of(self, family: Sequence[Compared], worth: float, looks: Looks = ONE_LOOK) -> list[Difference]:
        """The differences of comparisons that are read together, corrected for their number."""
        pairs, clusters = [], []
        for each in family:
            both = np.stack([self.by_arm[each.first][each.rows], self.by_arm[each.second][each.rows]], axis=1)
            answered = (both >= 0).all(axis=1)
            pairs.append(both[answered] == 1)
            clusters.append(self.clusters[each.rows][answered])
        paired = paired_differences(pairs, clusters, error=looks.error, next_error=looks.next_error)
        return [_difference(each, made, worth) for each, made in zip(family, paired, strict=True)]


def make_cells(rows: Sequence[Row], arms: Sequence[Arm]) -> list[Cell]:
    """Every arm on all questions, then on each slice, in the order of the file."""
    clusters = clusters_of(rows)
    return [
        _cell(arm, name, [rows[number] for number in chosen], clusters[chosen])
        for name, chosen in numbers_by_slice(rows).items()
        for arm in arms
    ]


def make_differences(
    rows: Sequence[Row], arms: Sequence[Arm], *, worth: float = DEFAULT_WORTH, looks: Looks = ONE_LOOK
) -> list[Difference]:
    """Every pair of arms, on all questions and on each slice, over the questions that both answered.

    Args:
        worth: the difference that would matter: two arms are as good where their interval lies within it.
        looks: what error is left after earlier looks at part of these questions.
    """
    names, marks = [arm.name for arm in arms], Marks(rows, [arm.name for arm in arms])
    compared = [
        Compared(slice_name, chosen, first, second)
        for slice_name, chosen in numbers_by_slice(rows).items()
        for first, second in combinations(names, 2)
    ]
    overall = [each for each in compared if each.slice == OVERALL]
    sliced = [each for each in compared if each.slice != OVERALL]
    return [*marks.differences_of(overall, worth, looks), *marks.differences_of(sliced, worth, looks)]


def numbers_by_slice(rows: Sequence[Row]) -> dict[str, NDArray[np.int64]]:
    """Which rows are those of `overall`, then those of each slice in the order of the file."""
    groups: dict[str, list[int]] = {OVERALL: []}
    for number, row in enumerate(rows):
        groups.setdefault(row.question.slice, []).append(number)
        if row.question.slice != GENERAL:
            groups[OVERALL].append(number)
    return {name: np.array(numbers, dtype=np.int64) for name, numbers in groups.items()}


def is_as_good(difference: Difference, worth: float) -> bool:
    """Whether the two arms are within `worth` of each other, as far as the interval goes."""
    if difference.n < MIN_QUESTIONS_FOR_A_TIE or difference.low is None or difference.high is None:
        return False
    return difference.low >= -worth and difference.high <= worth


def _cell(arm: Arm, slice_name: str, rows: Sequence[Row], clusters: NDArray[np.int64]) -> Cell:
    replies = [(row, row.replies[arm.name]) for row in rows]
    graded = [
        _Graded(grade, row.question.answerable, int(cluster))
        for (row, reply), cluster in zip(replies, clusters, strict=True)
        if (grade := reply.counted)
    ]
    grades = [each.grade for each in graded]
    formed = [each for each in graded if each.grade.form is not None]
    judged = [each for each in graded if each.grade.cited_right is not None]
    grounded = [each for each in graded if each.grade.grounded is not None]
    unanswerable = [each for each in graded if not each.is_answerable]
    latencies = [reply.latency_s for _, reply in replies if reply.grade and reply.latency_s is not None]
    return Cell(
        arm=arm.name,
        slice=slice_name,
        num_questions=len(rows),
        num_failed=sum(reply.failed is not None for _, reply in replies),
        num_ungradable=sum(reply.failed is None and reply.ungradable is not None for _, reply in replies),
        num_no_answer=sum(reply.failed is None and reply.no_answer is not None for _, reply in replies),
        num_unclear=sum(reply.grade is not None and reply.grade.unclear for _, reply in replies),
        num_not_asked=sum(reply.not_asked for _, reply in replies),
        accuracy=_share(graded, lambda grade: grade.correct),
        content=_share_if(formed, lambda grade: grade.content),
        form=_share_if(formed, lambda grade: grade.form is True),
        refused=_share(graded, lambda grade: grade.refused),
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


@dataclass(frozen=True)
class _Graded:
    """A grade that counts, and the cluster of its question."""

    grade: Grade
    is_answerable: bool
    cluster: int


def _share(graded: Sequence[_Graded], counts: Callable[[Grade], bool]) -> Share:
    return share([counts(each.grade) for each in graded], [each.cluster for each in graded])


def _share_if(graded: Sequence[_Graded], counts: Callable[[Grade], bool]) -> Share | None:
    return _share(graded, counts) if graded else None


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
    shows = paired.num_clusters >= least_documents(paired.level)
    made = nothing.model_copy(update={
        "n": paired.n, "difference": paired.difference, "low": paired.low, "high": paired.high,
        "p_value": paired.p_value, "adjusted_p": paired.adjusted_p, "separated": paired.separated,
        "smallest_effect": smallest_effect(independent, paired.discordance, paired.level) if shows else None,
        "num_documents": paired.num_clusters, "effective": round(paired.n / paired.design_effect, 1),
    })  # fmt: skip
    return made if is_as_good(made, worth) else made.model_copy(update=_more(paired, worth))


def _more(paired: PairedDifference, worth: float) -> dict[str, int | None]:
    """How many more questions settle it, and where documents have several, from how many more documents.

    What is asked about the documents that are there says little, so the questions are to come from others like these.
    """
    questions = _more_questions(paired, worth)
    if questions is None or paired.num_clusters == paired.n:
        return {"more_questions": questions}
    each = paired.n / paired.num_clusters
    documents = max(math.ceil(questions / each), least_documents(paired.next_level) - paired.num_clusters)
    return {"more_questions": max(questions, math.ceil(documents * each)), "more_documents": documents}


def _more_questions(paired: PairedDifference, worth: float) -> int | None:
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
