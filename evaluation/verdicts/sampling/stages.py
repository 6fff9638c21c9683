"""Questions asked in stages: an arm that cannot win any more is not asked the rest.

Between stages every pair of arms is tested on what was asked so far. An arm is out where another is better by more than
`evaluation.worth`, interval and all: it can neither win nor tie. Each stage doubles what was asked, so what is clear is
seen early in few tests. Those between stages share a tenth of the look's error, and the last test has the rest, so the
whole keeps what a look may err in (looks.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

from evaluation.config import ArmName
from evaluation.questions.question import GENERAL, OVERALL, Question
from evaluation.results import Difference
from evaluation.verdicts.sampling.looks import Looks

SHARE_BEFORE_THE_LAST = 0.1


def make_stages(questions: Sequence[Question], num_stages: int, seed: int) -> list[list[Question]]:
    """The questions in so many parts or fewer, drawn by the seed, each as large as all before it together; general
    questions are all in the first."""
    general = [question for question in questions if question.slice == GENERAL]
    others = [question for question in questions if question.slice != GENERAL]
    Random(f"stages-{seed}").shuffle(others)
    ends = [0, *(stage_end(len(others), stage, num_stages) for stage in range(1, num_stages + 1))]
    parts = [others[start:end] for start, end in pairwise(ends)]
    return [part for part in [[*general, *parts[0]], *parts[1:]] if part]


def stage_end(num_questions: int, stage: int, num_stages: int) -> int:
    """How many questions were asked after this stage, from 1."""
    return -(-num_questions // (1 << num_stages - stage))


def looks_of_stages(looks: Looks, num_stages: int) -> tuple[Looks, Looks]:
    """The error of each test between stages, and that of the last test."""
    if num_stages == 1:
        return looks, looks
    between = looks.error * SHARE_BEFORE_THE_LAST / (num_stages - 1)
    return replace(looks, error=between), replace(looks, error=looks.error * (1 - SHARE_BEFORE_THE_LAST))


def arms_out(differences: Sequence[Difference], worth: float, protected: Collection[ArmName] = ()) -> set[ArmName]:
    """The arms than which another is better by more than `worth`, on all questions asked so far.

    Args:
        protected: arms that are asked everything, whatever is seen.
    """
    beaten = set()
    for each in differences:
        if each.slice == OVERALL and each.separated and each.low is not None and each.high is not None:
            beaten |= {each.second} if each.low > worth else {each.first} if each.high < -worth else set()
    return beaten - set(protected)
