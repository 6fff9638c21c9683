"""From graded replies to numbers: one cell per arm and slice, one difference per pair of arms and slice."""

from collections.abc import Callable, Sequence
from itertools import combinations

from evaluation.arms import Arm
from evaluation.config import ArmName
from evaluation.questions import OVERALL
from evaluation.results import Cell, Difference, Grade, Reply, Row, Share
from evaluation.statistics import paired_difference, percentile, share


def make_cells(rows: Sequence[Row], arms: Sequence[Arm]) -> list[Cell]:
    """Every arm on all questions, then on each slice, in the order of the file."""
    return [_cell(arm, name, chosen) for name, chosen in _by_slice(rows).items() for arm in arms]


def make_differences(rows: Sequence[Row], arms: Sequence[Arm], seed: int) -> list[Difference]:
    """Every pair of arms, on all questions and on each slice, over the questions that both answered."""
    return [
        _difference(name, chosen, first.name, second.name, seed)
        for name, chosen in _by_slice(rows).items()
        for first, second in combinations(arms, 2)
    ]


def _by_slice(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {OVERALL: list(rows)}
    for row in rows:
        groups.setdefault(row.question.slice, []).append(row)
    return groups


def _cell(arm: Arm, slice_name: str, rows: Sequence[Row]) -> Cell:
    replies = [(row.question, row.replies[arm.name]) for row in rows]
    graded = [(question, reply.grade) for question, reply in replies if reply.grade]
    grades = [grade for _, grade in graded]
    formed = [grade for grade in grades if grade.form is not None]
    judged = [grade for grade in grades if grade.cited_right is not None]
    unanswerable = [grade for question, grade in graded if not question.answerable]
    latencies = [reply.latency_s for _, reply in replies if reply.grade and reply.latency_s is not None]
    return Cell(
        arm=arm.name,
        slice=slice_name,
        num_questions=len(rows),
        num_failed=sum(reply.failed is not None for _, reply in replies),
        accuracy=share([grade.correct for grade in grades]),
        content=_share_if(formed, lambda grade: grade.content),
        form=_share_if(formed, lambda grade: grade.form is True),
        refused=share([grade.refused for grade in grades]),
        false_answers=_share_if(unanswerable, lambda grade: not grade.correct),
        cited_right=_share_if(judged, lambda grade: grade.cited_right is True),
        retrieved_right=_share_if(judged, lambda grade: grade.retrieved_right is True),
        latency_p50_s=percentile(latencies, 50),
        latency_p95_s=percentile(latencies, 95),
    )


def _share_if(grades: Sequence[Grade], counts: Callable[[Grade], bool]) -> Share | None:
    return share([counts(grade) for grade in grades]) if grades else None


def _difference(slice_name: str, rows: Sequence[Row], first: ArmName, second: ArmName, seed: int) -> Difference:
    both = [(_correct(row.replies[first]), _correct(row.replies[second])) for row in rows]
    found = paired_difference([(a, b) for a, b in both if a is not None and b is not None], seed)
    if found is None:
        return Difference(
            slice=slice_name, first=first, second=second, n=0,
            difference=None, low=None, high=None, p_value=None, separated=False,
        )  # fmt: skip
    return Difference(
        slice=slice_name, first=first, second=second, n=found.n, difference=found.difference,
        low=found.low, high=found.high, p_value=found.p_value, separated=found.separated,
    )  # fmt: skip


def _correct(reply: Reply) -> bool | None:
    return None if reply.grade is None else reply.grade.correct
