"""`tandem serve --check` and `--write-config`: the endpoint before it is started, and written for a cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import Registry
from cluster.storage.files import write_atomically
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import Project

DEPLOYED = "tandem.deployment:build"


def check(project: Project, console: Console) -> None:
    """Everything that can be known without loading the weights; each finding is a line.

    Raises:
        TandemError: the endpoint would not start.
    """
    from serving.access.keys import Keys
    from serving.deploy.run import check as check_serving
    from serving.deploy.run import models

    keys = Keys(project.storage.keys_place).all()
    check_serving(project.serving, project.model, has_keys=bool(keys))
    for name in project.serving.preload:
        Registry.of(project.storage).resolve(name)
    console.stage("check", f"port {project.serving.port} is free, and the settings go together")
    console.stage("check", f"{len(keys)} API keys" if keys else "no API key: this machine alone may ask")
    for name, source in models(project.serving, project.model).items():
        console.stage("check", f"{name} is {source}")
        for line in _adapters(project, name, source):
            console.stage("check", line)
    for line in _collections(project):
        console.stage("check", line)


def write_config(project: Project, project_file: Path, to: Path) -> None:
    """A file for `serve deploy` and RayService.

    Raises:
        TandemError: the document store runs on one machine only.
    """
    write_atomically(to, yaml.safe_dump(config_of(project, str(project_file.resolve())), sort_keys=False))


def config_of(project: Project, project_path: str) -> dict[str, Any]:
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


def _adapters(project: Project, base: str, source: str) -> Iterator[str]:
    """Which live versions fit a base, and why the others do not."""
    from transformers import AutoTokenizer

    from serving.api.errors import ApiError
    from serving.gateway.served_models import ServedBase, check_adapter, find_adapter
    from training.publish.publish import template_hash

    registry = Registry.of(project.storage)
    if not registry.names():
        return
    hashed = template_hash(AutoTokenizer.from_pretrained(source))
    served = ServedBase(base, digest_model(source), hashed, project.serving.max_lora_rank)
    for name in registry.names():
        try:
            found = find_adapter(registry, name, None)
            check_adapter(found, served)
        except ApiError as error:
            yield f"{base}:{name} is refused: {error.message}"
        else:
            yield f"{base}:{name} is {name}@{found.version}"


def _collections(project: Project) -> Iterator[str]:
    if not project.retrieval.sources:
        yield "no documents are served"
        return
    from retrieval.search.search import Searcher

    with milvus(project) as uri:
        searcher = Searcher(project.retrieval, uri)
        try:
            found = searcher.collections()
            if project.collection in found:
                searcher.search(project.collection, "the first question")
        finally:
            searcher.close()
    yield f"collections: {', '.join(found) or 'none yet, see `tandem index`'}"
