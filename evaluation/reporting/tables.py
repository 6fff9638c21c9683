"""The report's tables as plain values: the page and the Markdown show the same ones, each in its own way.

A column without any value is left out, so that a table has what the comparison has.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeVar

from cluster.registry.gate_records import GateOutcome
from evaluation.config import ArmName
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.reporting.earlier import EarlierRun
from evaluation.reporting.wording import (
    COLUMN_MEANINGS,
    FAILURE_MEANINGS,
    FAILURE_WORDS,
    answer_mark,
    failure_shown,
    format_amount,
    format_bounds,
    format_interval,
    format_money,
    format_percent,
    format_points,
    format_points_bounds,
    format_seconds,
    retrieving_arms,
)
from evaluation.results import Cell, Consistency, Cost, Difference, Freshness, JudgeCheck, Report, Share
from evaluation.verdicts.percentages import points
from evaluation.verdicts.verdict_words import two_figures


@dataclass(frozen=True)
class TableLine:
    """One row. `arm`: whose it is, for its colour; `group`: rows with the same one stand together."""

    cells: Sequence[str]
    arm: ArmName | None = None
    strong: bool = False
    group: str = ""


@dataclass(frozen=True)
class Table:
    """Headings and lines; the first column holds words, the others numbers, unless `words` says so. `note` explains.

    `folded`: a plot shows the same, so that the page folds it away.
    """

    title: str
    headings: Sequence[str]
    lines: Sequence[TableLine]
    note: str = ""
    group: str = ""
    words: bool = False
    folded: bool = False

    def groups(self) -> list[list[TableLine]]:
        """The lines of each group, in order."""
        return [list(lines) for _, lines in groupby(self.lines, key=lambda line: line.group)]


def slice_names(report: Report) -> list[str]:
    """All questions, then each slice; the general questions are no slice of the comparison."""
    return [OVERALL, *(name for name in report.slices if name != GENERAL)]


def arm_title(report: Report, name: ArmName) -> str:
    """The arm's title as it was measured."""
    return next((arm.title for arm in report.arms if arm.name == name), name)


def numbers_table(report: Report) -> Table:
    """Every slice and arm with all that was counted."""
    cells = [cell for name in slice_names(report) for cell in cells_of(report, name)]
    columns: list[tuple[str, Callable[[Cell], str]]] = [
        ("right", lambda cell: format_percent(cell.accuracy.share)),
        ("95 % interval", lambda cell: format_bounds(cell.accuracy)),
        ("graded", lambda cell: str(cell.accuracy.n)),
        ("documents", lambda cell: _num_documents(cell.accuracy)),
        ("failed", lambda cell: str(cell.num_failed)),
        ("not asked", lambda cell: str(cell.num_not_asked or "")),
        ("no answer", lambda cell: str(cell.num_no_answer or "")),
        ("unclear", lambda cell: str(cell.num_unclear or "")),
        ("ungradable", lambda cell: str(cell.num_ungradable or "")),
        ("refused", lambda cell: _share(cell.refused)),
        ("form", lambda cell: _share(cell.form)),
        ("value", lambda cell: _share(cell.content)),
        ("false", lambda cell: _share(cell.false_answers)),
        ("found", lambda cell: _share(cell.retrieved_right)),
        ("cited", lambda cell: _share(cell.cited_right)),
        ("citation precision", lambda cell: _mean(cell.citation_precision)),
        ("citation recall", lambda cell: _mean(cell.citation_recall)),
        ("grounded", lambda cell: _share(cell.grounded)),
        ("F1", lambda cell: _mean(cell.f1)),
        ("p50", lambda cell: format_seconds(cell.latency_p50_s)),
        ("p95", lambda cell: format_seconds(cell.latency_p95_s)),
    ]
    columns = [column for column in columns if any(column[1](cell) for cell in cells)]
    shown = {heading for heading, _ in columns}
    meanings = [words for headings, words in COLUMN_MEANINGS if shown & {*headings}]
    leaders = report.recommendation.leaders
    lines = [
        TableLine(
            [arm_title(report, cell.arm), *(words(cell) for _, words in columns)],
            cell.arm,
            cell.arm in leaders.get(cell.slice, []),
            "all questions" if cell.slice == OVERALL else cell.slice,
        )
        for cell in cells
    ]
    return Table(
        "Every slice and arm", ["arm", *(heading for heading, _ in columns)], lines, " ".join(meanings), "slice"
    )


