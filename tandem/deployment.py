"""The endpoint for `serve deploy` and RayService: the config that names `build`, and `build` itself."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from serving.access.keys import Keys
from serving.config import ServingConfig
from serving.deploy.run import is_loopback, make_application
from serving.deploy.serve_options import retriever_gpus
from serving.engine.engine_args import num_devices
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
    _wait_for_nodes(project.serving, max(1, len(project.serving.models)), bool(project.retrieval.sources))
    needs_key = not is_loopback(project.serving.host) or Keys(project.storage.keys_place).all()
    keys = project.storage.keys if needs_key else None
    uri = project.retrieval.uri if project.retrieval.sources else None
    retrieval = project.retrieval if uri else None
    return make_application(project.serving, project.model, project.storage, retrieval, uri, keys)


def _wait_for_nodes(config: ServingConfig, num_bases: int, retrieves: bool) -> None:
    """The application is built for the hardware that is there. KubeRay asks for it as soon as the head answers, which
    has no CPUs there: the first node that has some says whether there are GPUs."""
    needed = num_bases * max(1, config.num_replicas.min) * num_devices(config)
    needed += retriever_gpus(config) if retrieves else 0
    deadline = time.monotonic() + config.start_timeout_s
    while not _have_joined(needed):
        if time.monotonic() > deadline:
            raise TandemError(
                f"No node that could serve has joined the cluster in {config.start_timeout_s:g} s, or too few GPUs.",
                f"A node with CPUs; where there are GPUs, {needed} of them.",
                "Look at the worker pods (`kubectl get pods`), or raise `serving.start_timeout_s`.",
            )
        time.sleep(POLL_S)


def _have_joined(num_gpus: int) -> bool:
    import ray

    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0), there.get("GPU", 0)
    return bool(cpus > 0 and (gpus == 0 or gpus >= num_gpus))
