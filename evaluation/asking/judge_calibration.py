"""How far the judge agrees with people, on rows that they graded by hand before it.

    check = await calibrate(config.judge, ask)

{"question": "Why do ships rust?", "rubric": "Names salt water.", "answer": "Because of the salt.", "right": true}

Agreement is Cohen's kappa (J. Cohen, 1960, Educ. Psychol. Meas. 20:37), which takes out what would agree by chance: a
judge that always says yes has a kappa of 0, however many of the answers are right. A call without a verdict is counted
apart.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

from pydantic import Field

from cluster.config import Section
from cluster.errors import TandemError
from evaluation.asking.judge import Ask, verdict
from evaluation.config import Judge
from evaluation.questions.files import read_models
from evaluation.questions.question import Question, Text
from evaluation.results import JudgeCheck

MIN_CALIBRATION_ROWS = 20
MAX_TIMES = 20
VERDICT_WORDS = {True: "right", False: "wrong"}
ACCEPTED = "Accepted are JSON lines with question, rubric, answer and right (true or false), and answers where needed."


class CalibrationRow(Section):
    """An answer that a person graded."""

    question: Text
    rubric: Text
    answer: str
    right: Annotated[bool, Field(strict=True)]
    answers: tuple[Text, ...] = ()

    @property
    def asked(self) -> Question:
        return Question(
            id="calibration", slice="calibration", question=self.question, kind="rubric", rubric=self.rubric,
            answers=self.answers,
        )  # fmt: skip


async def calibrate_judge(config: Judge, ask: Ask) -> JudgeCheck:
    """Have the judge grade what people graded, and see how far they agree.

    `n` counts the rows with a verdict, `num_failed` those without. The judge is trusted where the lower end of kappa's
    95 % interval is at least `least_agreement`, on 20 rows or more among which people found right and wrong ones.

    Raises:
        TandemError: naming file and line where the calibration rows are not usable.
    """
    rows = read_calibration(config.calibration)
    verdicts = await asyncio.gather(*(verdict(row.asked, row.answer, ask) for row in rows))
    pairs = [(row.right, said) for row, said in zip(rows, verdicts, strict=True) if isinstance(said, bool)]
    reasons = Counter(said for said in verdicts if isinstance(said, str))
    return check_agreement(config, pairs, reasons)


def check_agreement(config: Judge, pairs: Sequence[tuple[bool, bool]], failures: Counter[str]) -> JudgeCheck:
    """The judge's record from verdicts in pairs, the person's first, and from how often each reason left none."""
    kappa = cohens_kappa(pairs)
    low = lowest_kappa(pairs)
    trusted, reason = _trust(config, pairs, kappa, low)
    if failures:
        commonest, times = failures.most_common(1)[0]
        reason += f" {failures.total()} calls gave no verdict; the commonest reason, {times} times: {commonest}"
    return JudgeCheck(
        model=config.model,
        n=len(pairs),
        num_failed=failures.total(),
        agreement=sum(person == judge for person, judge in pairs) / len(pairs) if pairs else None,
        kappa=kappa,
        kappa_low=low,
        counts={
            f"{VERDICT_WORDS[a]}_{VERDICT_WORDS[b]}": pairs.count((a, b)) for a in (True, False) for b in (True, False)
        },
        trusted=trusted,
        reason=reason,
    )


def cohens_kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Agreement beyond chance, from -1 to 1; None where both always say the same one thing, or nothing."""
    n, by_chance = len(pairs), _num_by_chance(pairs)
    agreement = n * sum(a == b for a, b in pairs)
    return None if by_chance == n * n else (agreement - by_chance) / (n * n - by_chance)


def lowest_kappa(pairs: Sequence[tuple[bool, bool]], times: int = 1) -> float | None:
    """The lower end of kappa's 95 % interval, were there `times` as many rows alike; None where kappa is."""
    if cohens_kappa(pairs) is None:
        return None
    n, by_chance = len(pairs), _num_by_chance(pairs)
    share = _lowest_share(times * sum(a == b for a, b in pairs), times * n)
    return (share * n * n - by_chance) / (n * n - by_chance)


def _lowest_share(right: int, n: int) -> float:
    """The lower end of Wilson's 95 % interval (E. B. Wilson, 1927, J. Am. Stat. Assoc. 22:209)."""
    z = NormalDist().inv_cdf(0.975)
    share, square = right / n, z * z / n
    return (share + square / 2 - z * sqrt((share * (1 - share) + square / 4) / n)) / (1 + square)


def _num_by_chance(pairs: Sequence[tuple[bool, bool]]) -> int:
    """Of n² pairs of one's verdict with the other's, how many agree. In whole numbers: with fractions a judge that
    always says no would agree by 3e-17 more than chance."""
    n = len(pairs)
    first, second = (sum(pair[index] for pair in pairs) for index in (0, 1))
    return first * second + (n - first) * (n - second)


def read_calibration(path: Path) -> list[CalibrationRow]:
    """The rows that people graded. Raises a TandemError that names the first ten mistakes with file and line."""
    rows = read_models(path, CalibrationRow, "calibration file", ACCEPTED)
    if not rows:
        raise TandemError(f"The calibration file {path} holds no rows.", ACCEPTED, "Grade some answers by hand.")
    return rows


def _trust(
    config: Judge, pairs: Sequence[tuple[bool, bool]], kappa: float | None, low: float | None
) -> tuple[bool, str]:
    """Whether the judge is trusted, and why (not)."""
    if len(pairs) < MIN_CALIBRATION_ROWS:
        return (
            False,
            f"{len(pairs)} rows graded by people have a verdict of the judge, and {MIN_CALIBRATION_ROWS} are needed.",
        )
    if len({person for person, _ in pairs}) < 2:
        return False, "People graded all rows alike: it takes right and wrong answers to see what the judge can tell."
    if kappa is None or low is None or kappa <= 0:
        return False, "It agrees with people no better than by chance."
    least = config.least_agreement
    if low >= least:
        return (
            True,
            f"Its kappa of {kappa:.2f} with people is at least {least:g}: its 95 % interval begins at {low:.2f}.",
        )
    if kappa < least:
        return False, f"Its kappa of {kappa:.2f} with people is below {least:g}."
    reason = (
        f"Its kappa of {kappa:.2f} with people may be as low as {low:.2f} on {len(pairs)} rows; {least:g} is needed."
    )
    times = next((times for times in range(2, MAX_TIMES) if (lowest_kappa(pairs, times) or 0) >= least), None)
    return (
        False,
        f"{reason} About {(times - 1) * len(pairs)} more rows graded by people would tell." if times else reason,
    )
