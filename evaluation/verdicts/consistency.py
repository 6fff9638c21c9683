"""Whether an arm stays with its answer: asked the same again, and asked in other words.

A question counts where every call was answered; for verdicts, where every answer was graded.
"""

from collections.abc import Sequence

from evaluation.arms import Arm
from evaluation.config import ArmName
from evaluation.questions.words import normalise
from evaluation.replies import Reply
from evaluation.results import Consistency, Row, Share
from evaluation.verdicts.sampling.clusters import clusters_of
from evaluation.verdicts.statistics import share


def measure_consistency(rows: Sequence[Row], arms: Sequence[Arm]) -> list[Consistency]:
    """The consistency of every arm, in the arms' order."""
    return [_consistency(rows, arm.name) for arm in arms]


def _consistency(rows: Sequence[Row], arm: ArmName) -> Consistency:
    again = [(row, [row.replies[arm], *row.again[arm]]) for row in rows if row.again.get(arm)]
    answered = [
        (row, [normalise(reply.text or "") for reply in replies]) for row, replies in again if _all_answered(replies)
    ]
    wordings = [(row, [row.replies[arm], *row.paraphrased[arm]]) for row in rows if row.paraphrased.get(arm)]
    verdicts = [(row, _verdicts(replies)) for row, replies in wordings]
    graded = [(row, marks) for row, marks in verdicts if None not in marks]
    return Consistency(
        arm=arm,
        repeated=_share([(row, len(set(texts)) == 1) for row, texts in answered]) if again else None,
        paraphrased=_share([(row, len(set(marks)) == 1) for row, marks in graded]) if wordings else None,
        right_in_all=_share([(row, all(marks)) for row, marks in graded]) if wordings else None,
    )


def _all_answered(replies: Sequence[Reply]) -> bool:
    return all(reply.failed is None and reply.text is not None for reply in replies)


def _verdicts(replies: Sequence[Reply]) -> list[bool | None]:
    return [None if reply.counted is None else reply.counted.correct for reply in replies]


def _share(flags: Sequence[tuple[Row, bool]]) -> Share:
    return share([flag for _, flag in flags], clusters_of([row for row, _ in flags]))
