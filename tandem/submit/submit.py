"""`tandem train|index|compare --submit`: the same verb as a job of the cluster at `cluster.address`."""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from cluster.errors import TandemError
from cluster.jobs.demand import capacity_at, check_capacity
from cluster.jobs.job_archive import format_bytes
from cluster.jobs.jobs import connect_jobs
from tandem.console import Console
from tandem.project.project import load
from tandem.submit.follow import describe_end, follow_job, job_to_json
from tandem.submit.job_package import PreparedJob, prepare_job, write_package


@dataclass(frozen=True)
class SubmitOptions:
    """The options of every verb that can be submitted; all but the first need `--submit`."""

    submit: Annotated[bool, typer.Option("--submit", help="Run it as a job of the cluster at `cluster.address`.")] = (
        False
    )
    detach: Annotated[bool, typer.Option("--detach", help="With --submit: do not wait for the end of the job.")] = False
    write: Annotated[Path | None, typer.Option(help="With --submit: write a folder for `ray job submit` instead.")] = (
        None
    )
    env: Annotated[
        list[str] | None, typer.Option(help="With --submit: send the value of this variable; may be repeated.")
    ] = None
    shared: Annotated[
        list[Path] | None,
        typer.Option(help="With --submit: a folder that every node mounts; its files are not sent. May be repeated."),
    ] = None


def submit_if_asked(options: SubmitOptions, verb: str, arguments: Sequence[str], config: Path, as_json: bool) -> bool:
    """Submit the verb where the options say so; False where it has to run here.

    Raises:
        TandemError: it cannot run on the cluster, or the cluster cannot be reached.
        typer.Exit: with the exit code of the job, where it is not 0.
    """
    if not options.submit:
        _refuse_options_alone(options)
        return False
    console = Console(as_json)
    job = prepare_job(load(config, unset_as_written=True), verb, arguments, options.shared or ())
    if options.write:
        _write(job, options.write, options.env or (), console)
    else:
        _submit(job, options, console)
    return True


def _refuse_options_alone(options: SubmitOptions) -> None:
    given = {"--detach": options.detach, "--write": options.write, "--env": options.env, "--shared": options.shared}
    if alone := [name for name, value in given.items() if value]:
        raise TandemError(f"{alone[0]} goes with --submit.", "Both, or neither.", f"Add --submit, or drop {alone[0]}.")


def _write(job: PreparedJob, to: Path, env: Sequence[str], console: Console) -> None:
    if env:
        raise TandemError(
            f"--env {env[0]} would write its value into a file.",
            "--env with a job that is submitted at once.",
            "Give the cluster the variable (on Kubernetes from a Secret), or drop --write.",
        )
    script = write_package(job, to)
    _show_content(job, {}, console)
    console.result(f"Wrote {script.parent}.", {"written": str(script.parent), "sent": _content_to_json(job, {})})
    console.hint(f"RAY_API_SERVER_ADDRESS=http://head:8265 RAY_AUTH_MODE=token RAY_AUTH_TOKEN=... {script}")


def _submit(job: PreparedJob, options: SubmitOptions, console: Console) -> None:
    env_vars = _read_variables(options.env or ())
    jobs = connect_jobs(job.project.cluster.address)
    jobs.dashboard.check_versions()
    room = capacity_at(jobs.dashboard)
    for missing in check_capacity(job.phases(room.hardware), room):
        console.stage("room", f"{missing}: it waits until nodes are added")
    _show_content(job, env_vars, console)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "project.zip")
        job.package.write_zip(package)
        id = jobs.submit(job.submission(env_vars), package, job.wheel)
    console.stage("submit", f"{id} at {jobs.dashboard.address}")
    sent = {"address": jobs.dashboard.address, "sent": _content_to_json(job, env_vars)}
    if options.detach:
        console.result(id, {**job_to_json(jobs.get(id)), **sent})
        console.hint(f"follow it: tandem jobs logs -f {id}, or stop it: tandem jobs stop {id}")
        return
    text, value = describe_end(jobs, follow_job(jobs, id, console))
    console.result(text, {**value, **sent})
    if code := value["exit_code"]:
        console.hint(f"all that it said: tandem jobs logs {id}")
        raise typer.Exit(code)
    console.hint("what it made is in the project's storage: tandem adapters list, or tandem serve")


def _read_variables(names: Sequence[str]) -> dict[str, str]:
    for name in names:
        if name not in os.environ:
            raise TandemError(
                f"--env {name}: the environment variable is not set.",
                "The name of a variable that is set here.",
                f"Run `export {name}=...` first, or drop it where the cluster has it.",
            )
    return {name: os.environ[name] for name in names}


def _content_to_json(job: PreparedJob, env_vars: dict[str, str]) -> dict[str, Any]:
    """All that leaves this machine, and what does not, for `--json`."""
    package = job.package
    return {
        "files": [{"name": file.name, "size": file.size} for file in package.files],
        "size": package.size,
        "code": {"name": job.wheel.name, "size": len(job.wheel.content)},
        "variables": sorted(env_vars),
        "left_out": [{"path": str(each.path), "why": each.why} for each in package.left_out],
        "stays": list(job.packed.stays),
        "variables_of_the_cluster": [name for name in job.variables if name not in env_vars],
    }


def _show_content(job: PreparedJob, env_vars: dict[str, str], console: Console) -> None:
    """What is sent, what is left out, and what the cluster has to have, before it is sent."""
    package, sent = job.package, _content_to_json(job, env_vars)
    console.table(_files_table(job))
    code = format_bytes(len(job.wheel.content))
    console.stage("pack", f"{len(package.files)} files, {format_bytes(package.size)}, and our code, {code}")
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


def _files_table(job: PreparedJob) -> Table:
    """Files and sizes by the setting that names them."""
    table = Table("setting", "here", "there", "files", "size", box=SIMPLE)
    for wanted in job.packed.wanted:
        below = [file for file in job.package.files if (file.name + "/").startswith(wanted.to + "/")]
        size = format_bytes(sum(file.size for file in below))
        table.add_row(wanted.key, str(wanted.path), wanted.to, str(len(below)), size)
    return table
