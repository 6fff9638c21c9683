"""How often the gates refuse a version that is as good as the live one, and pass one that is worse.

python -m benchmarks.gate_simulation              # about three minutes on one core

A simulated comparison draws the answers of the live version and of the new one and takes them through
verdicts/promotion_gates.py, with the settings of a project that sets nothing. Questions are those of the quickstart:
four slices of 48 and 47 unanswerable ones, and 40 general ones where `general` is named; at 1,000 there are as many
times more. Both versions answer each question independently, at the same rate or the new one at 10 points less, on
every slice; independent answers are the harder case, since versions that are right on the same questions differ on
fewer. Documents are all-or-none on half of themselves: an arm answers all of their questions right, or none. Each is a
first look, with the error that sampling/looks.py gives it; `looked_at_again` asks more questions while gates are
undecided: 240, 480 and 960, which are three looks.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import row, write
from evaluation.config import EvaluationConfig
from evaluation.questions.question import GENERAL, Question
from evaluation.replies import Grade, Reply
from evaluation.results import Row
from evaluation.verdicts.promotion_gates import judge_gates
from evaluation.verdicts.sampling.looks import error_of_look

NUM_DRAWS = 500
WORSE = 0.10
NEW, LIVE, BASE = "tuned", "live", "base"
Answers = NDArray[np.bool_]


@dataclass(frozen=True)
class Setting:
    """What is simulated. `documents`: how many the answerable questions come from, 0 where each has its own; `largest`
    is the share of the questions that the first of them holds, beside what it holds as one of many."""

    name: str
    rate: float = 0.9
    times: float = 1.0
    general: bool = False
    documents: int = 0
    largest: float = 0.0

    def questions(self) -> list[Question]:
        """In slices, as the quickstart's."""
        each, unanswerable = round(48 * self.times), round(47 * self.times)
        made = [
            Question(id=f"{name} {number}", slice=name, question="?", answers=("a",))
            for name in ("seen", "unseen", "form", "changed")
            for number in range(each)
        ]
        made = [
            question.model_copy(update={"sources": (self._source(number),)}) for number, question in enumerate(made)
        ]
        made += [
            Question(id=f"nobody {number}", slice="unanswerable", question="?", answerable=False)
            for number in range(unanswerable)
        ]
        num_general = round(40 * self.times) if self.general else 0
        return made + [
            Question(id=f"{GENERAL} {number}", slice=GENERAL, question="?", answers=("a",))
            for number in range(num_general)
        ]

    def _source(self, number: int) -> str:
        if not self.documents:
            return f"{number}.md"
        # A third of the numbers in a row, spread over all slices.
        in_largest = (number * 0.618034) % 1 < self.largest
        return "0.md" if in_largest else f"{number % self.documents}.md"


AS_QUICKSTART = (
    Setting("quickstart"),
    Setting("quickstart_general", general=True),
    Setting("rate_70", rate=0.7, general=True),
    Setting("rate_97", rate=0.97, general=True),
)
SHARED = (
    Setting("documents_40", documents=40, general=True),
    Setting("documents_12", documents=12, general=True),
    Setting("documents_5", documents=5, general=True),
    Setting("one_large_document", documents=60, largest=0.33, general=True),
)
AT_1000 = 1000 / 239
AT_960, THREE_LOOKS = 4.0, (0.25, 0.5, 1.0)


