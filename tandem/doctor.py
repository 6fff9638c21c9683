"""`tandem doctor`: is this machine, or every node of the cluster, as the project needs it?"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.errors import TandemError
from cluster.preflight.finding import Finding, run
from cluster.preflight.machine import Check, Wanted, look
from tandem.console import Console
from tandem.options import DEFAULT, PARTLY_FAILED, AsJson

if TYPE_CHECKING:
    from rich.table import Table

    from tandem.project.project import Project

MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]"}


def doctor(
    cluster: Annotated[bool, typer.Option("--cluster", help="From every node of cluster.address.")] = False,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="The project file; without one, what needs none is checked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check versions, GPUs, storage, disks, model, Milvus, ports, clocks and the network, with a remedy for each
    failure. Exit code 3: a check failed."""
    console = Console(as_json)
    project = _project(config)
    findings = look_at_cluster(project, console) if cluster else look_here(project, console)
    console.table(table(findings))
    console.result(told(findings), to_json(findings))
    if any(one.status == "failed" for one in findings):
        console.hint("do what stands under `what to do`, and run `tandem doctor` again.")
        raise typer.Exit(PARTLY_FAILED)
    console.hint("train, index, serve or compare." if project else "make a project file: tandem init")


def look_here(project: "Project | None", console: Console) -> list[Finding]:
    """Every check of this machine."""
    from cluster.preflight import collective

    console.progress("doctor: looking at this machine")
    wanted = wanted_of(project)
    findings = look(wanted)
    checks = {} if project is None else _once(project)
    num_gpus = sum(len(one.values.get("names", [])) for one in findings if one.check == "gpu")
    checks["all-reduce"] = partial(collective.check_here, num_gpus)
    return [*findings, *run(checks)]


def look_at_cluster(project: "Project | None", console: Console) -> list[Finding]:
    """Every check of every node, and those between them.

    Raises:
        TandemError: there is no project file, no cluster answers, or the address is one that jobs are sent to.
    """
    from cluster.preflight.nodes import look_at_all
    from cluster.session import is_in_job, ray_session

    if project is None:
        raise TandemError(
            "There is no project file that says where the cluster is.",
            "A project file with cluster.address.",
            "Name it with -c, or make one with `tandem init`.",
        )
    address = project.cluster.address
    if address.startswith(("http://", "https://")) and not is_in_job():
        raise TandemError(
            f"cluster.address is {address}: jobs are sent there, and no node can be looked at from outside.",
            "A command that runs inside the cluster.",
            "Send it as a job: `ray job submit --address URL -- tandem doctor --cluster -c PROJECT_FILE`, with a "
            "project file that the nodes have.",
        )
    reached = project.retrieval.sources and project.retrieval.uri != "local"
    more = {"milvus": _milvus(project, project.retrieval.uri)} if reached else {}
    with ray_session(project.cluster):
        findings = look_at_all(wanted_of(project, more), console.progress)
    return [*findings, *run({} if reached else _once(project)), *_local_milvus(project, findings)]


def wanted_of(project: "Project | None", more: "dict[str, Check] | None" = None) -> Wanted:
    """What the project needs of a machine; `more` are checks that are made on each, too."""
    from cluster.preflight.versions import tested

    if project is None:
        return Wanted(tested())
    from serving.deploy.run import models

    location = project.settings.storage
    in_bucket = "://" in location
    root = None if in_bucket else (project.path.parent / Path(location).expanduser()).resolve()
    serving = project.serving
    buckets = (*([location] if in_bucket else []), *([serving.adapter_registry] if serving.adapter_registry else []))
    return Wanted(
        versions=tested(),
        storage=root,
        buckets=buckets,
        models=tuple(dict.fromkeys((project.model, *models(serving, project.model).values()))),
        ports={"serving.port": (serving.host, serving.port)},
        more=more or {},
    )


def table(findings: list[Finding]) -> "Table":
    """A line for each finding, those that failed last, where they are read."""
    from rich.markup import escape
    from rich.table import Table

    several = len({one.node for one in findings}) > 1
    shown = Table(box=None, pad_edge=False)
    for column in ("check", *(["node"] if several else []), "", "found", "what to do"):
        shown.add_column(column)
    order = list(MARKS)
    for one in sorted(findings, key=lambda one: order.index(one.status)):
        node = [escape(one.node)] if several else []
        shown.add_row(escape(one.check), *node, MARKS[one.status], escape(one.seen), escape(one.remedy))
    return shown


def told(findings: list[Finding]) -> str:
    """How many there are of each."""
    number = Counter(one.status for one in findings)
    return f"{number['ok']} ok, {number['warning']} warnings, {number['failed']} failed"


def to_json(findings: list[Finding]) -> dict[str, Any]:
    number = Counter(one.status for one in findings)
    return {
        "ok": number["ok"], "warnings": number["warning"], "failed": number["failed"],
        "findings": [one.__dict__ for one in findings],
    }  # fmt: skip


def _project(config: Path | None) -> "Project | None":
    from tandem.project.project import load

    return load(config or DEFAULT) if config or DEFAULT.exists() else None


def _once(project: "Project") -> "dict[str, Check]":
    """Checks of what all share. Milvus Lite is started for it."""
    return {"milvus": partial(_served_milvus, project)} if project.retrieval.sources else {}


def _served_milvus(project: "Project") -> Iterator[Finding]:
    from tandem.pipeline.documents import milvus

    with milvus(project) as uri:
        yield from _milvus(project, uri)()


def _milvus(project: "Project", uri: str) -> "Check":
    from retrieval.store.preflight import check

    return partial(check, project.retrieval, uri)


def _local_milvus(project: "Project", findings: list[Finding]) -> Iterator[Finding]:
    """Milvus Lite listens on one machine, where the nodes are several."""
    nodes = next((len(one.values["nodes"]) for one in findings if "nodes" in one.values), 0)
    if project.retrieval.sources and project.retrieval.uri == "local" and nodes > 1:
        yield Finding(
            "milvus", "warning", f"retrieval.uri is local: of {nodes} nodes only the one with the command reaches it",
            "Set `retrieval.uri` to a Milvus server before you serve on several nodes. `tandem index` works as it is.",
        )  # fmt: skip
