"""What the report shows between its answer and its questions: sections with plots, tables and words.

A section is there only where the comparison has its data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cluster.registry.gate_records import Candidate, describe_gates
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.reporting import plots, tables
from evaluation.reporting.drift_words import drift_sentences
from evaluation.reporting.earlier import EarlierRun
from evaluation.reporting.limits import list_limits
from evaluation.reporting.requests import request_sentences
from evaluation.reporting.tables import Table, arm_title
from evaluation.reporting.wording import format_amount, format_interval, format_percent, format_seconds
from evaluation.results import Cell, Consistency, Report, Share

MAX_PANELS = 12
LIMITS = "What was assumed, and what was not measured"
MAX_TABLES_BESIDE = 4  # columns


@dataclass(frozen=True)
class Figure:
    """A plot with its caption and what stands beside it. `kinds` and `arms`: its key, where its rows do not say it.

    `narrow`: the same plot for a phone, where `svg` takes the whole width of a page.
    """

    caption: str
    svg: Markup
    aside: str = ""
    narrow: Markup | None = None
    kinds: Sequence[tuple[str, str]] = ()
    arms: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True)
class ReportSection:
    """`lead` says how to read it. `more`: figures that stand folded away."""

    id: str
    title: str
    lead: str = ""
    figures: Sequence[Figure] = ()
    more: Sequence[Figure] = ()
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()

    def beside(self) -> list[Table]:
        """Tables that are narrow enough to stand beside the section's one figure."""
        alone = len(self.figures) == 1 and not self.is_wide
        return [table for table in self.tables if alone and len(table.headings) <= MAX_TABLES_BESIDE]

    @property
    def is_wide(self) -> bool:
        """Whether its figures take the whole width, with nothing beside them."""
        return any(figure.narrow for figure in self.figures)

    def below(self) -> list[Table]:
        return [table for table in self.tables if table not in self.beside()]


def make_sections(report: Report, earlier: Sequence[EarlierRun] = ()) -> list[ReportSection]:
    """All that this comparison has, in the order in which a reader asks for it."""
    sections = [
        _drift(report),
        _accuracy(report), _requests(report), _cost(report), _latency(report), _failures(report), _judge(report),
        _consistency(report), _freshness(report), _forgetting(report), _gates(report), _earlier(report, earlier),
        _limits(report),
        _numbers(report),
    ]  # fmt: skip
    return [section for section in sections if section]


def _drift(report: Report) -> ReportSection | None:
    sentences = drift_sentences(report)
    return ReportSection("drift", "What became of the earlier verdict", sentences=sentences) if sentences else None


def _accuracy(report: Report) -> ReportSection:
    figures = [_panel(report, name) for name in tables.slice_names(report)]
    lead = (
        "The mark: the share of right answers. The line: its 95 % interval, in which the true share lies for 19 of 20 "
        "sets of questions like this one. In bold: the best arm, and those that these questions do not tell apart from "
        "it. Only answers that could be graded are counted."
    )
    folded = tables.slice_names(report)[MAX_PANELS:]
    behind = [sentence for name in folded if (sentence := _behind(report, name))]
    return ReportSection(
        "accuracy", "Right answers by slice", lead, figures[:MAX_PANELS], figures[MAX_PANELS:], sentences=behind
    )


def _behind(report: Report, slice_name: str) -> str:
    """Which arms are behind on a slice whose plot is folded away; empty where none is."""
    leaders = report.recommendation.leaders.get(slice_name, [])
    cells = [cell for cell in tables.cells_of(report, slice_name) if cell.accuracy.n]
    shares = {cell.arm: f"{arm_title(report, cell.arm)} ({format_percent(cell.accuracy.share)})" for cell in cells}
    behind = [words for arm, words in shares.items() if arm not in leaders]
    if not behind or leaders[:1] != [arm for arm in leaders[:1] if arm in shares]:
        return ""
    return f"On {slice_name}, {', '.join(behind)} {'is' if len(behind) == 1 else 'are'} behind {shares[leaders[0]]}."


