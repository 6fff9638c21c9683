"""`tandem train|index|compare --submit`: the same verb as a job of the cluster at `cluster.address`."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cluster.errors import TandemError
from cluster.jobs.demand import check_room, room_at
from cluster.jobs.job_archive import told_bytes
from cluster.jobs.job_log import Follower
from cluster.jobs.jobs import Job, Jobs, jobs_at
from tandem.console import Console
from tandem.prepared import Prepared, prepare, write_package

if TYPE_CHECKING:
    from rich.table import Table

INTERRUPTED = 130
NUM_LAST_LINES = 10


@dataclass(frozen=True)
class Wishes:
    """The options that go with --submit."""

    submit: bool
    detach: bool
    write: Path | None
    env: Sequence[str]
    shared: Sequence[Path]


def submitted(wishes: Wishes, verb: str, arguments: Sequence[str], config: Path, as_json: bool) -> bool:
    """Submit the verb where that is wished for; False where it is to run here.

    Raises:
        TandemError: it cannot run on the cluster, or the cluster cannot be reached.
        typer.Exit: with the exit code of the job, where it is not 0.
    """
    if not wishes.submit:
        _refuse_alone(wishes)
        return False
    from tandem.project.project import load

    console = Console(as_json)
    prepared = prepare(load(config, unset_as_written=True), verb, arguments, wishes.shared)
    if wishes.write:
        _write(prepared, wishes, console)
    else:
        _submit(prepared, wishes, console)
    return True


def follow(jobs: Jobs, id: str, console: Console) -> Job:
    """Show a job's log until it has ended; Ctrl-C leaves it running.

    Raises:
        typer.Exit: it was interrupted.
    """
    output = sys.stderr if console.as_json else sys.stdout

    def write(text: str) -> None:
        print(text, end="", file=output, flush=True)

    try:
        return Follower(jobs, id, write, lambda text: console.stage("job", text)).follow()
    except KeyboardInterrupt:
        console.stage("job", f"{id} goes on; nothing of it was stopped")
        console.hint(f"follow it again: tandem jobs logs -f {id}, or stop it: tandem jobs stop {id}")
        raise typer.Exit(INTERRUPTED) from None


def ended(jobs: Jobs, job: Job) -> tuple[str, dict[str, Any]]:
    """How a job ended, in words and as JSON, with the last lines of its log where it did not succeed."""
    if job.status == "SUCCEEDED":
        return f"{job.id} succeeded.", as_value(job)
    code = "" if job.driver_exit_code is None else f" with exit code {job.driver_exit_code}"
    how = "was stopped" if job.status == "STOPPED" else f"failed{code}"
    lines = last_lines(jobs, job)
    return "\n  ".join([f"{job.id} {how}. The last it said:", *lines]), {**as_value(job), "last_lines": lines}


def last_lines(jobs: Jobs, job: Job) -> list[str]:
    """The end of the log; where there is none (the job did not start), what the cluster says of it."""
    told = (jobs.log(job.id) if job.is_submitted else "") or job.message
    return told.rstrip().splitlines()[-NUM_LAST_LINES:]


def as_value(job: Job) -> dict[str, Any]:
    """A job for `--json`."""
    return {
        "id": job.id, "status": job.status, "exit_code": job.exit_code, "metadata": dict(job.metadata),
        "entrypoint": job.entrypoint, "message": job.message, "started": job.started, "ended": job.ended,
        "submitted_by_tandem": job.is_ours,
    }  # fmt: skip


def _refuse_alone(wishes: Wishes) -> None:
    given = {"--detach": wishes.detach, "--write": wishes.write, "--env": wishes.env, "--shared": wishes.shared}
    if alone := [name for name, value in given.items() if value]:
        raise TandemError(f"{alone[0]} goes with --submit.", "Both, or neither.", f"Add --submit, or drop {alone[0]}.")


def _write(prepared: Prepared, wishes: Wishes, console: Console) -> None:
    assert wishes.write
    if wishes.env:
        raise TandemError(
            f"--env {wishes.env[0]} would write its value into a file.",
            "--env with a job that is submitted at once.",
            "Give the cluster the variable (on Kubernetes from a Secret), or drop --write.",
        )
    script = write_package(prepared, wishes.write)
    _show(prepared, {}, console)
    console.result(f"Wrote {script.parent}.", {"written": str(script.parent), "sent": _sent(prepared, {})})
    console.hint(f"RAY_API_SERVER_ADDRESS=http://head:8265 RAY_AUTH_MODE=token RAY_AUTH_TOKEN=... {script}")


def _submit(prepared: Prepared, wishes: Wishes, console: Console) -> None:
    env_vars = _sent_variables(wishes.env)
    jobs = jobs_at(prepared.project.cluster.address)
    jobs.dashboard.check_versions()
    room = room_at(jobs.dashboard)
    for lacking in check_room(prepared.phases(room.num_gpus), room):
        console.stage("room", f"{lacking}: it waits until nodes are added")
    _show(prepared, env_vars, console)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "project.zip")
        prepared.package.write_zip(package)
        id = jobs.submit(prepared.submission(env_vars), package, prepared.wheel)
    console.stage("submit", f"{id} at {jobs.dashboard.address}")
    sent = {"address": jobs.dashboard.address, "sent": _sent(prepared, env_vars)}
    if wishes.detach:
        console.result(id, {**as_value(jobs.get(id)), **sent})
        console.hint(f"follow it: tandem jobs logs -f {id}, or stop it: tandem jobs stop {id}")
        return
    text, value = ended(jobs, follow(jobs, id, console))
    console.result(text, {**value, **sent})
    if code := value["exit_code"]:
        console.hint(f"all that it said: tandem jobs logs {id}")
        raise typer.Exit(code)
    console.hint("what it made is in the project's storage: tandem adapters list, or tandem serve")


def _sent_variables(names: Sequence[str]) -> dict[str, str]:
    for name in names:
        if name not in os.environ:
            raise TandemError(
                f"--env {name}: the environment variable is not set.",
                "The name of a variable that is set here.",
                f"Run `export {name}=...` first, or drop it where the cluster has it.",
            )
    return {name: os.environ[name] for name in names}


def _sent(prepared: Prepared, env_vars: dict[str, str]) -> dict[str, Any]:
    """All that leaves this machine, and what does not, for `--json`."""
    package = prepared.package
    return {
        "files": [{"name": file.name, "size": file.size} for file in package.files],
        "size": package.size,
        "code": {"name": prepared.wheel.name, "size": len(prepared.wheel.content)},
        "variables": sorted(env_vars),
        "left_out": [{"path": str(each.path), "why": each.why} for each in package.left_out],
        "stays": list(prepared.packed.stays),
        "variables_of_the_cluster": [name for name in prepared.variables if name not in env_vars],
    }


def _show(prepared: Prepared, env_vars: dict[str, str], console: Console) -> None:
    """What is sent, what is left out, and what the cluster has to have, before it is sent."""
    package, sent = prepared.package, _sent(prepared, env_vars)
    console.table(_table(prepared))
    code = told_bytes(len(prepared.wheel.content))
    console.stage("pack", f"{len(package.files)} files, {told_bytes(package.size)}, and our code, {code}")
    for why, number in Counter(each.why for each in package.left_out).items():
        first = next(each.path for each in package.left_out if each.why == why)
        others = f" and {number - 1} more" if number > 1 else ""
        console.stage("pack", f"left out as {why}: {first}{others}")
    for title, names in (
        ("the nodes must have", sent["stays"]),
        ("the cluster must have the variables", sent["variables_of_the_cluster"]),
        ("sent with the job, for all to read who may see its jobs", sent["variables"]),
    ):
        if names:
            console.stage("pack", f"{title}: {', '.join(names)}")


def _table(prepared: Prepared) -> "Table":
    """Files and sizes by the setting that names them."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table("setting", "here", "there", "files", "size", box=SIMPLE)
    for wanted in prepared.packed.wanted:
        below = [file for file in prepared.package.files if (file.name + "/").startswith(wanted.to + "/")]
        size = told_bytes(sum(file.size for file in below))
        table.add_row(wanted.key, str(wanted.path), wanted.to, str(len(below)), size)
    return table
