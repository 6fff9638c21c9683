"""What a comparison found: the shape of report.json.

Shares are between 0 and 1, times are in seconds, intervals are 95 % intervals.
"""

from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from cluster.registry.gate_records import Candidate, GateResult
from evaluation.config import ArmName, EvaluationConfig
from evaluation.questions.question import Question
from evaluation.replies import FailureKind, Reply, ResultModel

SCHEMA_VERSION = 2


Gate = GateResult


class Share(ResultModel):
    """How many of how many, with its Wilson interval. All but the counts are None where `n` is 0."""

    right: int
    n: int
    share: float | None
    low: float | None
    high: float | None
    num_documents: int | None = Field(
        default=None,
        description="As how many the questions count: those that a document joins count as one. None in old reports.",
    )


class Row(ResultModel):
    """One question with every arm's reply; `again`: what each said when it was asked the same once more, and
    `paraphrased`: the same in the question's other wordings."""

    question: Question
    replies: dict[ArmName, Reply]
    again: dict[ArmName, list[Reply]] = Field(default={})
    paraphrased: dict[ArmName, list[Reply]] = Field(default={})


class ArmResult(ResultModel):
    """An arm as it was measured. `answered_as`: the pinned names the endpoint answered with; one, unless it changed."""

    name: ArmName
    title: str
    model: str
    answered_as: list[str]
    warm_up_s: float | None
    warm_up_failed: str | None
    failures: dict[str, int] = Field(description="How often each reason stood in the way of an answer.")
    num_reused: int = Field(default=0, description="Answers of an earlier comparison of the same model and index.")
    adjusted: dict[str, str | None] = Field(
        default={},
        description="Parameters that were sent under another name, or left out (null), by a setting or because the "
        "endpoint refused them.",
    )
    thinking_tokens: int | None = Field(
        default=None,
        description="Tokens beyond `max_tokens` that a reply may take for thinking; None without thinking.",
    )
    num_thinking: int = Field(default=0, description="Replies in which the model thought before it answered.")


class Cell(ResultModel):
    """One arm on one slice (or `overall`). `accuracy.n` are the answers that count: neither failed calls, nor replies
    without an answer, nor what could not be graded or is unclear. `general` questions are a slice of their own and no
    part of `overall`."""

    arm: ArmName
    slice: str
    num_questions: int
    num_failed: int
    num_ungradable: int = 0
    num_no_answer: int = Field(default=0, description="Replies without an answer: cut off, filtered or a tool's call.")
    num_unclear: int = Field(default=0, description="Answers of which the rules cannot say whether they are right.")
    num_not_asked: int = Field(
        default=0, description="Questions that the arm was not asked: it could not win any more."
    )
    accuracy: Share
    content: Share | None = Field(description="Right values on the questions that ask for a form; None without such.")
    form: Share | None = Field(description="Right forms on the questions that ask for one; None without such.")
    refused: Share
    false_answers: Share | None = Field(description="Answers other than a plain refusal to unanswerable questions.")
    cited_right: Share | None = Field(description="Answers that cite a right source; None without retrieval.")
    retrieved_right: Share | None = Field(description="Answers for which a right source was retrieved.")
    grounded: Share | None = Field(default=None, description="Cited passages hold the answer.")
    f1: float | None = Field(default=None, description="Mean over the graded answers.")
    citation_precision: float | None = Field(default=None, description="Mean over the answers that cite.")
    citation_recall: float | None = Field(default=None, description="Mean over the answers that may cite.")
    latency_p50_s: float | None
    latency_p95_s: float | None


class Difference(ResultModel):
    """Accuracy of `first` less that of `second` on the `n` questions that both answered."""

    slice: str
    first: ArmName
    second: ArmName
    n: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None = Field(description="Exact: exchanges the two arms by document; by question, the sign test.")
    adjusted_p: float | None = Field(
        default=None, description="The same, corrected for the number of pairs compared (Holm)."
    )
    separated: bool = Field(
        description="The corrected p is below the error; the interval then does not reach across 0."
    )
    smallest_effect: float | None = Field(
        default=None, description="The smallest true difference that this many questions show in four of five cases."
    )
    more_questions: int | None = Field(
        default=None,
        description="About how many more would settle it, if the difference stays; None where it is settled.",
    )
    num_documents: int | None = Field(
        default=None,
        description="As how many the questions count: those that a document joins count as one. None in old reports.",
    )
    effective: float | None = Field(
        default=None, description="Questions from as many documents that would say as much about the difference."
    )
    more_documents: int | None = Field(
        default=None, description="From about how many more documents; None where no document has several questions."
    )


class Consistency(ResultModel):
    """Whether an arm stays with its answer; shares over the questions for which all calls were answered."""

    arm: ArmName
    repeated: Share | None = Field(
        description="The same words each time the same is asked; None where not asked again."
    )
    paraphrased: Share | None = Field(description="The same verdict on every wording; None without other wordings.")
    right_in_all: Share | None = Field(description="Right on every wording.")


@dataclass(frozen=True)
class CorrectedAnswer:
    """The last answer of one arm to the question of one correction; not part of a report."""

    new: bool = False
    """It gives the value that is right after the correction."""

    old: bool = False
    """It gives the value that was right before."""

    seconds: float | None = None
    """From the correction to the first new answer; None where none came."""

    failed: bool = True


class Freshness(ResultModel):
    """How an arm followed a document that was corrected while it served."""

    arm: ArmName
    num_questions: int
    stale: Share = Field(description="Answers that still give the old value when the watching ended.")
    new: Share = Field(description="Answers that give the new value then.")
    seconds: float | None = Field(description="From the correction to the first new answer; None where none came.")
    all_seconds: float | None = Field(default=None, description="Until all were new; None where some never were.")