def _requests(report: Report) -> ReportSection | None:
    sentences = request_sentences(report)
    lead = "All arms got the same questions with the same settings, but for these."
    return ReportSection("requests", "What was asked otherwise", lead, sentences=sentences) if sentences else None


def _panel(report: Report, slice_name: str) -> Figure:
    cells = tables.cells_of(report, slice_name)
    leaders = report.recommendation.leaders.get(slice_name, [])
    name = "all questions" if slice_name == OVERALL else slice_name
    lines = [_share_line(report, cell.arm, cell.accuracy, cell.arm in leaders, _ungraded(cell)) for cell in cells]
    number = cells[0].num_questions if cells else 0
    return Figure(name, plots.shares_plot(_described(name, report, cells), lines), f"{number:,} questions")


def _ungraded(cell: Cell) -> str:
    counts = {
        "failed": cell.num_failed, "no answer": cell.num_no_answer, "unclear": cell.num_unclear,
        "ungradable": cell.num_ungradable, "not asked": cell.num_not_asked,
    }  # fmt: skip
    return max(counts, key=lambda reason: counts[reason])


def _share_line(
    report: Report, arm: str, share: Share | None, strong: bool = False, note: str = "none"
) -> plots.PlotLine:
    order = _order(report)[arm]
    if share is None or not share.n:
        return plots.PlotLine(arm_title(report, arm), order, None, note=note)
    return plots.PlotLine(arm_title(report, arm), order, share.share, share.low, share.high, strong=strong)


def _described(name: str, report: Report, cells: Sequence[Cell]) -> str:
    return f"{name}: " + "; ".join(f"{arm_title(report, cell.arm)} {format_interval(cell.accuracy)}" for cell in cells)


def _cost(report: Report) -> ReportSection | None:
    table = tables.costs_table(report)
    if table is None:
        return None
    with_price = [cost for cost in report.costs if cost.answer_money is not None]
    by_money = len(with_price) == len(report.costs)
    points = []
    for cost in report.costs:
        spent = cost.answer_money if by_money else cost.machine_s
        accuracy = report.cell(cost.arm, OVERALL).accuracy
        if spent is not None and accuracy.share is not None and accuracy.low is not None and accuracy.high is not None:
            title, order = arm_title(report, cost.arm), _order(report)[cost.arm]
            points.append(plots.Point(title, order, spent, accuracy.share, accuracy.low, accuracy.high))
    unit = f"{report.costs[0].currency} for an answer" if by_money else "machine time for an answer"
    words = format_amount if by_money else format_seconds
    described = "; ".join(f"{each.label}: {words(each.x)} {unit}, {format_percent(each.y)} right" for each in points)
    key = [(point.order, point.label) for point in points]
    figures = []
    if points:
        wide, narrow = (plots.cost_plot(described, points, unit, words, width) for width in (plots.WIDE, plots.WIDTH))
        figures = [Figure("Right answers against cost", wide, narrow=narrow, arms=key)]
    lead = f"Upwards: share of right answers with its 95 % interval. To the right: {unit}. High and left is best."
    if not by_money:
        lead += " Money is shown where prices are set (`evaluation.prices`)."
    sentences = tables.break_even_sentences(report)
    return ReportSection("cost", "What it costs", lead if figures else "", figures, sentences=sentences, tables=[table])


def _latency(report: Report) -> ReportSection | None:
    cells = [cell for cell in tables.cells_of(report, OVERALL) if cell.latency_p50_s is not None]
    if not cells:
        return None
    lines = [
        plots.PlotLine(
            arm_title(report, cell.arm), _order(report)[cell.arm], cell.latency_p50_s, high=cell.latency_p95_s,
        )
        for cell in cells
    ]  # fmt: skip
    lead = (
        "The mark and the number beside it: half of the answers came within this time. The line’s end: 95 % did. "
        f"Up to {report.config.concurrency} calls were in flight at once at each endpoint."
    )
    described = "; ".join(
        f"{line.label}: half within {format_seconds(line.value)}, 95 % within {format_seconds(line.high)}"
        for line in lines
    )
    table = tables.latency_table(report)
    figure = Figure("Time to the whole answer", plots.times_plot(described, lines))
    return ReportSection("latency", "How long an answer takes", lead, [figure], tables=[table] if table else [])


