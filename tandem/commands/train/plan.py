"""`tandem plan`: what a training takes, before anything is loaded."""

from typing import Annotated

import typer

from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.project.project import load


def plan(
    memory_gib: Annotated[
        float | None, typer.Option(help="Plan for a GPU with this much memory instead of this machine.")
    ] = None,
    host_gib: Annotated[
        float | None, typer.Option(help="Main memory for the state that each worker offloads, in GiB.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Plan for this number of workers instead of the project's.")
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Estimate the memory, disk and time that training takes.

    Loads no weights. `tandem plan-serve` plans an endpoint.
    """
    project, console = load(config), Console(as_json)
    # It loads PyTorch, which takes about three seconds: only once the project file can be read, and not for --help.
    from tandem.commands.train.training_plan import as_text, make_tables, plan_training, to_json

    training_plan = plan_training(project.training, project.model, memory_gib, host_gib, workers)
    for table in make_tables(training_plan):
        console.table(table)
    console.result(as_text(training_plan), to_json(training_plan))
    if training_plan.refusal:
        raise training_plan.refusal
    console.hint("train: tandem train")