def differences_table(report: Report) -> Table | None:
    """One arm against another on all questions; the best arm's differences first, then the widest."""
    differences = [each for each in report.differences if each.slice == OVERALL and each.n]
    leaders = report.recommendation.leaders.get(OVERALL, [])[:1]
    differences.sort(key=lambda each: (not {each.first, each.second} & {*leaders}, -abs(each.difference or 0)))
    more = any(each.more_questions for each in differences)
    documents = any(map(_num_documents, differences))
    lines = [
        TableLine(
            [
                f"{arm_title(report, each.first)} minus {arm_title(report, each.second)}",
                format_points(each.difference),
                format_points_bounds(each.low, each.high),
                str(each.n),
                *([_num_documents(each)] if documents else []),
                *([f"{each.more_questions:,}" if each.more_questions else ""] if more else []),
                _conclusion(report, each),
            ]
        )
        for each in differences
    ]
    counted = ["questions", *(["documents"] if documents else [])]
    headings = ["arms", "difference", "interval", *counted, *(["more needed"] if more else []), "conclusion"]
    out = {arm.name for arm in report.arms if report.cell(arm.name, OVERALL).num_not_asked}
    whole = [each for each in differences if not {each.first, each.second} & out]
    smallest = [each.smallest_effect for each in whole if each.smallest_effect is not None]
    note = (
        f"This many questions can show a difference of about {points(max(smallest)).removeprefix('+')} or more."
        if smallest
        else ""
    )
    return Table("One arm against another, on all questions", headings, lines, note) if lines else None


def failures_table(report: Report) -> Table:
    """What became of the answers of each arm, by kind; kinds that never occur are left out."""
    counts = outcome_counts(report)
    kinds = [kind for kind in OUTCOMES if any(counted[kind] for counted in counts.values())]
    lines = [
        TableLine([arm_title(report, arm), *(str(counted[kind]) for kind in kinds)], arm)
        for arm, counted in counts.items()
    ]
    meanings = [f"{FAILURE_WORDS[kind]}: {words}" for kind, words in FAILURE_MEANINGS.items() if kind in kinds]
    note = f"{'; '.join(meanings)}."
    headings = ["arm", *(OUTCOMES[kind] for kind in kinds)]
    return Table("What became of the answers", headings, lines, note[0].upper() + note[1:] if meanings else "")


OUTCOMES: dict[str, str] = {
    "right": "right", **dict(FAILURE_WORDS.items()), "unsorted": "wrong",
    "unclear": "unclear", "no answer": "no answer", "ungradable": "ungradable", "failed": "failed",
    "not asked": "not asked",
}  # fmt: skip


def outcome_counts(report: Report) -> dict[ArmName, Counter[str]]:
    """By arm, how often each of OUTCOMES; general questions are not among them."""
    counts: dict[ArmName, Counter[str]] = {arm.name: Counter() for arm in report.arms}
    retrieving = retrieving_arms(report)
    for row in report.rows:
        if row.question.slice != GENERAL:
            for arm in counts:
                reply = row.replies[arm]
                became = answer_mark(reply)
                kind = reply.grade.failure if reply.grade else None
                wrong = failure_shown(kind, arm in retrieving) if kind else "unsorted"
                counts[arm][wrong if became == "wrong" else became] += 1
    return counts