class Simulated:
    """The rows of a setting, made once for each question and each pattern of right and wrong answers."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.questions = setting, setting.questions()
        counts = Counter(question.slice for question in self.questions)
        # Where a question is in its slice, from 0 to 1: a look takes the same part of every slice.
        self.places = [
            int(question.id.split()[-1]) % counts[question.slice] / counts[question.slice]
            for question in self.questions
        ]
        names = [question.sources[0] if question.sources else question.id for question in self.questions]
        _, self.numbers = np.unique(names, return_inverse=True)
        arms = (NEW, LIVE, BASE) if setting.general else (NEW, LIVE)
        patterns = [[bool(number >> place & 1) for place in range(len(arms))] for number in range(2 ** len(arms))]
        replies = [dict(zip(arms, map(_reply, pattern), strict=True)) for pattern in patterns]
        self.weights = 1 << np.arange(len(arms))
        self.rows = [[Row(question=question, replies=each) for each in replies] for question in self.questions]

    def outcome(self, rng: np.random.Generator, worse: float, looks: Sequence[float] = (1.0,)) -> str:
        """What became of one new version: `refused`, `passed`, or `undecided`.

        Args:
            looks: the share of the questions that each look has, while the ones before are undecided.
        """
        rates = np.array([self.setting.rate - worse, self.setting.rate, self.setting.rate])[: len(self.weights)]
        patterns = self._draw(rng, rates) @ self.weights
        rows = [made[pattern] for made, pattern in zip(self.rows, patterns.tolist(), strict=True)]
        for number, part in enumerate(looks, start=1):
            asked = [row for row, place in zip(rows, self.places, strict=True) if place < part]
            gates = judge_gates(asked, NEW, LIVE, EvaluationConfig(), error=error_of_look(number))
            outcomes = {gate.outcome for gate in gates}
            outcome = next(each for each in ("refused", "undecided", "passed") if each in outcomes)
            if outcome != "undecided":
                break
        return outcome

    def _draw(self, rng: np.random.Generator, rates: NDArray[np.float64]) -> Answers:
        alone = rng.random((len(self.questions), len(rates))) < rates
        if not self.setting.documents:
            return alone
        num_documents = int(self.numbers.max()) + 1
        together = (rng.random((num_documents, len(rates))) < rates)[self.numbers]
        return np.where((rng.random((num_documents, 1)) < 0.5)[self.numbers], together, alone)


def outcomes(
    setting: Setting, worse: float, num_draws: int = NUM_DRAWS, looks: Sequence[float] = (1.0,), seed: int = 0
) -> Counter[str]:
    """How often a version that is worse by this share was refused, passed, or left open."""
    rng, simulated = np.random.default_rng(seed), Simulated(setting)
    return Counter(simulated.outcome(rng, worse, looks) for _ in range(num_draws))


def make_rows(num_draws: int = NUM_DRAWS) -> Iterator[dict[str, Any]]:
    """The committed figures, each with its target."""
    for setting in (*AS_QUICKSTART, *SHARED):
        for n, times in ((240, 1.0), (1000, AT_1000)):
            sized = replace(setting, times=times)
            equal, worse = (outcomes(sized, loss, num_draws) for loss in (0.0, WORSE))
            print(setting.name, n, "equal", dict(equal), "worse", dict(worse), file=sys.stderr, flush=True)
            asked_for = n == 1000 and not setting.documents
            name = f"{setting.name}_n{n}"
            yield row(f"equal_refused_{name}", "share", equal["refused"] / num_draws, "<= 0.05")
            yield row(f"equal_passed_{name}", "share", equal["passed"] / num_draws, ">= 0.9" if asked_for else None)
            yield row(f"worse_passed_{name}", "share", worse["passed"] / num_draws, "<= 0.05")
            yield row(f"worse_refused_{name}", "share", worse["refused"] / num_draws)
    for setting in (*AS_QUICKSTART[:3:2], *SHARED[:2]):
        sized = replace(setting, times=AT_960)
        equal, worse = (outcomes(sized, loss, num_draws, THREE_LOOKS) for loss in (0.0, WORSE))
        print(setting.name, "three looks", "equal", dict(equal), "worse", dict(worse), file=sys.stderr, flush=True)
        yield row(f"looked_at_again_equal_refused_{setting.name}", "share", equal["refused"] / num_draws, "<= 0.05")
        yield row(f"looked_at_again_equal_passed_{setting.name}", "share", equal["passed"] / num_draws)
        yield row(f"looked_at_again_worse_passed_{setting.name}", "share", worse["passed"] / num_draws, "<= 0.05")


def _reply(right: bool) -> Reply:
    grade = Grade(correct=right, content=right, form=None, refused=False, cited_right=None, retrieved_right=None)
    return Reply(text="a", model="m", latency_s=0.1, grade=grade)


def main() -> None:
    started = time.perf_counter()
    rows = list(make_rows())
    rows.append(row("simulation_s", "s", round(time.perf_counter() - started, 1)))
    print(write("gates", rows, " ".join((__doc__ or "").split())))


if __name__ == "__main__":
    main()
