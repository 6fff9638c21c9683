"""`tandem compare`: the arms on the same questions, as a table, a report and a recommendation."""

from pathlib import Path
from typing import Annotated

import typer

from evaluation.reporting.report import make_table, summary_text
from evaluation.results import Report
from tandem.commands.options import (
    DEFAULT,
    PARTLY_FAILED,
    VERDICT_CHANGED,
    AsJson,
    ProjectFile,
    with_option_groups,
)
from tandem.compare.compare import compare as compare_arms
from tandem.console import Console
from tandem.project.project import load
from tandem.submit.submit import SubmitOptions, submit_if_asked


@with_option_groups
def compare_command(
    spend_all: Annotated[
        bool, typer.Option("--all", help="Train and measure every arm, even where training could not pay off.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask every question again, without the answers of earlier comparisons.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            help="An earlier run, or `last`: ask again only the questions that changed documents affect. Exit code 4: "
            "the verdict has changed."
        ),
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
    *,
    submit_options: SubmitOptions,
) -> None:
    """Measure base, tuned, retrieval and both on your questions, and recommend one.

    Indexes the documents, serves the arms, asks each of them every question, and trains only where training can pay
    off. Exit code 3: there is no recommendation, because too many calls failed or a model changed meanwhile.
    """
    arguments = ["--all"] * spend_all + ["--fresh"] * fresh + (["--since", since] if since else [])
    if not submit_if_asked(submit_options, "compare", arguments, config, as_json):
        print_comparison(config, Console(as_json), spend_all, fresh, since)


def print_comparison(
    config: Path, console: Console, spend_all: bool = False, fresh: bool = False, since: str | None = None
) -> None:
    """Compare the arms of the project in `config`.

    Raises:
        typer.Exit: too much failed for a recommendation, a model changed while it was measured, or the verdict of the
            run `since` has changed.
    """
    report, run = compare_arms(load(config), console, spend_all, fresh, since)
    console.table(make_table(report))
    console.result(summary_text(report), report.model_dump(mode="json"))
    console.hint(f"open {run.path / 'report.html'} in a browser.")
    if code := exit_code_of(report):
        raise typer.Exit(code)


def exit_code_of(report: Report) -> int:
    """0 where there is a result, be it that the questions are not enough; else as the command's help says."""
    if report.recommendation.outcome in ("failures", "model_changed"):
        return PARTLY_FAILED
    return VERDICT_CHANGED if report.drift and not report.drift.stands else 0
