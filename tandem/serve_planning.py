"""What `tandem plan --serve` prints: parts with their arithmetic, nodes, and what gives out first."""

import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from serving.capacity import unit_costs
from serving.capacity.plan import CapacityPlan, plan
from serving.capacity.unit_costs import UnitCosts
from serving.capacity.workload import Wish
from tandem.console import Console
from tandem.project.project import Project

if TYPE_CHECKING:
    from rich.table import Table

MEASURED = "capacity.json"
QUICKSTART = "quickstart"
"""The shipped engine is that of the model in examples/quickstart."""
NVIDIA = Path("/dev/nvidia0")


def check_length(project: Project, wish: Wish) -> None:
    """Raises TandemError for requests that the endpoint would refuse."""
    longest = project.serving.max_model_len
    if wish.tokens_in + wish.tokens_out > longest:
        raise TandemError(
            f"{wish.tokens_in} tokens in and {wish.tokens_out} out are {wish.tokens_in + wish.tokens_out}.",
            f"The project serves up to {longest} together (`serving.max_model_len`).",
            "Plan with fewer (--tokens-in, --tokens-out), or set serving.max_model_len.",
        )


def planned(project: Project, wish: Wish, costs: Path | None) -> CapacityPlan:
    """From the costs of a file, else those measured for this project, over those that come with Tandem.

    Raises:
        TandemError: the project's model was not measured.
    """
    measured = costs or project.storage.root / MEASURED
    known = unit_costs.shipped()
    if costs or measured.is_file():
        known = unit_costs.read(measured).over(known)
    return plan(wish, known, _measured_name(project, known))


def measure(
    project: Project, url: str, model: str, key: str | None, wish: Wish, seconds: float, console: Console
) -> None:
    """Load the endpoint, and keep what it took under the project's storage."""
    from cluster.fingerprints.provenance import machine
    from serving.capacity.measure import Endpoint
    from serving.capacity.measure import measure as run
    from serving.engine.engine_args import num_devices

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TandemError(
            f"{url!r} is no address of an endpoint.", "Such as http://127.0.0.1:8000.", "Correct --measure."
        )
    gpus = num_devices(project.serving) if NVIDIA.exists() else 0
    endpoint = Endpoint(
        url.rstrip("/").removesuffix("/v1") + "/v1", model, key, wish.tokens_in, wish.tokens_out,
        project.serving.num_replicas.max, gpus, os.cpu_count() or 1,
    )  # fmt: skip
    source = f"measured {time.strftime('%Y-%m-%d')} on {machine()}"
    found = run(endpoint, project.model, source, seconds, lambda text: console.stage("measure", text))
    path = project.storage.root / MEASURED
    before = unit_costs.read(path) if path.is_file() else UnitCosts()
    write_atomically(path, _dumped(found.over(before)))
    console.stage("measure", f"kept in {path}")


def show(found: CapacityPlan, console: Console) -> None:
    """Print it. Raises TandemError where a part of which there can be one only cannot carry the load."""
    for table in tables(found):
        console.table(table)
    console.result("\n".join(lines(found)), to_json(found))
    for part in found.too_small:
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


def tables(found: CapacityPlan) -> "list[Table]":
    from rich.box import SIMPLE
    from rich.table import Table

    wish = found.wish
    title = f"{_number(wish.requests_per_s)} requests/s, {wish.tokens_in} tokens in, {wish.tokens_out} out"
    parts = Table("part", "number", "busy", "ends at most", "seconds", "arithmetic", title=title, box=SIMPLE)
    for part in sorted(found.parts, key=lambda part: -part.busy):
        parts.add_row(
            part.name, f"{part.station.servers:,}", f"{part.busy:.0%}", f"{_number(part.station.capacity)}/s",
            "" if part.name == "controller" else f"{part.seconds:.3g}", "\n".join(part.arithmetic),
        )  # fmt: skip
    nodes = Table("nodes", "number", "arithmetic", title="machines", box=SIMPLE)
    for node in found.nodes:
        nodes.add_row(node.kind, f"{node.number:,}", node.arithmetic)
    return [parts, nodes]


def lines(found: CapacityPlan) -> list[str]:
    """What the tables do not say."""
    engine = found.engine
    said = [
        f"First to give out: {found.first.name}, at {_number(found.most_requests_per_s)} requests/s.",
        f"In the mean {found.first_token_s:.3g} s to the first token and {found.seconds:.3g} s for an answer"
        f"{', but for what is too small' if found.too_small else ''}: Poisson arrivals, exponential services, every "
        "part on cores or GPUs of its own (estimated, not measured).",
        f"Engine: {engine.model} on {f'{engine.gpus} GPUs' if engine.gpus else f'{engine.cores} CPU cores'}.",
    ]
    for source in dict.fromkeys(part.source for part in found.parts):
        names = ", ".join(part.name for part in found.parts if part.source == source)
        said.append(f"From {source}: {names}.")
    if not engine.gpus:
        said.append("No GPU is in these figures, and none says anything about one: measure there with --measure URL.")
    if found.wish.batch > engine.batch:
        said.append(f"More than {engine.batch} requests in a batch were not measured, so that no more are counted on.")
    return said


def to_json(found: CapacityPlan) -> dict[str, Any]:
    """The plan as one JSON value; seconds throughout, and null for what never ends."""
    wish = asdict(found.wish) | {"milvus": found.wish.milvus.model_dump(mode="json")}
    return {
        "wish": wish,
        "engine": asdict(found.engine),
        "parts": [
            {
                "name": part.name, "number": part.station.servers, "busy": part.busy, "is_single": part.is_single,
                "most_requests_per_s": part.station.capacity, "fits": part.fits,
                "seconds": part.seconds if math.isfinite(part.seconds) else None, "arithmetic": part.arithmetic,
                "source": part.source,
            }
            for part in found.parts
        ],
        "nodes": [asdict(node) for node in found.nodes],
        "adapter_hits": found.hits,
        "first_to_give_out": found.first.name,
        "most_requests_per_s": found.most_requests_per_s,
        "first_token_s": found.first_token_s if math.isfinite(found.first_token_s) else None,
        "seconds": found.seconds if math.isfinite(found.seconds) else None,
    }  # fmt: skip


def _measured_name(project: Project, known: UnitCosts) -> str:
    """The name under which the project's model was measured: its own, or that of the same files."""
    if project.model in known.engines or QUICKSTART not in known.engines:
        return project.model
    folder = Path(project.model)
    is_shipped = folder.is_dir() and _digest(folder) == known.engines[QUICKSTART].digest
    return QUICKSTART if is_shipped else project.model


def _digest(folder: Path) -> str:
    from cluster.fingerprints.models import digest_model

    return digest_model(str(folder))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _dumped(costs: UnitCosts) -> str:
    return json.dumps(unit_costs.to_json(costs), indent=2) + "\n"