def costs_table(report: Report) -> Table | None:
    """What each arm costs, in machine time and, where prices are stated, in money."""
    columns: list[tuple[str, Callable[[Cost], str]]] = [
        ("training", lambda cost: _both(_time(cost.training_s), _money(cost.training_money, cost))),
        ("indexing", lambda cost: _both(_time(cost.indexing_s), _money(cost.indexing_money, cost))),
        ("tokens in", lambda cost: _amount(cost.prompt_tokens)),
        ("tokens out", lambda cost: _amount(cost.completion_tokens)),
        ("machine time", lambda cost: _machine_time(report, cost)),
        ("an answer", lambda cost: _money(cost.answer_money, cost)),
        ("a right answer", lambda cost: _money(cost.right_answer_money, cost)),
        ("a month", lambda cost: _money(_monthly(cost), cost)),
    ]
    notes = []
    if any(cost.prompt_tokens is not None or cost.completion_tokens is not None for cost in report.costs):
        notes.append("Tokens: mean for one answer.")
    if any(cost.machine_s is not None for cost in report.costs):
        notes.append(
            "Machine time: the mean for one answer of the time in which the project’s endpoint was busy, shared by the "
            "calls in flight there; of an answer that was kept, as it was measured when it was given."
        )
    if any(_monthly(cost) is not None for cost in report.costs):
        notes.append("A month: training and indexing again as often as the prices say, without answers.")
    return _by_arm(report, "What each arm costs", report.costs, columns, " ".join(notes))


def _monthly(cost: Cost) -> float | None:
    """None where no price is set: what needs neither training nor index then costs nothing by no price at all."""
    return cost.monthly_money if cost.monthly_money or cost.answer_money is not None else None


def break_even_sentences(report: Report) -> list[str]:
    """From how many questions a month on one arm costs less than another, in sentences."""
    return [
        f"Above about {two_figures(max(each.questions_per_month, 2))} questions a month "
        f"{arm_title(report, each.cheaper_above)} costs less than {arm_title(report, each.than)}; below, more."
        for each in report.break_even
    ]


def latency_table(report: Report) -> Table | None:
    """Half of the answers, and 95 %, came within these times."""
    cells = [cell for cell in cells_of(report, OVERALL) if cell.latency_p50_s is not None]
    columns: list[tuple[str, Callable[[Cell], str]]] = [
        ("half within", lambda cell: format_seconds(cell.latency_p50_s)),
        ("95 % within", lambda cell: format_seconds(cell.latency_p95_s)),
    ]
    return _by_arm(report, "Time to the whole answer", cells, columns)


def consistency_table(report: Report) -> Table | None:
    columns: list[tuple[str, Callable[[Consistency], str]]] = [
        ("same words again", lambda measured: _interval(measured.repeated)),
        ("same verdict on every wording", lambda measured: _interval(measured.paraphrased)),
        ("right on every wording", lambda measured: _interval(measured.right_in_all)),
    ]
    return _by_arm(report, "The same question again, and in other words", report.consistency, columns, folded=True)


def freshness_table(report: Report) -> Table | None:
    columns: list[tuple[str, Callable[[Freshness], str]]] = [
        ("questions", lambda measured: str(measured.num_questions)),
        ("old value", lambda measured: _interval(measured.stale)),
        ("new value", lambda measured: _interval(measured.new)),
        (
            "first new answer after",
            lambda measured: "none came" if measured.seconds is None else format_seconds(measured.seconds),
        ),
    ]
    return _by_arm(report, "After a document was corrected", report.freshness, columns)


def forgetting_table(report: Report) -> Table | None:
    """The general questions: what the model knew before."""
    cells = cells_of(report, GENERAL)
    columns: list[tuple[str, Callable[[Cell], str]]] = [
        ("right", lambda cell: format_interval(cell.accuracy)),
        ("graded", lambda cell: str(cell.accuracy.n)),
        ("failed", lambda cell: str(cell.num_failed)),
    ]
    return _by_arm(report, "Questions on what the model knew before", cells, columns, folded=True)


def judge_table(check: JudgeCheck) -> Table:
    """People's word by the judge's, on the rows that people graded."""
    counts = check.counts
    lines = [
        TableLine([f"people: {word}", str(counts.get(f"{word}_right", 0)), str(counts.get(f"{word}_wrong", 0))])
        for word in ("right", "wrong")
    ]
    return Table(f"{check.n} answers graded by people and by the judge", ["", "judge: right", "judge: wrong"], lines)