def _failures(report: Report) -> ReportSection | None:
    counts = tables.outcome_counts(report)
    kinds = [kind for kind in tables.OUTCOMES if any(counted[kind] for counted in counts.values())]
    if not any(counts.values()):
        return None
    rows = [
        (
            plots.PlotLine(arm_title(report, arm), _order(report)[arm], None),
            [plots.StackPart(_kind_class(kind), tables.OUTCOMES[kind], counted[kind]) for kind in kinds],
        )
        for arm, counted in counts.items()
    ]
    table = tables.failures_table(report)
    words = [", ".join(f"{part.count} {part.label}" for part in parts if part.count) for _, parts in rows]
    described = "; ".join(f"{line.label}: {value}" for (line, _), value in zip(rows, words, strict=True))
    figure = Figure(
        "All answers, by what became of them",
        plots.stacked_plot(described, rows),
        kinds=[(_kind_class(kind), tables.OUTCOMES[kind]) for kind in kinds],
    )
    sentences = [report.staging.reason] if report.staging else []
    return ReportSection("failures", "What went wrong", "", [figure], sentences=sentences, tables=[table])


def _kind_class(kind: str) -> str:
    """The class of report.css that gives a kind of answers its colour."""
    return f"kind-{kind.replace(' ', '-')}"


def _judge(report: Report) -> ReportSection | None:
    check = report.judge
    if check is None:
        return None
    agreement = (
        "" if check.agreement is None else f"It says the same as people on {format_percent(check.agreement)} of them. "
    )
    kappa = (
        "" if check.kappa is None else f"Cohen’s kappa, agreement beyond chance, is {check.kappa:.2f} (1 is perfect). "
    )
    failed = f"{check.num_failed} of its calls failed. " if check.num_failed else ""
    used = "Its grades were used" if check.trusted else "Its grades were not used"
    sentences = [f"{agreement}{kappa}{failed}".strip(), f"{used}: {check.reason.rstrip('.')}."]
    lead = f"Questions with a rubric are graded by a model, {check.model}. People graded {check.n} answers too."
    return ReportSection(
        "judge", "Can the judge be trusted", lead, sentences=[each for each in sentences if each],
        tables=[tables.judge_table(check)],
    )  # fmt: skip


def _consistency(report: Report) -> ReportSection | None:
    table = tables.consistency_table(report)
    if table is None:
        return None
    shown: list[tuple[str, Callable[[Consistency], Share | None]]] = [
        ("Same words when asked again", lambda measured: measured.repeated),
        ("Same verdict on every wording", lambda measured: measured.paraphrased),
        ("Right on every wording", lambda measured: measured.right_in_all),
    ]
    figures = [
        _share_figure(report, caption, [(measured.arm, share(measured)) for measured in report.consistency])
        for caption, share in shown
        if any(share(measured) for measured in report.consistency)
    ]
    lead = "Whether an arm stays with its answer: the same question once more, and the same in other words."
    return ReportSection("consistency", "Does it stay with its answer", lead, figures, tables=[table])


def _freshness(report: Report) -> ReportSection | None:
    table = tables.freshness_table(report)
    if table is None:
        return None
    shown = [("Old value", [(measured.arm, measured.stale) for measured in report.freshness]),
             ("New value", [(measured.arm, measured.new) for measured in report.freshness])]  # fmt: skip
    lead = "Documents were corrected while the arms served. The plots show what each arm answered at the end."
    return ReportSection(
        "freshness", "Does it follow a correction", lead, [_share_figure(report, *each) for each in shown],
        tables=[table],
    )  # fmt: skip


