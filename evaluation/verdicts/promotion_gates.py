"""What a new version has to hold against the live one before it may take its place.

- `answered`: no more of its calls failed, gave no answer or could not be graded than `evaluation.max_failed_share`.
- `slice NAME`, and `overall`: it is not worse than the live version beyond the interval, corrected for the number of
  slices (statistics.py). Few questions show little: the gate says how small a loss it could have seen.
- `false answers`: where nobody can know it does not answer falsely more often than the live version, beyond
  `gates.most_new_false_answers`.
- `forgetting`: on the `general` questions it is not behind `base` by more than `gates.most_forgetting`.

The last two compare what was counted, not intervals: they stand for promises and not for findings. A gate for which no
question was asked is not there.
"""

from collections.abc import Sequence

from evaluation.config import ArmName, EvaluationConfig
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.results import Difference, Gate, Row
from evaluation.verdicts.summary import Compared, Marks, numbers_by_slice

BASE = "base"


def judge_gates(
    rows: Sequence[Row], new_arm: ArmName, live_arm: ArmName | None, config: EvaluationConfig
) -> list[Gate]:
    """The gates of `new_arm`, on rows that hold its answers beside those of `live_arm`, and of `base` if it was asked.

    `live_arm` is None where nothing is live yet: then there is nothing that it could be worse than.
    """
    gates = [_answered(rows, new_arm, config.max_failed_share)]
    if live_arm is not None:
        gates += _slices(rows, new_arm, live_arm, config.worth)
        gates += _false_answers(rows, new_arm, live_arm, config.gates.most_new_false_answers)
    return [*gates, *_forgetting(rows, new_arm, config.gates.most_forgetting)]


def _answered(rows: Sequence[Row], arm: ArmName, most: float) -> Gate:
    missing = sum(row.replies[arm].missing is not None for row in rows)
    seen = f"{missing} of {len(rows)} calls failed or could not be graded; at most {most:.0%} may."
    return Gate(name="answered", passed=bool(rows) and missing <= most * len(rows), seen=seen)


def _slices(rows: Sequence[Row], new: ArmName, live: ArmName, worth: float) -> list[Gate]:
    groups = {name: numbers for name, numbers in numbers_by_slice(rows).items() if name != GENERAL and len(numbers)}
    family = [Compared(name, numbers, new, live) for name, numbers in groups.items()]
    return [_slice(difference) for difference in Marks(rows, [new, live]).differences_of(family, worth)]


def _slice(difference: Difference) -> Gate:
    name = OVERALL if difference.slice == OVERALL else f"slice {difference.slice}"
    if difference.difference is None:
        return Gate(name=name, passed=False, seen="No question was answered by both versions.")
    could = "" if difference.smallest_effect is None else f"; a loss of {difference.smallest_effect:.2f} could be seen"
    seen = (
        f"{difference.difference + 0.0:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}) against the live "
        f"version on {difference.n} questions{could}."
    )
    return Gate(name=name, passed=not (difference.separated and difference.difference < 0), seen=seen)


def _false_answers(rows: Sequence[Row], new: ArmName, live: ArmName, allowed: float) -> list[Gate]:
    both = _graded_by_both([row for row in rows if not row.question.answerable], new, live)
    if not both:
        return []
    new_wrong, live_wrong = (sum(not right for right in column) for column in zip(*both, strict=True))
    seen = (
        f"{new_wrong} false answers to {len(both)} questions that nobody can answer, {live_wrong} of the live version; "
        f"at most {allowed:.2f} of them may be new."
    )
    return [Gate(name="false answers", passed=new_wrong - live_wrong <= allowed * len(both), seen=seen)]


def _forgetting(rows: Sequence[Row], new: ArmName, most: float) -> list[Gate]:
    general = [row for row in rows if row.question.slice == GENERAL and BASE in row.replies]
    both = _graded_by_both(general, new, BASE)
    if not both:
        return []
    new_right, base_right = (sum(column) for column in zip(*both, strict=True))
    seen = (
        f"{new_right} of {len(both)} general questions right, {base_right} by the base model; "
        f"it may fall behind by {most:.2f} of them."
    )
    return [Gate(name="forgetting", passed=base_right - new_right <= most * len(both), seen=seen)]


def _graded_by_both(rows: Sequence[Row], first: ArmName, second: ArmName) -> list[tuple[bool, bool]]:
    grades = [(row.replies[first].counted, row.replies[second].counted) for row in rows]
    return [(one.correct, other.correct) for one, other in grades if one and other]
