"""`tandem jobs`: the jobs of the cluster at `cluster.address`, ours and others."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cluster.jobs.jobs import Job, Jobs, connect_jobs
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.project.project import load
from tandem.submit.follow import describe_end, follow_job, job_to_json, last_log_lines

JobId = Annotated[str, typer.Argument(help="The id, as `tandem jobs list` shows it.")]


def list_jobs(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """List the jobs of the cluster, the newest first.

    Lists every job that the cluster at `cluster.address` remembers.
    """
    jobs, console = _jobs_of(config).all(), Console(as_json)
    if as_json or not jobs:
        console.result("There are no jobs.", [job_to_json(job) for job in jobs])
    else:
        console.table(make_table(jobs))
        console.hint(f"look at one: tandem jobs show {jobs[0].id}")


def show_job(id: JobId, config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Show one job: its command, its status and the end of its log."""
    jobs, console = _jobs_of(config), Console(as_json)
    job = jobs.get(id)
    lines = last_log_lines(jobs, job)
    console.table(make_table([job]))
    console.result("\n  ".join([job.entrypoint, *lines]), {**job_to_json(job), "last_lines": lines})
    console.hint(f"all that it said: tandem jobs logs {job.id}")


def print_log(
    id: JobId,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Follow the log until the job ends; the exit code is the job's.")
    ] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Print the log of a job."""
    jobs, console = _jobs_of(config), Console(as_json)
    if not follow:
        log = jobs.log(id)
        console.result(log.rstrip("\n"), {"id": id, "log": log})
        return
    text, value = describe_end(jobs, follow_job(jobs, id, console))
    console.result(text, value)
    if value["exit_code"]:
        raise typer.Exit(value["exit_code"])


def stop_job(id: JobId, config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Stop a job.

    The job has a minute to end what it started.
    """
    jobs, console = _jobs_of(config), Console(as_json)
    stopped = jobs.stop(id)
    text = f"{id} is being stopped." if stopped else f"{id} had ended already."
    console.result(text, {"id": id, "stopped": stopped})
    console.hint(f"see how it ended: tandem jobs show {id}")


def _jobs_of(config: Path) -> Jobs:
    return connect_jobs(load(config, unset_as_written=True).cluster.address)


def make_table(jobs: list[Job]) -> Table:
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