def _forgetting(report: Report) -> ReportSection | None:
    table, cells = tables.forgetting_table(report), tables.cells_of(report, GENERAL)
    if table is None:
        return None
    figure = _share_figure(report, "General questions", [(cell.arm, cell.accuracy) for cell in cells])
    lead = "General questions, which have nothing to do with the documents: a training can make a model forget answers."
    return ReportSection("forgetting", "What was forgotten", lead, [figure], tables=[table])


def _share_figure(report: Report, caption: str, shares: Sequence[tuple[str, Share | None]]) -> Figure:
    lines = [_share_line(report, arm, share) for arm, share in shares]
    described = "; ".join(f"{arm_title(report, arm)} {format_interval(share)}" for arm, share in shares)
    return Figure(caption, plots.shares_plot(f"{caption}: {described}", lines))


def _gates(report: Report) -> ReportSection | None:
    table, candidate = tables.gates_table(report), report.candidate
    if table is None:
        return None
    if candidate is None:  # a report of an earlier version, which does not name the new version
        num_failed = sum(not gate.passed for gate in report.gates)
        lead = f"{num_failed} of {len(report.gates)} gates failed." if num_failed else "Every gate is passed."
        return ReportSection("gates", "May the new version be made live", lead, tables=[table])
    version, outcome = candidate.version, describe_gates(report.gates, candidate.version)
    sentences = [_compared_with(candidate, report)]
    if any(gate.holds for gate in report.gates):
        lead = f"Version {version} may not be made live without a reason. {outcome}"
        sentences.append(f'`tandem adapters promote {version} --despite "..."` makes it live and keeps the reason.')
    else:
        lead = f"Version {version} may be made live. {outcome}"
    return ReportSection("gates", f"May {version} be made live", lead, sentences=sentences, tables=[table])


def _compared_with(candidate: Candidate, report: Report) -> str:
    """What the gates compared a version with; it may be nothing."""
    with_base = any(gate.name == "forgetting" for gate in report.gates)
    base = ["the base model on the general questions"] if with_base else []
    subject, nothing = f"Version {candidate.version} was compared with", "no other version is live"
    if candidate.live:
        return f"{subject} {' and with '.join([f'{candidate.live}, which is live,', *base]).rstrip(',')}."
    return f"{subject} {base[0]} alone: {nothing}." if base else f"{subject} nothing: {nothing}."


def _earlier(report: Report, runs: Sequence[EarlierRun]) -> ReportSection | None:
    table = tables.earlier_runs_table(report, runs)
    if table is None:
        return None
    comparable = [run for run in runs if not run.not_comparable]
    figures = []
    for arm in report.arms if comparable else []:
        now = _share_line(report, arm.name, report.cell(arm.name, OVERALL).accuracy, strong=True)
        lines = [_renamed(now, "this run")]
        for run in comparable:
            if arm.name in run.arms and run.created:
                note = "" if run.same_questions else " *"
                lines.append(
                    _renamed(_share_line(report, arm.name, run.arms[arm.name]), f"{run.created:%-d %b %Y}{note}")
                )
        if len(lines) > 1:
            described = f"{arm.title}: {len(lines) - 1} earlier runs"
            figures.append(Figure(arm.title, plots.shares_plot(described, lines)))
    changed = any(not run.same_questions for run in comparable)
    lead = "Right on all questions, this run above those before it."
    note = " Runs marked * asked other questions, so their shares cannot be compared with these."
    return ReportSection("earlier", "Earlier runs", lead + (note if changed else ""), figures, tables=[table])


def _renamed(line: plots.PlotLine, label: str) -> plots.PlotLine:
    return plots.PlotLine(label, line.order, line.value, line.low, line.high, line.note, line.strong)


def _limits(report: Report) -> ReportSection | None:
    sentences = list_limits(report)
    return ReportSection("limits", LIMITS, sentences=sentences) if sentences else None


def _numbers(report: Report) -> ReportSection:
    candidates = [tables.numbers_table(report), tables.differences_table(report)]
    return ReportSection("numbers", "The numbers", tables=[table for table in candidates if table])


def _order(report: Report) -> dict[str, int]:
    return {arm.name: index for index, arm in enumerate(report.arms)}
