"""`tandem plan-serve`: parts with their arithmetic, nodes, and what gives out first, for a load."""

import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.box import SIMPLE
from rich.table import Table

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.fingerprints.provenance import describe_machine
from cluster.hardware import Hardware, Node, read_node
from cluster.storage.files import write_atomically
from serving.capacity import unit_costs
from serving.capacity.measure import MeasuredEndpoint, measure_costs
from serving.capacity.plan import CapacityPlan, plan
from serving.capacity.unit_costs import UnitCosts
from serving.capacity.workload import Workload, peak
from serving.engine.limits import longest_request, request_limits
from serving.engine.model_files import read_model_files
from serving.engine.parallel import num_devices
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.project.project import Project, load

MEASURED = "capacity.json"
QUICKSTART = "quickstart"
"""The shipped engine is that of the model in examples/quickstart."""
NVIDIA = Path("/dev/nvidia0")


def plan_serve(
    requests_per_s: Annotated[float | None, typer.Option(help="Requests a second at the peak.")] = None,
    questions_per_day: Annotated[
        float | None, typer.Option(help="Questions in a day, instead of --requests-per-s.")
    ] = None,
    peak_factor: Annotated[float, typer.Option(help="The ratio of peak to average traffic (assumed).")] = 4.0,
    tokens_in: Annotated[int, typer.Option(help="Tokens of a prompt, passages included.")] = 512,
    tokens_out: Annotated[int, typer.Option(help="Tokens of an answer.")] = 128,
    chunks: Annotated[
        int, typer.Option(help="Number of chunks that each question is searched in; 0 means no retrieval.")
    ] = 0,
    dimensions: Annotated[int, typer.Option(help="Length of a chunk's vector.")] = 384,
    adapters: Annotated[int, typer.Option(help="Number of adapters that are asked for.")] = 0,
    zipf: Annotated[
        float, typer.Option(help="How uneven their popularity is (Zipf's exponent); 0 means all alike.")
    ] = 1.0,
    most_busy: Annotated[float, typer.Option(help="The highest utilization of each part, between 0 and 1.")] = 0.7,
    node_cores: Annotated[int, typer.Option(help="Cores of a node.")] = 16,
    node_gib: Annotated[float, typer.Option(help="Memory of a node, in GiB.")] = 64.0,
    node_gpus: Annotated[int, typer.Option(help="GPUs of a GPU node.")] = 8,
    measure: Annotated[
        str | None,
        typer.Option(help="Put load on this endpoint of the project for a minute first, and keep what it took."),
    ] = None,
    model_name: Annotated[
        str, typer.Option(help="With --measure: the model to ask, such as base or base+handbook.")
    ] = "base",
    seconds: Annotated[float, typer.Option(min=1, help="With --measure: seconds of each of its four loads.")] = 15.0,
    costs: Annotated[
        Path | None, typer.Option(help="Read unit costs from this file instead of the project's storage.")
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Estimate the hardware that an endpoint takes for a given load.

    Give the load as --requests-per-s or as --questions-per-day. `tandem plan` plans a training.
    """
    console, project = Console(as_json), load(config)
    hardware = planned_hardware(project, costs)
    workload = Workload(
        peak(requests_per_s, questions_per_day, peak_factor), tokens_in, tokens_out, chunks, dimensions,
        project.retrieval.milvus.replicas, project.retrieval.milvus, adapters, zipf,
        project.serving.max_loaded_adapters, keys=True, redis=project.serving.redis_url is not None,
        batch=request_limits(project.serving, hardware).max_num_seqs, most_busy=most_busy, node_cores=node_cores,
        node_gib=node_gib, node_gpus=node_gpus,
    )  # fmt: skip
    check_length(project, workload, hardware)
    if measure:
        measure_endpoint(project, measure, model_name, os.environ.get("TANDEM_API_KEY"), workload, seconds, console)
    show(plan_endpoint(project, workload, costs), console)


def planned_hardware(project: Project, costs: Path | None) -> Hardware:
    """What the project will be served on: GPUs where the engine was measured on some, else CPUs."""
    known = known_costs(project, costs)
    engine = known.engines.get(_measured_name(project, known))
    if engine is None or not engine.gpus:
        return Hardware((Node(1, 0),))
    here = Hardware((read_node(),))
    return here if here.num_gpus else Hardware((), max_gpus=engine.gpus)


def check_length(project: Project, workload: Workload, hardware: Hardware) -> None:
    """Raises TandemError for requests that the endpoint would refuse."""
    tokens = workload.tokens_in + workload.tokens_out
    longest = longest_request(project.serving, hardware, read_model_files(project.model).max_positions)
    if longest is not None and tokens > longest:
        raise TandemError(
            f"{workload.tokens_in} tokens in and {workload.tokens_out} out are {tokens}.",
            f"The project serves up to {longest} together (`serving.max_model_len`).",
            "Plan with fewer (--tokens-in, --tokens-out), or set serving.max_model_len.",
        )


def plan_endpoint(project: Project, workload: Workload, costs: Path | None) -> CapacityPlan:
    """From the costs of a file, else those measured for this project, over those that come with Tandem.

    Raises:
        TandemError: the project's model was not measured.
    """
    known = known_costs(project, costs)
    return plan(workload, known, _measured_name(project, known))


def known_costs(project: Project, costs: Path | None) -> UnitCosts:
    """The costs of a file, else those measured for this project, over those that come with Tandem."""
    measured = costs or project.storage.root / MEASURED
    known = unit_costs.shipped_costs()
    return unit_costs.read_costs(measured).over(known) if costs or measured.is_file() else known


def measure_endpoint(
    project: Project, url: str, model: str, key: str | None, workload: Workload, seconds: float, console: Console
) -> None:
    """Load the endpoint, and keep what it took under the project's storage."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TandemError(
            f"{url!r} is no address of an endpoint.", "Such as http://127.0.0.1:8000.", "Correct --measure."
        )
    gpus = num_devices(project.serving) if NVIDIA.exists() else 0
    endpoint = MeasuredEndpoint(
        url.rstrip("/").removesuffix("/v1") + "/v1", model, key, workload.tokens_in, workload.tokens_out,
        project.serving.num_replicas.max, gpus, os.cpu_count() or 1,
    )  # fmt: skip
    source = f"measured {time.strftime('%Y-%m-%d')} on {describe_machine()}"
    costs = measure_costs(endpoint, project.model, source, seconds, lambda text: console.stage("measure", text))
    path = project.storage.root / MEASURED
    before = unit_costs.read_costs(path) if path.is_file() else UnitCosts()
    write_atomically(path, _dumped(costs.over(before)))
    console.stage("measure", f"kept in {path}")


def show(capacity: CapacityPlan, console: Console) -> None:
    """Print it. Raises TandemError where a part of which there can be one only cannot carry the load."""
    for table in make_tables(capacity):
        console.table(table)
    console.result("\n".join(make_lines(capacity)), to_json(capacity))
    for part in capacity.too_small:
        raise TandemError(
            f"One {part.name} ends {_number(part.station.capacity)} requests/s, and {_number(part.requests_per_s)} are "
            "wished.",
            "A load that it can carry, since there can be one only.",
            REMEDIES[part.name],
        )
    console.hint("set `serving.num_replicas`, `num_gateways` and `num_retrievers` as planned, and measure a step.")


REMEDIES = {
    "limiter": "Set `serving.redis_url`, so that Redis counts; or serve several endpoints, each with its callers.",
    "redis": "Serve several endpoints, each with its own Redis and callers.",
    "controller": "Serve several endpoints (RayServices), each with its share of the replicas.",
}


def make_tables(capacity: CapacityPlan) -> list[Table]:
    workload = capacity.wish
    title = f"{_number(workload.requests_per_s)} requests/s, {workload.tokens_in} tokens in, {workload.tokens_out} out"
    parts = Table("part", "number", "busy", "ends at most", "seconds", "arithmetic", title=title, box=SIMPLE)
    for part in sorted(capacity.parts, key=lambda part: -part.busy):
        parts.add_row(
            part.name, f"{part.station.servers:,}", f"{part.busy:.0%}", f"{_number(part.station.capacity)}/s",
            "" if part.name == "controller" else f"{part.seconds:.3g}", "\n".join(part.arithmetic),
        )  # fmt: skip
    nodes = Table("nodes", "number", "arithmetic", title="machines", box=SIMPLE)
    for node in capacity.nodes:
        nodes.add_row(node.kind, f"{node.number:,}", node.arithmetic)
    return [parts, nodes]


def make_lines(capacity: CapacityPlan) -> list[str]:
    """What the tables do not say."""
    engine = capacity.engine
    lines = [
        f"First to give out: {capacity.first.name}, at {_number(capacity.most_requests_per_s)} requests/s.",
        f"In the mean {capacity.first_token_s:.3g} s to the first token and {capacity.seconds:.3g} s for an answer"
        f"{', but for what is too small' if capacity.too_small else ''}: Poisson arrivals, exponential services, every "
        "part on cores or GPUs of its own (estimated, not measured).",
        f"Engine: {engine.model} on {f'{engine.gpus} GPUs' if engine.gpus else f'{engine.cores} CPU cores'}.",
    ]
    for source in dict.fromkeys(part.source for part in capacity.parts):
        names = ", ".join(part.name for part in capacity.parts if part.source == source)
        lines.append(f"From {source}: {names}.")
    if not engine.gpus:
        lines.append("No GPU is in these figures, and none says anything about one: measure there with --measure URL.")
    if capacity.wish.batch > engine.batch:
        lines.append(f"More than {engine.batch} requests in a batch were not measured, so that no more are counted on.")
    return lines


def to_json(capacity: CapacityPlan) -> dict[str, Any]:
    """The plan as one JSON value; seconds throughout, and null for what never ends."""
    workload = asdict(capacity.wish) | {"milvus": capacity.wish.milvus.model_dump(mode="json")}
    return {
        "wish": workload,
        "engine": asdict(capacity.engine),
        "parts": [
            {
                "name": part.name, "number": part.station.servers, "busy": part.busy, "is_single": part.is_single,
                "most_requests_per_s": part.station.capacity, "fits": part.fits,
                "seconds": part.seconds if math.isfinite(part.seconds) else None, "arithmetic": part.arithmetic,
                "source": part.source,
            }
            for part in capacity.parts
        ],
        "nodes": [asdict(node) for node in capacity.nodes],
        "adapter_hits": capacity.hits,
        "first_to_give_out": capacity.first.name,
        "most_requests_per_s": capacity.most_requests_per_s,
        "first_token_s": capacity.first_token_s if math.isfinite(capacity.first_token_s) else None,
        "seconds": capacity.seconds if math.isfinite(capacity.seconds) else None,
    }  # fmt: skip


def _measured_name(project: Project, known: UnitCosts) -> str:
    """The name under which the project's model was measured: its own, or that of the same files."""
    if project.model in known.engines or QUICKSTART not in known.engines:
        return project.model
    folder = Path(project.model)
    is_shipped = folder.is_dir() and digest_model(str(folder)) == known.engines[QUICKSTART].digest
    return QUICKSTART if is_shipped else project.model


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _dumped(costs: UnitCosts) -> str:
    return json.dumps(unit_costs.costs_to_json(costs), indent=2) + "\n"