class Cost(ResultModel):
    """What an arm costs. Money is in `currency` at the prices stated, None without a price; times are measured.

    `machine_s` of an answer is the busy time of the project's endpoint, shared by the calls in flight there, failed
    ones included; None for other endpoints and where it was not measured.
    """

    arm: ArmName
    currency: str
    training_s: float | None = Field(description="Worker-seconds of the training; None where the arm has none.")
    training_money: float | None
    indexing_s: float | None = Field(description="Seconds to index all documents; None where the arm has no index.")
    indexing_money: float | None
    prompt_tokens: float | None = Field(description="Mean per answer.")
    completion_tokens: float | None = Field(description="Mean per answer.")
    machine_s: float | None = Field(description="Mean per answer.")
    answer_money: float | None
    right_answer_money: float | None = Field(description="Money for all answers by the number of right ones.")
    monthly_money: float | None = Field(description="Training and indexing as often as the prices say.")


class BreakEven(ResultModel):
    """Above this many questions a month `cheaper_above` costs less than `than`; below, more."""

    cheaper_above: ArmName
    than: ArmName
    questions_per_month: float


class JudgeCheck(ResultModel):
    """How far the judge agrees with the people who graded the calibration rows."""

    model: str
    n: int
    num_failed: int
    agreement: float | None = Field(description="Share of rows on which both say the same.")
    kappa: float | None = Field(description="Cohen's kappa: agreement beyond chance; None where it has none.")
    kappa_low: float | None = Field(default=None, description="The lower end of its 95 % interval.")
    counts: dict[str, int] = Field(description="`right_right`, `right_wrong`, ...: the people's word, the judge's.")
    trusted: bool
    reason: str


class Staging(ResultModel):
    """Whether a training was paid for, decided on what base and retrieval got wrong before it."""

    trained: bool
    reason: str
    failures: dict[FailureKind, int] = Field(description="Of the better arm without training, by kind.")
    num_questions: int
    repayable: int = Field(description="Wrong answers of a kind that training can mend.")


class Drift(ResultModel):
    """What became of an earlier verdict: documents by what happened to them, and the questions asked again for it."""

    since: str
    changed: list[str]
    added: list[str]
    deleted: list[str]
    asked: list[str]
    before: str = Field(description="The earlier verdict, as its report says it.")
    stands: bool = Field(description="That verdict is the same now.")
    before_today: str | None = Field(
        default=None, description="The verdict that the earlier answers give by today's rules and settings."
    )
    documents_stand: bool | None = Field(
        default=None, description="The verdict now is that of the earlier answers by today's rules and settings."
    )
    num_kept: int | None = Field(default=None, description="Answers of then that count in this report.")
    num_regraded: int = Field(
        default=0, description="Those of them that are graded otherwise than in the report of then."
    )
    regraded: list[str] = Field(default=[], description="Ids of the questions of these.")
    edited: list[str] = Field(default=[], description="Ids of questions that are graded otherwise in the file since.")
    settings: list[str] = Field(default=[], description="Settings of asking that are others than then.")


class Recommendation(ResultModel):
    """The verdict in words, and the rule that gave it: verdict.py holds them."""

    outcome: str
    arm: ArmName | None
    headline: str
    sentences: list[str]
    by_slice: dict[str, str] = Field(description="The best arms of each slice, in words.")
    leaders: dict[str, list[ArmName]] = Field(
        description="By slice: the best arm, then those not separated from it, or as good."
    )
    would_change: list[str] = Field(default=[], description="What would change this verdict.")
    adopt: str | None = Field(
        default=None, description="Lines of the project file that adopt the arm; None without one."
    )
    more_questions: int | None = Field(default=None, description="About how many more questions would settle it.")
    more_documents: int | None = Field(
        default=None, description="From about how many more documents; None where no document has several questions."
    )
    optimism: float | None = Field(
        default=None,
        description="By how much the best arm's share is probably too high; None where another is recommended.",
    )

    @property
    def text(self) -> str:
        best = "; ".join(f"{name}: {words}" for name, words in self.by_slice.items())
        return " ".join([self.headline, *self.sentences, *([f"Best by slice: {best}."] if best else [])])


class Report(ResultModel):
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
    consistency: list[Consistency] = Field(default=[])
    freshness: list[Freshness] = Field(default=[])
    costs: list[Cost] = Field(default=[])
    break_even: list[BreakEven] = Field(default=[])
    judge: JudgeCheck | None = None
    staging: Staging | None = None
    gates: list[Gate] = Field(default=[])
    candidate: Candidate | None = Field(default=None, description="Whose gates these are; None in earlier reports.")
    drift: Drift | None = Field(default=None, description="Where an earlier verdict was looked at again.")
    repeats: list[list[str]] = Field(
        default=[], description="Ids of questions that are the same: only the first of each counts."
    )
    conflicts: list[list[str]] = Field(
        default=[], description="Ids of questions that are the same, with accepted answers that differ."
    )
    look: int = Field(default=1, description="The number of this look at these arms and some of these questions.")
    error: float = Field(default=0.05, description="Of how many comparisons this look may tell equal arms apart.")
    num_from_trained_documents: int | None = Field(
        default=None, description="Questions with a source that training rows name too; None where nothing was trained."
    )
    index_version: str | None = Field(default=None, description="Digest of what the collection held.")
    recommendation: Recommendation
    rows: list[Row]

    def cell(self, arm: ArmName, slice_name: str) -> Cell:
        return next(cell for cell in self.cells if cell.arm == arm and cell.slice == slice_name)
