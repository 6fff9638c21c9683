"""`tandem serve`: the endpoint, checked before it starts (`--check`), started, or written for a cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
import yaml

from cluster.fingerprints.models import digest_model
from cluster.registry.registry import Registry
from cluster.storage.files import write_atomically
from retrieval.search.search import Searcher
from serving.access.keys import Keys
from serving.api.errors import ApiError
from serving.deploy.run import base_models
from serving.deploy.run import validate_serving as check_serving
from serving.engine.lora_support import supports_adapters
from serving.engine.model_files import read_model_files
from serving.gateway.served_models import ServedBase, find_adapter
from serving.gateway.served_models import check_adapter as check_served_adapter
from tandem.commands.options import DEFAULT, ProjectFile
from tandem.console import Console
from tandem.deployment import serve_config
from tandem.pipeline.documents import milvus
from tandem.pipeline.endpoint import known_hardware, serve_forever
from tandem.project.project import Project, load
from training.publish.publish import template_hash


def serve(
    config: ProjectFile = DEFAULT,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything but the weights, and exit without serving.")
    ] = False,
    write_config: Annotated[
        Path | None, typer.Option(help="Write a file for `serve deploy` and RayService, and exit without serving.")
    ] = None,
) -> None:
    """Serve base, adapters and retrieval at one OpenAI-compatible endpoint.

    Serves until Ctrl-C.
    """
    project, console = load(config), Console()
    if check:
        check_endpoint(project, console)
        console.result("The endpoint can be started.", None)
    if write_config:
        write_serve_config(project, config, write_config)
        console.result(str(write_config), None)
    if not check and not write_config:
        serve_forever(project, console)


def check_endpoint(project: Project, console: Console) -> None:
    """Check everything that can be known without loading the weights; each finding is a line.

    Raises:
        TandemError: the endpoint would not start.
    """
    keys = Keys(project.storage.keys_place).all()
    hardware = known_hardware(project.cluster)
    check_serving(project.serving, project.model, bool(keys), hardware, project.retrieves)
    for name in project.serving.preload:
        Registry.of(project.storage).resolve(name)
    console.stage("check", f"port {project.serving.port} is free, and the settings go together")
    console.stage("check", f"{len(keys)} API keys" if keys else "no API key: this machine alone may ask")
    for name, source in base_models(project.serving, project.model).items():
        console.stage("check", f"{name} is {source}")
        for line in _describe_adapters(project, name, source):
            console.stage("check", line)
    for line in _describe_collections(project):
        console.stage("check", line)


def write_serve_config(project: Project, project_file: Path, to: Path) -> None:
    """Write a file for `serve deploy` and RayService.

    Raises:
        TandemError: the document store runs on one machine only.
    """
    config = serve_config(project, str(project_file.resolve()))
    write_atomically(to, yaml.safe_dump(config, sort_keys=False))


def _describe_adapters(project: Project, base: str, source: str) -> Iterator[str]:
    """Which live versions fit a base, and why the others do not."""
    registry = Registry.of(project.storage)
    if not registry.names():
        return
    from transformers import AutoTokenizer

    hashed = template_hash(AutoTokenizer.from_pretrained(source))
    original = project.serving.copy_of.get(base)
    served = ServedBase(
        base, digest_model(source), hashed, project.serving.max_lora_rank, digest_model(original) if original else None,
        project.serving.adapters and supports_adapters(read_model_files(source).architectures),
    )  # fmt: skip
    for name in registry.names():
        try:
            version = find_adapter(registry, name, None)
            check_served_adapter(registry, version, served)
        except ApiError as error:
            yield f"{base}:{name} is refused: {error.message}"
        else:
            yield f"{base}:{name} is {name}@{version.version}"


def _describe_collections(project: Project) -> Iterator[str]:
    if not project.retrieval.sources:
        yield "no documents are served"
        return
    with milvus(project) as uri:
        searcher = Searcher(project.retrieval, uri)
        try:
            collections = searcher.collections()
            if project.collection in collections:
                searcher.search(project.collection, "the first question")
        finally:
            searcher.close()
    yield f"collections: {', '.join(collections) or 'none yet, see `tandem index`'}"