def gates_table(report: Report) -> Table | None:
    """Every gate with its outcome and its numbers."""
    lines = [TableLine([gate.name, GATE_OUTCOMES[gate.outcome], gate.seen]) for gate in report.gates]
    note = _GATES_NOTE if report.candidate else ""  # earlier versions counted, and tested nothing
    headings = ["gate", "outcome", "seen"]
    return Table("Gates for making this version live", headings, lines, note, words=True) if lines else None


GATE_OUTCOMES: dict[GateOutcome, str] = {
    "passed": "✓ passed", "refused": "✗ refused", "undecided": "? not enough questions to tell",
}  # fmt: skip
_GATES_NOTE = (
    "A version that is as good as the other is refused in at most 5 of 100 comparisons, over all gates together. A "
    "version that loses as much as a gate names passes that gate in at most 5 of 100."
)


def earlier_runs_table(report: Report, runs: Sequence[EarlierRun]) -> Table | None:
    """This run and those before it, on all questions."""
    if not runs:
        return None
    own = {arm.name: report.cell(arm.name, OVERALL).accuracy for arm in report.arms}
    names = list(dict.fromkeys([*own, *(arm for run in runs for arm in run.arms)]))
    this = TableLine(
        [f"{report.created:%-d %b %Y, %H:%M} (this run)", *(_interval(own.get(arm)) for arm in names), ""], None, True
    )
    lines = [this] + [
        TableLine(
            [
                f"{run.created:%-d %b %Y, %H:%M}" if run.created else run.run,
                *(_interval(run.arms.get(arm)) for arm in names),
                run.not_comparable or ("" if run.same_questions else "other questions"),
            ]
        )
        for run in runs
    ]
    headings = ["run", *(arm_title(report, arm) for arm in names), "note"]
    return Table("Earlier runs, right on all questions", headings, lines)


def _conclusion(report: Report, difference: Difference) -> str:
    if not difference.separated:
        return "not told apart"
    return f"{arm_title(report, difference.first if (difference.difference or 0) > 0 else difference.second)} is better"


def cells_of(report: Report, slice_name: str) -> list[Cell]:
    """The cells of a slice in the order of the arms; none where it was not measured."""
    cells = {cell.arm: cell for cell in report.cells if cell.slice == slice_name}
    return [cells[arm.name] for arm in report.arms if arm.name in cells]


class _OfAnArm(Protocol):
    @property
    def arm(self) -> ArmName: ...


Found = TypeVar("Found", bound=_OfAnArm)


def _by_arm(
    report: Report,
    title: str,
    measured: Sequence[Found],
    columns: Sequence[tuple[str, Callable[[Found], str]]],
    note: str = "",
    folded: bool = False,
) -> Table | None:
    used = [column for column in columns if any(column[1](each) for each in measured)]
    lines = [
        TableLine([arm_title(report, each.arm), *(words(each) for _, words in used)], each.arm) for each in measured
    ]
    return Table(title, ["arm", *(heading for heading, _ in used)], lines, note, folded=folded) if lines else None


def _num_documents(counted: Share | Difference) -> str:
    """As how many the questions count, where some of them share a document."""
    number = counted.num_documents
    return "" if number is None or number == counted.n else str(number)


def _share(share: Share | None) -> str:
    return format_percent(share.share) if share else ""


def _interval(share: Share | None) -> str:
    return format_interval(share) if share else ""


def _mean(value: float | None) -> str:
    return "" if value is None else format_percent(value)


def _time(value: float | None) -> str:
    return "" if value is None else format_seconds(value)


def _machine_time(report: Report, cost: Cost) -> str:
    """Empty for another endpoint, whose machines are paid by the token."""
    if cost.machine_s is None and cost.arm not in report.config.endpoints:
        return "not measured"
    return _time(cost.machine_s)


def _both(time: str, price: str) -> str:
    return ", ".join(part for part in (time, price) if part)


def _amount(value: float | None) -> str:
    return "" if value is None else format_amount(value)


def _money(value: float | None, cost: Cost) -> str:
    return "" if value is None else "nothing" if value == 0 else format_money(value, cost.currency)
