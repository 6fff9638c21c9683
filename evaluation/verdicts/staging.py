"""Whether a training is worth its money, decided on what base and retrieval got wrong before it.

Training corrects form and behaviour: a missed form, a passage that was misread, a false answer where nobody can know, a
wrong conclusion. It does not correct what was not retrieved, nor what no document says. So the most that a training can
repay is the share of questions with the first kind of failure, in the better arm without training. That share is known
to within an interval; a training is left out only where even its upper end is no more than `evaluation.worth`.
"""

from collections.abc import Sequence

from evaluation.arms import TRAINED, title
from evaluation.config import ArmName, EvaluationConfig
from evaluation.grading.failures import count_failures
from evaluation.questions.question import GENERAL
from evaluation.results import Row, Share, Staging
from evaluation.verdicts.percentages import percent
from evaluation.verdicts.sampling.clusters import clusters_of
from evaluation.verdicts.statistics import share

CORRECTED_BY_TRAINING = ("wrong_form", "misread", "wrong_reasoning")


def decide_training(rows: Sequence[Row], config: EvaluationConfig, *, is_trained: bool = False) -> Staging:
    """Decide on rows that hold the arms without training, sorted by `failures.with_failures`.

    Args:
        is_trained: the adapter is there already, and costs nothing more.
    """
    counted = [row for row in rows if row.question.slice != GENERAL]
    best = _best(counted)
    graded = [row for row in counted if best and row.replies[best].counted]
    flags = [best is not None and _is_mended(row, best) for row in graded]
    mended = share(flags, clusters_of(graded))
    trains, reason = _decided(best, mended, config.worth)
    if is_trained:
        trains, reason = True, f"The adapter is there already and costs nothing more. Without it: {reason}"
    return Staging(
        trained=trains,
        reason=reason,
        failures=count_failures(counted, best) if best else {},
        num_questions=mended.n,
        repayable=mended.right,
    )


def _best(rows: Sequence[Row]) -> ArmName | None:
    """The arm without training that is right most often; of equals the first."""
    arms = [arm for arm in (rows[0].replies if rows else ()) if arm not in TRAINED]
    return max(arms, key=lambda arm: sum(_is_right(row, arm) for row in rows), default=None)


def _is_right(row: Row, arm: ArmName) -> bool:
    grade = row.replies[arm].counted
    return grade is not None and grade.correct


def _is_mended(row: Row, arm: ArmName) -> bool:
    """Whether training can mend this answer: of what is in no document only the false answers."""
    grade = row.replies[arm].counted
    if grade is None or grade.correct:
        return False
    return grade.failure in CORRECTED_BY_TRAINING or not row.question.answerable


def _decided(best: ArmName | None, mended: Share, worth: float) -> tuple[bool, str]:
    if best is None or mended.high is None:
        return True, "Nothing was measured without training, so nothing speaks against it."
    seen = (
        f"{mended.right} of {mended.n} answers of {title(best)} are wrong in a way that training can correct (form, "
        "misreading, false answers, wrong conclusions). That is at most "
        f"{percent(mended.high)} of the questions (the upper end of its 95 % interval)"
    )
    if mended.high > worth:
        return True, f"{seen}; a training is worth it above {percent(worth)} (`evaluation.worth`)."
    return False, f"{seen}; a training is worth it above {percent(worth)} (`evaluation.worth`). `--all` trains anyway."
