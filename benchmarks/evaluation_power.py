"""How often the verdict is right, where arms answer at the rates that three papers published.

python -m benchmarks.evaluation_power

A simulated data set takes n questions and lets every arm answer each of them rightly with its published rate; cells,
differences and verdict are then those of `tandem compare`. The papers give no joint answers, so arms answer
independently of each other. That is the harder case: arms that are right on the same questions differ on fewer.

Where the numbers come from, and how far they could be checked:

- Ovadia and others, 2023, Fine-Tuning or Retrieval?, arXiv 2312.05934, current events, Mistral-7B. The rates are those
  that issue 6 cites (retrieval .875, tuned .504) and, for base, as remembered from the paper's table (.481), as is the
  number of questions (910). The table itself could not be read here.
- Zhang and others, 2024, RAFT, arXiv 2403.10131, table 1, column HuggingFace, LLaMA2-7B. Issue 6 cites tuned 61.06,
  tuned + retrieval 42.59 and RAFT 74.00; a summary of the paper gives the same gain of RAFT over tuned + retrieval,
  31.41 points. base 0.22 and retrieval 26.43 are as remembered. The number of questions is inferred: up to 1,000 only
  904 questions give these five percentages to two digits.
- Balaguer and others, 2024, RAG vs Fine-tuning, arXiv 2401.08406, GPT-4 on agriculture. The abstract says that tuning
  adds over 6 points and retrieval 5 more; the rates .75, .80, .81, .86 are as remembered and agree with it. The number
  of questions could not be found, so the share is given for several.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.results import row, write
from evaluation.arms import Arm
from evaluation.config import ArmName, EvaluationConfig
from evaluation.questions.question import Question
from evaluation.replies import Grade, Reply
from evaluation.results import ArmResult, Recommendation, Row
from evaluation.verdicts.summary import make_cells, make_differences
from evaluation.verdicts.verdict import recommend

NUM_DRAWS = 1000
FEW = 30
MOST_FAILED: float = EvaluationConfig.model_fields["max_failed_share"].default


@dataclass(frozen=True)
class Paper:
    """Published shares of right answers, the number of questions, and the arm that is best."""

    name: str
    rates: Mapping[ArmName, float]
    best: ArmName
    num_questions: int | None


OVADIA = Paper("current_events", {"base": 0.481, "retrieval": 0.875, "tuned": 0.504}, "retrieval", 910)
RAFT = Paper(
    "raft_huggingface",
    {"base": 0.0022, "retrieval": 0.2643, "tuned": 0.6106, "tuned_retrieval": 0.4259, "raft": 0.74},
    "raft",
    904,
)
NAIVE = Paper("raft_huggingface_without_raft", {k: v for k, v in RAFT.rates.items() if k != "raft"}, "tuned", 904)
AGRICULTURE = Paper(
    "agriculture", {"base": 0.75, "retrieval": 0.80, "tuned": 0.81, "tuned_retrieval": 0.86}, "tuned_retrieval", None
)
PAPERS = (OVADIA, RAFT, NAIVE, AGRICULTURE)


class Synthetic:
    """Rows of synthetic arms, made once for each question and each pattern of right and wrong answers."""

    def __init__(self, arms: Sequence[ArmName], num_questions: int) -> None:
        self.arms = [Arm(name, name) for name in arms]
        self.results = [
            ArmResult(
                name=name, title=name, model=name, answered_as=[name], warm_up_s=None, warm_up_failed=None, failures={}
            )
            for name in arms
        ]
        patterns = [[bool(number >> place & 1) for place in range(len(arms))] for number in range(2 ** len(arms))]
        replies = [dict(zip(arms, map(_reply, pattern), strict=True)) for pattern in patterns]
        questions = [Question(id=str(i), slice="all", question="?", answers=("a",)) for i in range(num_questions)]
        self.rows = [[Row(question=question, replies=each) for each in replies] for question in questions]

    def verdict(self, right: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> Recommendation:
        """The verdict on answers of shape `[questions, arms]`."""
        patterns = right @ (1 << np.arange(len(self.arms)))
        rows = [made[pattern] for made, pattern in zip(self.rows, patterns.tolist(), strict=True)]
        return recommend(
            self.results, make_cells(rows, self.arms), make_differences(rows, self.arms), max_failed_share=MOST_FAILED
        )


def verdicts(rates: Mapping[ArmName, float], num_questions: int, num_draws: int, seed: int = 0) -> Counter[str]:
    """How often each verdict was given: the arm that won, or the rule that gave no winner."""
    rng, synthetic = np.random.default_rng(seed), Synthetic(list(rates), num_questions)
    counts: Counter[str] = Counter()
    for _ in range(num_draws):
        found = synthetic.verdict(rng.random((num_questions, len(rates))) < list(rates.values()))
        counts[found.arm if found.outcome == "winner" and found.arm else found.outcome] += 1
    return counts


def _reply(right: bool) -> Reply:
    grade = Grade(correct=right, content=right, form=None, refused=False, cited_right=None, retrieved_right=None)
    return Reply(text="a", model="m", latency_s=0.1, grade=grade)


def main() -> None:
    """Simulate every paper at its own number of questions and at 30, and write the result."""
    started, rows = time.perf_counter(), []
    for paper in PAPERS:
        sizes = [paper.num_questions] if paper.num_questions else [1000, 1500, 2000]
        for n in [*sizes, FEW]:
            counts = verdicts(paper.rates, n, NUM_DRAWS)
            print(paper.name, n, dict(counts), file=sys.stderr)
            own = n == paper.num_questions
            target = ">= 0.95" if own else None
            rows.append(row(f"right_verdicts_{paper.name}_n{n}", "share", counts[paper.best] / NUM_DRAWS, target))
            wrong = sum(times for name, times in counts.items() if name not in (paper.best, "not_enough"))
            rows.append(row(f"wrong_verdicts_{paper.name}_n{n}", "share", wrong / NUM_DRAWS, "<= 0.05"))
    rows.append(row("simulation_s", "s", round(time.perf_counter() - started, 1)))
    print(write("evaluation-power", rows, " ".join((__doc__ or "").split())))


if __name__ == "__main__":
    main()
