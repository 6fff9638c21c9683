"""How soon each arm followed the corrections of documents, from the answers that were watched."""

from collections.abc import Mapping, Sequence

from evaluation.config import ArmName
from evaluation.results import CorrectedAnswer, Freshness
from evaluation.verdicts.statistics import share


def freshness_of(watched: Mapping[ArmName, Sequence[CorrectedAnswer]]) -> list[Freshness]:
    """One record for each arm.

    Args:
        watched: the last answers of each arm, as `evaluation.asking.corrections.watch` returns them.
    """
    return [_freshness(arm, answers) for arm, answers in watched.items()]


def _freshness(arm: ArmName, answers: Sequence[CorrectedAnswer]) -> Freshness:
    answered = [answer for answer in answers if not answer.failed]
    times = [answer.seconds for answer in answered if answer.seconds is not None]
    return Freshness(
        arm=arm,
        num_questions=len(answers),
        stale=share([answer.old for answer in answered]),
        new=share([answer.new for answer in answered]),
        seconds=min(times) if times else None,
        all_seconds=max(times) if len(times) == len(answers) else None,
    )
