"""What a comparison found: the shape of report.json.

Shares are between 0 and 1, times are in seconds, intervals are 95 % intervals.
"""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from evaluation.config import ArmName, EvaluationConfig
from evaluation.questions import Question

SCHEMA_VERSION = 1


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Share(Record):
    """How many of how many, with its Wilson interval. All but the counts are None where `n` is 0."""

    right: int
    n: int
    share: float | None
    low: float | None
    high: float | None


class Grade(Record):
    """Whether one answer is right; grading.py holds the rules.

    `form` is None where the question asks for none. `cited_right` and `retrieved_right` are None where the arm does
    not retrieve or the question names no source.
    """

    correct: bool
    content: bool
    form: bool | None
    refused: bool
    cited_right: bool | None
    retrieved_right: bool | None


class CitedSource(Record):
    """A retrieved passage; `cited` where the answer's text holds its mark, [index]."""

    index: int
    source: str
    title: str
    cited: bool
    also_in: list[str] = []
    """Other documents that say the same, and were left out of the prompt for it."""


class Reply(Record):
    """What came back for one question from one arm: a graded text, or the reason why the call failed."""

    text: str | None = None
    model: str | None = None
    latency_s: float | None = None
    citations: list[CitedSource] = []
    grade: Grade | None = None
    failed: str | None = None


class Row(Record):
    """One question with every arm's reply."""

    question: Question
    replies: dict[ArmName, Reply]


class ArmResult(Record):
    """An arm as it was measured. `answered_as`: the pinned names the endpoint answered with; one, unless it changed."""

    name: ArmName
    title: str
    model: str
    answered_as: list[str]
    warm_up_s: float | None
    warm_up_failed: str | None
    failures: dict[str, int] = Field(description="How often each reason stood in the way of an answer.")


class Cell(Record):
    """One arm on one slice (or `overall`). `accuracy.n` are the graded answers; failed calls are not among them."""

    arm: ArmName
    slice: str
    num_questions: int
    num_failed: int
    accuracy: Share
    content: Share | None = Field(description="Right values on the questions that ask for a form; None without such.")
    form: Share | None = Field(description="Right forms on the questions that ask for one; None without such.")
    refused: Share
    false_answers: Share | None = Field(description="Answers other than a plain refusal to unanswerable questions.")
    cited_right: Share | None = Field(description="Answers that cite a right source; None without retrieval.")
    retrieved_right: Share | None = Field(description="Answers for which a right source was retrieved.")
    latency_p50_s: float | None
    latency_p95_s: float | None


class Difference(Record):
    """Accuracy of `first` less that of `second` on the `n` questions that both answered."""

    slice: str
    first: ArmName
    second: ArmName
    n: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None = Field(description="Exact sign test on the questions on which the two differ.")
    separated: bool = Field(description="The interval excludes 0 and the sign test's p is below 0.05.")


class Recommendation(Record):
    """The verdict in words, and the rule that gave it: verdict.py holds them."""

    outcome: str
    arm: ArmName | None
    headline: str
    sentences: list[str]
    by_slice: dict[str, str] = Field(description="The best arms of each slice, in words.")
    leaders: dict[str, list[ArmName]] = Field(description="By slice: the best arm, then those not separated from it.")

    @property
    def text(self) -> str:
        best = "; ".join(f"{name}: {words}" for name, words in self.by_slice.items())
        return " ".join([self.headline, *self.sentences, *([f"Best by slice: {best}."] if best else [])])


class Report(Record):
    """Everything that was asked, answered and concluded."""

    schema_version: int = SCHEMA_VERSION
    run: str
    created: datetime
    duration_s: float
    machine: str
    versions: dict[str, str]
    git_commit: str | None
    config: EvaluationConfig
    questions_digest: str
    arms: list[ArmResult]
    slices: list[str]
    cells: list[Cell]
    differences: list[Difference]
    recommendation: Recommendation
    rows: list[Row]

    def cell(self, arm: ArmName, slice_name: str) -> Cell:
        return next(cell for cell in self.cells if cell.arm == arm and cell.slice == slice_name)
