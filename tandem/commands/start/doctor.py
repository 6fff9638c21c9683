"""`tandem doctor`: is this machine, or every node of the cluster, as the project needs it?"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cluster.errors import TandemError
from cluster.preflight import collective
from cluster.preflight.finding import Finding, run_checks
from cluster.preflight.machine import Check, MachineNeeds, check_machine
from cluster.preflight.nodes import check_all_nodes as check_nodes
from cluster.preflight.versions import tested_versions
from cluster.session import is_in_job, ray_session
from retrieval.store.preflight import check_milvus
from serving.deploy.run import base_models
from tandem.commands.options import DEFAULT, PARTLY_FAILED, AsJson
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import Project, load

MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]"}


def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check every node of the cluster at `cluster.address`.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="The project file. Without: only what needs no project.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine, or every node of the cluster, and say how to fix what is wrong.

    Checks versions, GPUs, storage, disks, model, Milvus, ports, clocks and the network. Exit code 3: a check failed.
    """
    console = Console(as_json)
    project = load(config or DEFAULT) if config or DEFAULT.exists() else None
    findings = check_cluster(project, console) if cluster else check_this_machine(project, console)
    console.table(make_table(findings))
    console.result(count_findings(findings), to_json(findings))
    if any(finding.status == "failed" for finding in findings):
        console.hint("do what stands under `what to do`, and run `tandem doctor` again.")
        raise typer.Exit(PARTLY_FAILED)
    console.hint("train, index, serve or compare." if project else "make a project file: tandem init")


def check_this_machine(project: Project | None, console: Console) -> list[Finding]:
    """Every check of this machine."""
    console.progress("doctor: looking at this machine")
    findings = check_machine(needs_of(project))
    checks = {} if project is None else _shared_checks(project)
    num_gpus = sum(len(finding.values.get("names", [])) for finding in findings if finding.check == "gpu")
    checks["all-reduce"] = partial(collective.check_all_reduce, num_gpus)
    return [*findings, *run_checks(checks)]


def check_cluster(project: Project | None, console: Console) -> list[Finding]:
    """Every check of every node, and those between them.

    Raises:
        TandemError: there is no project file, no cluster answers, or the address is one that jobs are sent to.
    """
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
    more: dict[str, Check] = (
        {"milvus": partial(check_milvus, project.retrieval, project.retrieval.uri)} if reached else {}
    )
    with ray_session(project.cluster):
        findings = check_nodes(needs_of(project, more), console.progress)
    return [
        *findings,
        *run_checks({} if reached else _shared_checks(project)),
        *_check_reach_of_milvus(project, findings),
    ]


def needs_of(project: Project | None, more: dict[str, Check] | None = None) -> MachineNeeds:
    """What the project needs of a machine; `more` are checks that are made on each, too."""
    if project is None:
        return MachineNeeds(tested_versions())
    location = project.settings.storage
    in_bucket = "://" in location
    root = None if in_bucket else (project.path.parent / Path(location).expanduser()).resolve()
    serving = project.serving
    buckets = (*([location] if in_bucket else []), *([serving.adapter_registry] if serving.adapter_registry else []))
    return MachineNeeds(
        versions=tested_versions(),
        storage=root,
        buckets=buckets,
        models=tuple(
            dict.fromkeys((project.model, *base_models(serving, project.model).values(), *serving.copy_of.values()))
        ),
        ports={"serving.port": (serving.host, serving.port)},
        more=more or {},
    )


def make_table(findings: list[Finding]) -> Table:
    """A line for each finding, those that failed last, where they are read."""
    has_nodes = len({finding.node for finding in findings}) > 1
    table = Table(box=None, pad_edge=False)
    for column in ("check", *(["node"] if has_nodes else []), "", "found", "what to do"):
        table.add_column(column)
    order = list(MARKS)
    for finding in sorted(findings, key=lambda finding: order.index(finding.status)):
        node = [escape(finding.node)] if has_nodes else []
        mark = MARKS[finding.status]
        table.add_row(escape(finding.check), *node, mark, escape(finding.seen), escape(finding.remedy))
    return table


def count_findings(findings: list[Finding]) -> str:
    """How many there are of each."""
    number = Counter(finding.status for finding in findings)
    return f"{number['ok']} ok, {number['warning']} warnings, {number['failed']} failed"


def to_json(findings: list[Finding]) -> dict[str, Any]:
    number = Counter(finding.status for finding in findings)
    return {
        "ok": number["ok"], "warnings": number["warning"], "failed": number["failed"],
        "findings": [finding.__dict__ for finding in findings],
    }  # fmt: skip


def _shared_checks(project: Project) -> dict[str, Check]:
    """Checks of what all nodes share. Milvus Lite is started for them."""
    return {"milvus": partial(_check_served_milvus, project)} if project.retrieval.sources else {}


def _check_served_milvus(project: Project) -> Iterator[Finding]:
    with milvus(project) as uri:
        yield from check_milvus(project.retrieval, uri)


def _check_reach_of_milvus(project: Project, findings: list[Finding]) -> Iterator[Finding]:
    """Milvus Lite listens on one machine, where the nodes are several."""
    nodes = next((len(finding.values["nodes"]) for finding in findings if "nodes" in finding.values), 0)
    if project.retrieval.sources and project.retrieval.uri == "local" and nodes > 1:
        yield Finding(
            "milvus", "warning", f"retrieval.uri is local: of {nodes} nodes only the one with the command reaches it",
            "Set `retrieval.uri` to a Milvus server before you serve on several nodes. `tandem index` works as it is.",
        )  # fmt: skip
