"""`tandem index`: what a run found and did, as a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from retrieval.index.report import IndexReport

COUNTS = ("added", "changed", "unchanged", "deleted")
MOST_SHOWN = 20


def table(report: "IndexReport") -> "Table":
    """Documents by what became of them, and the chunks."""
    from rich.box import SIMPLE
    from rich.table import Table

    found = Table(*COUNTS, "failed", "forgotten", "chunks", "embedded", "s", title=report.collection, box=SIMPLE)
    counts = [getattr(report, name) for name in COUNTS]
    chunks = [report.num_chunks, report.num_embedded]
    found.add_row(*map(str, [*counts, len(report.failed), len(report.forgotten), *chunks, round(report.seconds, 1)]))
    return found


def as_text(report: "IndexReport") -> str:
    """The documents that are not in the collection, each with its reason."""
    lines = [f"{failure.source}: {failure.reason}" for failure in report.failed]
    lines += [f"{source}: left out, since it was forgotten" for source in report.forgotten]
    if len(lines) > MOST_SHOWN:
        lines = [*lines[:MOST_SHOWN], f"and {len(lines) - MOST_SHOWN} more, which `--json` shows"]
    told = "up to date" if not report.failed else f"up to date but for {len(report.failed)} documents"
    return "\n  ".join([f"{report.collection} is {told}.", *lines])
