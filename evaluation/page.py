"""report.html: one page that loads nothing, with the answer first, then the numbers, then every question.

Plain HTML with a few lines of script for the filters; without script every question is shown.
"""

from pathlib import Path
from typing import Any

from evaluation.arms import title
from evaluation.config import ArmName
from evaluation.questions import OVERALL
from evaluation.results import Cell, Difference, Reply, Report, Share

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render_page(report: Report) -> str:
    """The whole page as text. Everything that comes from questions, answers and documents is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "signed": _signed, "seconds": _seconds}
    return environment.get_template("report.html.j2").render(
        report=report,
        overall=OVERALL,
        title=title,
        panels=[_panel(report, name) for name in (OVERALL, *report.slices)],
        leads=[found for found in report.differences if found.slice == OVERALL and found.n],
        rows=[{"row": row, "marks": {arm: mark(reply) for arm, reply in row.replies.items()}} for row in report.rows],
        source_mark=source_mark,
        verdict_of=_verdict_of,
    )


def mark(reply: Reply) -> str:
    """`right`, `wrong` or `failed`."""
    if reply.grade is None:
        return "failed"
    return "right" if reply.grade.correct else "wrong"


def source_mark(reply: Reply) -> str:
    """What became of the document that holds the answer, in words; empty where that is not judged."""
    if reply.grade is None or reply.grade.cited_right is None:
        return ""
    if reply.grade.cited_right:
        return "right source cited"
    return "right source found, not cited" if reply.grade.retrieved_right else "right source not found"


def _panel(report: Report, slice_name: str) -> dict[str, Any]:
    """One small plot: every arm's share with its interval; x runs from 0 to 1."""
    cells = [report.cell(arm.name, slice_name) for arm in report.arms]
    leaders: list[ArmName] = report.recommendation.leaders.get(slice_name, [])
    return {"slice": slice_name, "num_questions": cells[0].num_questions, "cells": cells, "leaders": leaders,
            "described": "; ".join(_described(cell) for cell in cells)}  # fmt: skip


def _described(cell: Cell) -> str:
    accuracy: Share = cell.accuracy
    if not accuracy.n:
        return f"{title(cell.arm)}: nothing graded"
    return f"{title(cell.arm)}: {accuracy.share:.2f}, interval {accuracy.low:.2f} to {accuracy.high:.2f}"


def _verdict_of(found: Difference) -> str:
    if not found.separated:
        return "not told apart"
    return f"{title(found.first if (found.difference or 0) > 0 else found.second)} is better"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
