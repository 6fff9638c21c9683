"""The gates: tests that a new version has to pass before it takes the place of the live one.

- `answered`, `clear`: no more of its calls failed or gave no answer than `evaluation.max_failed_share`, and no more of
  its answers are unclear than `max_unclear_share`.
- `overall`, `slice NAME`: it answers no fewer questions right than the live version.
- `false answers`: where nobody can know, it gives no more false answers than the live version.
- `forgetting`: on the `general` questions it is not behind `base`.

Each has three outcomes. The version is *refused* where it is worse and chance does not explain it: one-sided exact
tests, corrected for the number of gates by Holm's method, so that of versions that are as good at most 5 % are refused
by any gate. It *passes* where it is not refused and the 95 % interval of the paired difference excludes a loss of
`gates.most_loss` (`most_part_loss` for a part of the questions): of versions that lose as much at most 5 % pass that
gate, and so at most 5 % pass all of them. Else there are *not enough questions to tell*. Passing needs no correction
for the number of gates, since all have to be passed (R. L. Berger, 1982, Technometrics 24:295). Questions that share a
document count as statistics.py says, and all looks at the same versions share the 5 % (sampling/looks.py).
benchmarks/gate_simulation.py measures these rates.

A gate for which no question was asked is not there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

from evaluation.config import ArmName, EvaluationConfig
from evaluation.config import Gates as GateSettings
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.replies import Reply
from evaluation.results import Gate, Row
from evaluation.verdicts.sampling.exchange import least_documents
from evaluation.verdicts.statistics import (
    PairedDifference,
    holm,
    more_to_separate,
    paired_differences,
    share,
)
from evaluation.verdicts.summary import Marks, numbers_by_slice

BASE = "base"
ERROR = 0.05
"""The share of equally good versions that are refused, over all gates together, and of those that pass though they
lose what a gate names."""

OF_ALL_QUESTIONS = ("answered", "clear", OVERALL)
QUANTILES = 1.96 + 0.84
"""For an interval of 95 %, and for a test that decides in four of five cases."""


@dataclass(frozen=True)
class _Tested:
    """A gate before it is corrected for the others. `worse_p`: how often chance alone makes an equal version look as
    bad. `excludes`: its loss is shown to be smaller than the settings name. `open` says what is missing if neither."""

    name: str
    worse_p: float
    excludes: bool
    seen: str
    shown: str
    open: str


@dataclass(frozen=True)
class _Versions:
    """The arms that are compared, and how a reader knows them."""

    new: ArmName
    other: ArmName
    new_name: str
    other_name: str


def judge_gates(
    rows: Sequence[Row],
    new_arm: ArmName,
    live_arm: ArmName | None,
    config: EvaluationConfig,
    names: tuple[str, str | None] | None = None,
    error: float = ERROR,
) -> list[Gate]:
    """The gates of `new_arm`, on rows that hold its answers beside those of `live_arm`, and of `base` if it was asked.

    Args:
        live_arm: None where nothing is live yet: then there is nothing that it could be worse than.
        names: the new and the live version for the words, such as `support@7` and `support@6`.
        error: what these tests may err; less where the same versions were looked at before (sampling/looks.py).
    """
    new_name, live_name = names or ("the new version", None)
    tested = _answered(rows, new_arm, new_name, config)
    if live_arm is not None:
        versions = _Versions(new_arm, live_arm, new_name, live_name or "the live version")
        tested += _against_live(rows, versions, config.gates, error)
    if any(BASE in row.replies for row in rows):
        tested += _forgetting(rows, _Versions(new_arm, BASE, new_name, "the base model"), config.gates, error)
    adjusted = holm([each.worse_p for each in tested])
    return [_gate(each, p < error, config.gates.undecided_holds) for each, p in zip(tested, adjusted, strict=True)]


def _gate(tested: _Tested, is_worse: bool, undecided_holds: Literal["any", "overall", "never"]) -> Gate:
    if is_worse:
        worse = "This is worse than chance explains."
        return Gate(name=tested.name, passed=False, outcome="refused", holds=True, seen=f"{tested.seen} {worse}")
    if tested.excludes:
        seen = f"{tested.seen} {tested.shown}"
        return Gate(name=tested.name, passed=True, outcome="passed", holds=False, seen=seen)
    holds = undecided_holds == "any" or (undecided_holds == "overall" and tested.name in OF_ALL_QUESTIONS)
    seen = f"{tested.seen} {tested.open}"
    return Gate(name=tested.name, passed=False, outcome="undecided", holds=holds, seen=seen)


def _answered(rows: Sequence[Row], arm: ArmName, name: str, config: EvaluationConfig) -> list[_Tested]:
    replies = [row.replies[arm] for row in rows]
    unclear = np.array([_is_unclear(reply) for reply in replies], dtype=bool)
    missing = np.array([reply.missing is not None for reply in replies], dtype=bool) & ~unclear
    words = f"of {name} failed, or gave no answer that can be graded"
    tested = [_at_most("answered", missing, config.max_failed_share, config.gates.most_loss, f"calls {words}")]
    if unclear.any():
        words = f"answers of {name} are unclear"
        tested.append(_at_most("clear", unclear, config.max_unclear_share, config.gates.most_loss, words))
    return tested


def _is_unclear(reply: Reply) -> bool:
    return reply.grade is not None and reply.grade.unclear and reply.failed is None and reply.no_answer is None


def _at_most(name: str, flags: NDArray[np.bool_], most: float, beyond: float, words: str) -> _Tested:
    """Whether no more than a share is missing: what was seen, and by its interval not `beyond` more."""
    count, n = int(np.sum(flags)), len(flags)
    if not n:
        return _Tested(name, 1.0, False, "No question was asked.", "", "Nothing can be said.")
    limit, high = min(most + beyond, 1.0), share(flags).high
    assert high is not None
    return _Tested(
        name,
        worse_p=float(bdtrc(count - 1, n, most)) if count else 1.0,
        excludes=count <= most * n and high < limit,
        seen=f"{count} of {n} {words}; {_percent(most)} may.",
        shown=f"{_percent(limit)} or more is excluded.",
        open="This is more than that, but chance may explain it: there are not enough questions to tell."
        if count > most * n
        else f"There are not enough questions to exclude {_percent(limit)}.",
    )


def _against_live(rows: Sequence[Row], versions: _Versions, gates: GateSettings, error: float) -> list[_Tested]:
    marks = Marks(rows, [versions.new, versions.other])
    tested = []
    for name, numbers in numbers_by_slice(rows).items():
        if name == GENERAL or not len(numbers):
            continue
        if name == OVERALL:
            tested.append(_loss(OVERALL, marks, numbers, versions, gates.most_loss, "questions", error))
        else:
            tested.append(_loss(f"slice {name}", marks, numbers, versions, gates.most_part_loss, "questions", error))
    unanswerable = np.array([number for number, row in enumerate(rows) if not row.question.answerable], dtype=np.int64)
    if len(unanswerable):
        most = gates.most_part_loss if gates.most_new_false_answers is None else gates.most_new_false_answers
        what = "questions that nobody can answer"
        tested.append(_loss("false answers", marks, unanswerable, versions, most, what, error))
    return tested


def _forgetting(rows: Sequence[Row], versions: _Versions, gates: GateSettings, error: float) -> list[_Tested]:
    general = [row for row in rows if row.question.slice == GENERAL and BASE in row.replies]
    if not general:
        return []
    most = gates.most_part_loss if gates.most_forgetting is None else gates.most_forgetting
    marks = Marks(general, [versions.new, versions.other])
    return [_loss("forgetting", marks, np.arange(len(general)), versions, most, "general questions", error)]


def _loss(
    name: str, marks: Marks, numbers: NDArray[np.int64], versions: _Versions, most: float, what: str, error: float
) -> _Tested:
    """Whether the new version is right less often, on the questions that both answered."""
    pairs = np.stack([marks.by_arm[arm][numbers] for arm in (versions.new, versions.other)], axis=1)
    answered = (pairs >= 0).all(axis=1)
    right = pairs[answered] == 1
    (difference,) = paired_differences([right], [marks.clusters[numbers][answered]], error=error)
    if difference is None:
        seen = f"No one of {len(numbers)} {what} was answered by both {versions.new_name} and {versions.other_name}."
        return _Tested(name, 1.0, False, seen, "", "Nothing was compared.")
    new_right, other_right = (int(count) for count in right.sum(axis=0))
    n, loss = difference.n, f"a loss of {_points(most)}"
    return _Tested(
        name,
        # The exchange test's distribution is symmetric, so half of its p-value is that of one side.
        worse_p=difference.p_value / 2 if difference.difference < 0 else 1.0,
        excludes=_excludes(difference, most, error),
        seen=(
            f"{versions.new_name} is right on {new_right} of {n} {what}, {versions.other_name} on {other_right}: "
            f"{_change(difference)}."
        ),
        shown=f"{loss[0].upper()}{loss[1:]} or more is excluded.",
        open=_open(difference, most, error),
    )


def _excludes(difference: PairedDifference, most: float, error: float) -> bool:
    """Whether a loss of `most` is excluded: by the interval, and by an exact binomial test of the lost questions.

    Where no question is won the interval alone would pass 7 of 100 versions that lose 10 points on 25 questions.
    """
    n = max(round(difference.n / difference.design_effect), 1)
    won, lost = ((difference.discordance + sign * difference.difference) / 2 for sign in (1, -1))
    return difference.low > -most and bool(bdtr(round(lost * n), n, min(most + won, 1.0)) <= error)


def _open(difference: PairedDifference, most: float, error: float) -> str:
    least, loss = least_documents(error), f"a loss of {_points(most)}"
    if difference.num_clusters < least:
        what = "questions" if difference.num_clusters == difference.n else "documents"
        return f"{difference.num_clusters} {what} are too few to exclude {loss}: at least {least} are needed."
    return f"There are not enough questions to exclude {loss}{_more(difference, most)}."


def _more(difference: PairedDifference, most: float) -> str:
    """About how many more questions decide it in four of five cases, if the difference stays as it is."""
    room, ways = most + difference.difference, []
    if room > 0:
        smoothed = (difference.discordance * difference.n + 1) / (difference.n + 2)
        spread = QUANTILES * math.sqrt(max(smoothed - difference.difference**2, 0.0))
        needed = math.ceil((spread / room) ** 2 * difference.design_effect)
        ways.append(max(needed - difference.n, 1))
    if difference.difference < 0 and (apart := more_to_separate(difference)):
        ways.append(apart)
    where = " from other documents" if difference.num_clusters < difference.n else ""
    return f"; about {min(ways):,} more{where} would do, if the difference stays as it is" if ways else ""


def _change(difference: PairedDifference) -> str:
    middle, low, high = (
        f"{round(100 * value) + 0:+d}" for value in (difference.difference, difference.low, difference.high)
    )
    return f"{middle} points ({low} to {high})"


def _points(value: float) -> str:
    return f"{100 * value:.3g} points"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
