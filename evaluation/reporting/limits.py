"""What a comparison assumed and what it did not measure, in one place for the page, the Markdown and the terminal."""

from collections.abc import Iterator

from evaluation.arms import TRAINED, title
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.reporting.tables import arm_title
from evaluation.reporting.wording import format_amount, retrieving_arms
from evaluation.results import Cell, Report


def list_limits(report: Report) -> list[str]:
    """Whole sentences, first those that bear on the verdict."""
    return [
        *report.config.remarks, *_not_counted(report), *_judge(report), *_cut_off(report), *_not_measured_arms(report),
        *_earlier_answers(report), *_prices(report), *_machine_time(report), *_unknown_times(report),
        *_not_measured(report),
    ]  # fmt: skip


def _not_counted(report: Report) -> Iterator[str]:
    """Answers that are neither right nor wrong, by arm."""
    for arm in report.arms:
        cell = report.cell(arm.name, OVERALL)
        if reasons := _reasons(cell):
            number, asked = cell.num_questions - cell.accuracy.n, cell.num_questions
            yield f"{_upper(arm.title)}: {number} of {asked} questions do not count ({', '.join(reasons)})."


def _reasons(cell: Cell) -> list[str]:
    counts = [
        (cell.num_failed, "call failed", "calls failed"),
        (cell.num_not_asked, "question not asked any more", "questions not asked any more"),
        (cell.num_no_answer, "reply without an answer", "replies without an answer"),
        (cell.num_unclear, "answer that the rules cannot decide on", "answers that the rules cannot decide on"),
        (cell.num_ungradable, "answer that could not be graded", "answers that could not be graded"),
    ]
    return [f"{number} {one if number == 1 else many}" for number, one, many in counts if number]


def _judge(report: Report) -> Iterator[str]:
    if report.judge and not report.judge.trusted:
        yield (
            f"The judge {report.judge.model} is not trusted, so that {_unjudged(report)}: "
            f"{report.judge.reason.rstrip('.')}."
        )


def _unjudged(report: Report) -> str:
    if any(row.question.kind == "rubric" for row in report.rows):
        return "answers to questions with a rubric count as not graded"
    return "answers that the rules cannot decide on stay so"


def _cut_off(report: Report) -> Iterator[str]:
    # Of a choice one token is asked for, unless the model thinks.
    rows = [row for row in report.rows if row.question.kind != "choice"]
    replies = {arm.title: [row.replies[arm.name] for row in rows] for arm in report.arms}
    numbers = {name: sum(each.cut_off and each.grade is not None for each in its) for name, its in replies.items()}
    if any(numbers.values()):
        by_arm = ", ".join(f"{number} of {name}" for name, number in numbers.items() if number)
        yield (
            "Answers that ended at the longest length, and are graded as they are: "
            f"{by_arm} (`evaluation.max_tokens: {report.config.max_tokens}`)."
        )


def _not_measured_arms(report: Report) -> Iterator[str]:
    measured = {arm.name for arm in report.arms}
    missing = [title(name) for name in report.config.arms if name not in measured]
    if missing:
        reason = f" {report.staging.reason}" if report.staging and not report.staging.trained else ""
        yield f"Arms that were not measured: {', '.join(missing)}.{reason}"


def _earlier_answers(report: Report) -> Iterator[str]:
    if report.drift:
        yield (
            f"{len(report.drift.asked)} of {len(report.rows)} questions were asked again. The other answers are those "
            f"of {report.drift.since}, graded by today's rules."
        )
    reused = [f"{arm.num_reused} of {arm.title}" for arm in report.arms if arm.num_reused]
    if reused:
        yield f"Answers of an earlier comparison were used again, with the times of then: {', '.join(reused)}."


def _prices(report: Report) -> Iterator[str]:
    prices, currency = report.config.prices, report.config.prices.currency
    unpriced = [arm_title(report, cost.arm) for cost in report.costs if cost.answer_money is None]
    if report.costs and len(unpriced) == len(report.costs):
        yield "No price is set (`evaluation.prices`), so costs are machine time and tokens, and no money."
        return
    if unpriced:
        yield f"No price of an answer is known for {', '.join(unpriced)}, so there is no sum of money for it."
    if prices.machine_hour is not None:
        training = "" if prices.training_gpu_hour is None else (
            f", {currency} {format_amount(prices.training_gpu_hour)} for an hour of a training worker"
        )  # fmt: skip
        yield (
            f"Assumed prices, from the project file: {currency} {format_amount(prices.machine_hour)} for an hour of a "
            f"machine{training}; {format_amount(prices.trainings_per_month)} trainings and "
            f"{format_amount(prices.indexings_per_month)} indexings a month."
        )


def _machine_time(report: Report) -> Iterator[str]:
    unknown = [cost.arm for cost in report.costs if cost.arm not in report.config.endpoints and cost.machine_s is None]
    if unknown:
        yield f"Machine time was not measured for {', '.join(arm_title(report, arm) for arm in unknown)}."


def _unknown_times(report: Report) -> Iterator[str]:
    """What a trained or a searching arm took to make, where nobody measured it."""
    retrieving = retrieving_arms(report)
    training = [arm_title(report, cost.arm) for cost in report.costs if cost.arm in TRAINED and cost.training_s is None]
    indexing = [
        arm_title(report, cost.arm) for cost in report.costs if cost.arm in retrieving and cost.indexing_s is None
    ]
    if training:
        yield f"How long the training took is not known for {', '.join(training)}."
    if indexing:
        yield f"How long the indexing took is not known for {', '.join(indexing)}."


def _not_measured(report: Report) -> Iterator[str]:
    missing = []
    if not report.consistency:
        missing.append("whether an arm stays with its answer (`evaluation.repeats`)")
    if not report.freshness:
        missing.append("whether it follows a corrected document (`evaluation.corrections`)")
    if not any(cell.slice == GENERAL for cell in report.cells) and any(arm.name in TRAINED for arm in report.arms):
        missing.append("what the training made the model forget (`evaluation.general`)")
    if missing:
        yield f"Not measured: {'; '.join(missing)}."


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]
