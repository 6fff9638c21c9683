"""`tandem jobs`: the jobs of the cluster at `cluster.address`, ours and others."""

from typing import TYPE_CHECKING, Annotated

import typer

from tandem.console import Console
from tandem.options import DEFAULT, AsJson, ProjectFile

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from cluster.jobs.jobs import Job, Jobs

jobs_app = typer.Typer(help="Jobs on the cluster at `cluster.address`.", no_args_is_help=True)
JobId = Annotated[str, typer.Argument(help="The id, as `tandem jobs list` shows it.")]


@jobs_app.command("list")
def list_jobs(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Show every job that the cluster remembers, the newest first."""
    from tandem.submitting import as_value

    found, console = _jobs(config).all(), Console(as_json)
    if as_json or not found:
        console.result("There are no jobs.", [as_value(job) for job in found])
    else:
        console.table(_table(found))
        console.hint(f"look at one: tandem jobs show {found[0].id}")


@jobs_app.command("show")
def show(id: JobId, config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Show one job: what it runs, how it stands, and the last lines of its log."""
    from tandem.submitting import as_value, last_lines

    jobs, console = _jobs(config), Console(as_json)
    job = jobs.get(id)
    lines = last_lines(jobs, job)
    console.table(_table([job]))
    console.result("\n  ".join([job.entrypoint, *lines]), {**as_value(job), "last_lines": lines})
    console.hint(f"all that it said: tandem jobs logs {job.id}")


@jobs_app.command("logs")
def logs(
    id: JobId,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Stay until it has ended, and end as it did.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Print a job's log. With -f the exit code is the job's."""
    from tandem import submitting

    jobs, console = _jobs(config), Console(as_json)
    if not follow:
        log = jobs.log(id)
        console.result(log.rstrip("\n"), {"id": id, "log": log})
        return
    text, value = submitting.ended(jobs, submitting.follow(jobs, id, console))
    console.result(text, value)
    if value["exit_code"]:
        raise typer.Exit(value["exit_code"])


@jobs_app.command("stop")
def stop(id: JobId, config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Ask a job to end. It has a minute to end what it started."""
    jobs, console = _jobs(config), Console(as_json)
    stopped = jobs.stop(id)
    text = f"{id} is being stopped." if stopped else f"{id} had ended already."
    console.result(text, {"id": id, "stopped": stopped})
    console.hint(f"see how it ended: tandem jobs show {id}")


def _jobs(config: "Path") -> "Jobs":
    from cluster.jobs.jobs import jobs_at
    from tandem.project.project import load

    return jobs_at(load(config, unset_as_written=True).cluster.address)


def _table(jobs: "list[Job]") -> "Table":
    from rich.table import Table

    table = Table("id", "project", "verb", "status", "exit", "started", "seconds", "by", box=None)
    for job in jobs:
        ran = f"{(job.ended - job.started).total_seconds():.0f}" if job.started and job.ended else ""
        code = "" if job.exit_code is None else str(job.exit_code)
        started = f"{job.started:%Y-%m-%d %H:%M:%S}" if job.started else ""
        table.add_row(
            job.id, job.metadata.get("project", ""), job.metadata.get("verb", ""), job.status, code, started, ran,
            f"tandem {job.metadata['tandem']}" if job.is_ours else "others",
        )  # fmt: skip
    return table
