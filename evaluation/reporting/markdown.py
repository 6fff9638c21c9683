"""report.md: the answer, the tables and the reasons of failures, as GitHub shows Markdown."""

import re
from collections.abc import Sequence

from evaluation.reporting.earlier import EarlierRun
from evaluation.reporting.sections import ReportSection, make_sections
from evaluation.reporting.tables import Table, TableLine
from evaluation.results import Report

# What Markdown or HTML would read as more than a letter.
SPECIAL = re.compile(r"([\\`*_\[\]|~#$@])")
MAX_CHARACTERS = 600


def make_markdown(report: Report, earlier: Sequence[EarlierRun] = ()) -> str:
    """The report without its plots and questions, which report.html has."""
    parts = [f"# {escaped(report.recommendation.headline)}", *_answer(report)]
    for section in make_sections(report, earlier):
        parts += _section(section)
    parts += _reasons(report)
    parts.append(
        f"{report.created:%-d %B %Y, %H:%M} UTC, run {escaped(report.run)}, {len(report.rows)} questions "
        f"(sha256 {report.questions_digest[:16]}). The plots and every answer are in report.html."
    )
    return "\n\n".join(parts) + "\n"


def escaped(text: str, most: int | None = MAX_CHARACTERS) -> str:
    """Text that Markdown shows as it is, on one line; what is longer than `most` characters is cut."""
    line = " ".join(text.split())
    line = line if most is None or len(line) <= most else f"{line[:most]}…"
    line = SPECIAL.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    # A link that is written out would become one.
    return line.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def table_of(headings: Sequence[str], lines: Sequence[Sequence[str]], words: bool = False) -> str:
    """A table in GitHub's Markdown. Cells are escaped already; all but the first column stand to the right."""
    rule = ["---", *(["---"] if words else ["--:"]) * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *lines))


def _answer(report: Report) -> list[str]:
    recommendation = report.recommendation
    parts = [escaped(sentence) for sentence in recommendation.sentences[:1]]
    if len(recommendation.sentences) > 1:
        parts.append(_list(recommendation.sentences[1:]))
    if recommendation.more_questions and not recommendation.would_change:
        documents = recommendation.more_documents
        source = f" from about {documents:,} more documents" if documents else ""
        parts.append(f"About {recommendation.more_questions:,} more questions{source} would settle it.")
    if recommendation.by_slice:
        best = [[escaped(name), escaped(words)] for name, words in recommendation.by_slice.items()]
        parts += ["## Best on each slice", table_of(["slice", "best"], best, words=True)]
    if recommendation.would_change:
        parts += ["## What would change this", _list(recommendation.would_change)]
    if recommendation.adopt:
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", recommendation.adopt)), 3)
        lines = recommendation.adopt.strip("\n")
        parts += ["## To adopt it, in the project file", f"{fence}yaml\n{lines}\n{fence}"]
    return parts


def _section(section: ReportSection) -> list[str]:
    words = [_list(section.sentences)] if section.sentences else []
    tables = [part for table in section.tables for part in _table(table, alone=len(section.tables) == 1)]
    if not words and not tables:
        return []
    # What tells how to read a plot is of no use without it.
    lead = [escaped(section.lead)] if section.lead and not section.figures else []
    return [f"## {escaped(section.title)}", *lead, *words, *tables]


def _table(table: Table, alone: bool) -> list[str]:
    headings = [escaped(heading) for heading in ([table.group] if table.group else []) + list(table.headings)]
    title = [] if alone else [f"### {escaped(table.title)}"]
    note = [escaped(table.note, most=None)] if table.note else []
    return [*title, table_of(headings, [_cells(table, line) for line in table.lines], table.words), *note]


def _cells(table: Table, line: TableLine) -> list[str]:
    cells = [escaped(words) for words in line.cells]
    if line.strong:
        cells = [f"**{words}**" if words else "" for words in cells]
    return [escaped(line.group), *cells] if table.group else cells


def _reasons(report: Report) -> list[str]:
    reasons = [
        f"{arm.title}: {times} × {reason}" for arm in report.arms for reason, times in arm.failures.items()
    ]  # fmt: skip
    return ["## Why there is no answer or no grade", _list(reasons)] if reasons else []


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(sentence)}" for sentence in sentences)
