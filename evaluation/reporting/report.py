"""The report in its shapes: report.json, a self-contained report.html, report.md, and a table for the terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.storage.files import write_atomically
from evaluation.arms import title
from evaluation.questions.question import OVERALL
from evaluation.reporting.drift_words import drift_sentences
from evaluation.reporting.earlier import read_earlier_runs
from evaluation.reporting.limits import list_limits
from evaluation.reporting.markdown import make_markdown
from evaluation.reporting.page import render_page
from evaluation.reporting.sections import LIMITS
from evaluation.reporting.wording import format_percent
from evaluation.results import Cell, Report
from evaluation.verdicts.percentages import with_interval

if TYPE_CHECKING:
    from rich.table import Table


def write_reports(report: Report, folder: Path) -> list[Path]:
    """Write report.json, report.html and report.md, each whole or not at all, and return their paths.

    Args:
        folder: the run's own, beside those of the project's other runs: earlier comparisons are shown next to this one.
    """
    runs = read_earlier_runs(folder.parent, report)
    contents = {
        "report.json": report.model_dump_json(indent=1) + "\n",
        "report.html": render_page(report, runs),
        "report.md": make_markdown(report, runs),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def summary_text(report: Report) -> str:
    """The verdict in words, what became of an earlier one, and what was assumed or not measured."""
    limits = list_limits(report)
    return "\n".join([_verdict(report), *([f"{LIMITS}:"] if limits else []), *(f"- {limit}" for limit in limits)])


def _verdict(report: Report) -> str:
    return " ".join([*drift_sentences(report), f"Recommendation: {report.recommendation.text}"])


def make_table(report: Report) -> "Table":
    """A rich table with a row for each slice and arm; the best arms of a slice are marked with a star."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("slice", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for column in ("graded", *_apart(report), "right (95 % interval)", "p50 s", "p95 s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("also")
    for name in (*report.slices, OVERALL):
        for number, arm in enumerate(report.arms):
            last = number == len(report.arms) - 1
            table.add_row(name if number == 0 else "", *_columns(report, report.cell(arm.name, name)), end_section=last)
    return table


APART: dict[str, Callable[[Cell], int]] = {
    "failed": lambda cell: cell.num_failed, "no answer": lambda cell: cell.num_no_answer,
    "unclear": lambda cell: cell.num_unclear, "ungradable": lambda cell: cell.num_ungradable,
    "not asked": lambda cell: cell.num_not_asked,
}  # fmt: skip
"""What counts as neither right nor wrong."""


def _apart(report: Report) -> list[str]:
    """Failed calls, and of the other columns those that have something to say."""
    return [name for name, count in APART.items() if name == "failed" or any(map(count, report.cells))]


def _columns(report: Report, cell: Cell) -> list[str]:
    leaders = report.recommendation.leaders.get(cell.slice, [])
    star = "*" if cell.arm in leaders else " "
    right = f"{with_interval(cell.accuracy)} {star}"
    times = [f"{value:.2f}" if value is not None else "-" for value in (cell.latency_p50_s, cell.latency_p95_s)]
    apart = [str(APART[name](cell)) for name in _apart(report)]
    return [title(cell.arm), str(cell.accuracy.n), *apart, right, *times, _also(cell)]


def _also(cell: Cell) -> str:
    """What is scored apart: form and value, false answers, citations."""
    if cell.slice == OVERALL:
        return f"cited {format_percent(cell.cited_right.share)}" if cell.cited_right else ""
    notes = []
    if cell.form and cell.content:
        notes += [f"form {format_percent(cell.form.share)}", f"value {format_percent(cell.content.share)}"]
    if cell.false_answers:
        notes.append(f"false {format_percent(cell.false_answers.share)}")
    if cell.cited_right:
        notes.append(f"cited {format_percent(cell.cited_right.share)}")
    return ", ".join(notes)
