"""`tandem index`: the collection follows the documents; what was found and done, as a table."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from retrieval.index.report import IndexReport
from retrieval.sources.left_out import describe_left_out, describe_pages_left_out
from tandem.commands.options import DEFAULT, PARTLY_FAILED, AsJson, ProjectFile, with_option_groups
from tandem.console import Console
from tandem.pipeline.documents import follow as follow_documents
from tandem.pipeline.documents import index as index_documents
from tandem.pipeline.documents import milvus
from tandem.project.project import load
from tandem.submit.submit import SubmitOptions, submit_if_asked

COUNTS = ("added", "changed", "unchanged", "deleted")
MOST_SHOWN = 20


@with_option_groups
def index(
    watch: Annotated[bool, typer.Option("--watch", help="Keep running and index every change until Ctrl-C.")] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Let a collection of another project belong to this one; its documents are deleted."
        ),
    ] = False,
    allow_empty: Annotated[
        bool,
        typer.Option("--allow-empty", help="Remove what the index has of a source that holds no document any more."),
    ] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
    *,
    submit_options: SubmitOptions,
) -> None:
    """Bring the document index up to date.

    Exit code 3: a document could not be read, or a source is suddenly empty and its documents are kept.
    """
    flags = ["--watch"] * watch + ["--take-over"] * take_over + ["--allow-empty"] * allow_empty
    if submit_if_asked(submit_options, "index", flags, config, as_json):
        return
    console, project = Console(as_json), load(config)
    with milvus(project) as uri:
        if watch:
            follow_documents(project, uri, console, take_over, allow_empty)
            return
        report = index_documents(project, uri, console, take_over=take_over, allow_empty=allow_empty)
    console.table(make_table(report))
    console.result(as_text(report), asdict(report) | {"languages": sorted(report.languages)})
    console.hint("see what it finds: tandem search '...'")
    if report.failed or report.num_kept:
        raise typer.Exit(PARTLY_FAILED)


def make_table(report: IndexReport) -> Table:
    """Documents by what became of them, and the chunks."""
    table = Table(*COUNTS, "failed", "forgotten", "chunks", "embedded", "s", title=report.collection, box=SIMPLE)
    counts = [getattr(report, name) for name in COUNTS]
    chunks = [report.num_chunks, report.num_embedded]
    table.add_row(*map(str, [*counts, len(report.failed), len(report.forgotten), *chunks, round(report.seconds, 1)]))
    return table


def _left_out(source: str, name: str | None) -> str:
    return f"{source}: left out, since it was forgotten{f' as {name}' if name else ''}"


def as_text(report: IndexReport) -> str:
    """The documents that are not in the collection, and what was left out of those that are, each with its reason."""
    lines = [f"{failure.source}: {failure.reason}" for failure in report.failed]
    lines += [f"{part.source}: indexed, but {part.reason}" for part in report.left_out]
    lines += [_left_out(source, report.forgotten_as.get(source)) for source in report.forgotten]
    if len(lines) > MOST_SHOWN:
        lines = [*lines[:MOST_SHOWN], f"and {len(lines) - MOST_SHOWN} more, which `--json` shows"]
    state = "up to date" if not report.failed else f"up to date but for {len(report.failed)} documents"
    counts = filter(None, [describe_left_out(report.other_files), describe_pages_left_out(report.other_pages)])
    return "\n  ".join([f"{report.collection} is {state}.", *map(str, report.empty), *lines, *counts])
