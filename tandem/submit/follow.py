"""A job of the cluster until it has ended: its log, how it ended, and the last lines of what it printed."""

import sys
from typing import Any

import typer

from cluster.jobs.job_log import LogFollower
from cluster.jobs.jobs import Job, Jobs
from tandem.console import Console

INTERRUPTED = 130
NUM_LAST_LINES = 10


def follow_job(jobs: Jobs, id: str, console: Console) -> Job:
    """Show a job's log until it has ended; Ctrl-C leaves it running.

    Raises:
        typer.Exit: it was interrupted.
    """
    output = sys.stderr if console.as_json else sys.stdout

    def write(text: str) -> None:
        print(text, end="", file=output, flush=True)

    try:
        return LogFollower(jobs, id, write, lambda text: console.stage("job", text)).follow()
    except KeyboardInterrupt:
        console.stage("job", f"{id} goes on; nothing of it was stopped")
        console.hint(f"follow it again: tandem jobs logs -f {id}, or stop it: tandem jobs stop {id}")
        raise typer.Exit(INTERRUPTED) from None


def describe_end(jobs: Jobs, job: Job) -> tuple[str, dict[str, Any]]:
    """How a job ended, in words and as JSON, with the last lines of its log where it did not succeed."""
    if job.status == "SUCCEEDED":
        return f"{job.id} succeeded.", job_to_json(job)
    code = "" if job.driver_exit_code is None else f" with exit code {job.driver_exit_code}"
    how = "was stopped" if job.status == "STOPPED" else f"failed{code}"
    lines = last_log_lines(jobs, job)
    return "\n  ".join([f"{job.id} {how}. The last it said:", *lines]), {**job_to_json(job), "last_lines": lines}


def last_log_lines(jobs: Jobs, job: Job) -> list[str]:
    """The end of the log; where there is none (the job did not start), what the cluster says of it."""
    log = (jobs.log(job.id) if job.is_submitted else "") or job.message
    return log.rstrip().splitlines()[-NUM_LAST_LINES:]


def job_to_json(job: Job) -> dict[str, Any]:
    """A job for `--json`."""
    return {
        "id": job.id, "status": job.status, "exit_code": job.exit_code, "metadata": dict(job.metadata),
        "entrypoint": job.entrypoint, "message": job.message, "started": job.started, "ended": job.ended,
        "submitted_by_tandem": job.is_ours,
    }  # fmt: skip
