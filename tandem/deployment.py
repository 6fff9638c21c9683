"""The endpoint for `serve deploy` and RayService: the config that names `build`, and `build` itself."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.hardware import Hardware, read_hardware
from serving.access.keys import Keys
from serving.deploy.run import is_loopback, make_application, seconds_to_start
from serving.engine.packing import GpuDemand, gpu_demand
from tandem.project.project import Project, load

if TYPE_CHECKING:
    from ray.serve import Application

DEPLOYED = "tandem.deployment:build"
POLL_S = 1.0


def serve_config(project: Project, project_path: str) -> dict[str, Any]:
    """Ray Serve's config of the endpoint; every node has the project file at `project_path`.

    Raises:
        TandemError: the document store runs on one machine only.
    """
    if project.retrieval.sources and project.retrieval.uri == "local":
        raise TandemError(
            "The document store is `local`: it runs beside a command of this machine.",
            "The address of a Milvus server that the cluster reaches.",
            "Set `retrieval.uri`, or remove `retrieval.sources` to serve without documents.",
        )
    application = {"name": "tandem", "route_prefix": None, "import_path": DEPLOYED, "args": {"project": project_path}}
    return {"proxy_location": "Disabled", "applications": [application]}


def build(args: dict[str, str]) -> "Application":
    """The Serve application of a project.

    Where others than its own machine reach the endpoint, a request needs a key, also while there is none yet: the first
    one that is made opens it.

    Args:
        args: `project`, the project file's path; every node that serves reads it, its models and its storage there.

    Raises:
        TandemError: the project file or a model cannot be read, or no node joins that could serve it.
    """
    project = load(Path(args["project"]))
    demand = gpu_demand(project.serving, project.retrieves)
    _wait_for_nodes(demand, seconds_to_start(project.serving, project.model))
    needs_key = not is_loopback(project.serving.host) or Keys(project.storage.keys_place).all()
    keys = project.storage.keys if needs_key else None
    uri = project.retrieval.uri if project.retrieval.sources else None
    retrieval = project.retrieval if uri else None
    return make_application(project.serving, project.model, project.storage, retrieval, uri, keys)


def have_joined(num_cpus: float, hardware: Hardware, demand: GpuDemand) -> bool:
    """Whether the nodes that are there say what the application is built for.

    Args:
        demand: what engines and retrievers start on, where the cluster has GPUs.

    KubeRay asks for it as soon as the head answers, which has no CPUs there: the first node that has some says whether
    there are GPUs. An autoscaler brings GPU nodes as the engines ask for them.
    """
    if demand.num_gpus <= hardware.max_gpus:
        return True
    return num_cpus > 0 and (hardware.kind == "cpu" or demand.fits(replace(hardware, max_gpus=0)))


def _wait_for_nodes(demand: GpuDemand, limit_s: float) -> None:
    """Too few GPUs when the time is over are shared where that is possible, or refused by their number."""
    import ray

    deadline = time.monotonic() + limit_s
    while not have_joined(num_cpus := ray.cluster_resources().get("CPU", 0), hardware := read_hardware(), demand):
        if time.monotonic() > deadline and not (num_cpus and hardware.num_gpus):
            raise TandemError(
                f"No node that could serve has joined the cluster in {limit_s:g} s.",
                f"A node with CPUs; where there are GPUs, {demand.num_gpus} of them.",
                "Look at the worker pods (`kubectl get pods`), or raise `serving.start_timeout_s`.",
            )
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_S)
