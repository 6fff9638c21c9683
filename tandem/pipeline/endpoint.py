"""A project's endpoint: served for the steps of a command, or until the process is interrupted."""

import contextlib
import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import interrupts
from cluster.config import ClusterConfig
from cluster.hardware import Hardware, read_node
from cluster.registry.registry import AdapterVersion
from cluster.session import is_in_job, metrics_urls, ray_session
from serving.access.keys import Keys
from serving.config import ServingConfig
from serving.deploy.run import base_models, running_endpoint
from serving.deploy.run import validate_serving as check_serving
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import Project


@dataclass(frozen=True)
class Served:
    """A running endpoint: its URL, and what can be asked of it; `models` has the names of the adapters' models."""

    url: str
    models: dict[str, str]
    collection: str | None


@contextlib.contextmanager
def serve(
    project: Project,
    uri: str | None,
    adapters: Mapping[str, AdapterVersion],
    console: Console,
    keys: Path | None = None,
) -> Iterator[Served]:
    """The endpoint, ready to be asked; inside a Ray session.

    Args:
        adapters: versions to be served whether or not they are live, by any name.
        keys: the folder of API keys that it asks for.
    """
    retrieval = project.retrieval if uri and project.retrieves else None
    config, names = _with_adapters(project, adapters)
    if keys is None:
        config = on_loopback(config)
    admitted = frozenset(version.engine_id for version in adapters.values())
    with running_endpoint(
        config, project.model, project.storage, retrieval, uri, console.progress, keys, admitted
    ) as url:
        console.stage("serve", f"ready at {url}")
        yield Served(url, names, project.collection if retrieval else None)


def known_hardware(config: ClusterConfig) -> Hardware | None:
    """What will run the project where no Ray session is open yet: this machine, or None for a cluster.

    Raises:
        TandemError: `nvidia-smi` fails.
    """
    return Hardware((read_node(),)) if config.address == "local" and not is_in_job() else None


def on_loopback(config: ServingConfig) -> ServingConfig:
    """The settings of an endpoint without keys: only this machine reaches it."""
    return config.model_copy(update={"host": "127.0.0.1"})


def serve_forever(project: Project, console: Console) -> None:
    """Serve until the process is interrupted."""
    keys = project.storage.keys if Keys(project.storage.keys_place).all() else None
    hardware = known_hardware(project.cluster)
    check_serving(project.serving, project.model, keys is not None, hardware, project.retrieves)
    with milvus(project) as uri, ray_session(project.cluster), serve(project, uri, {}, console, keys) as endpoint:
        if keys is None:
            console.stage("serve", "NO API KEYS: whoever reaches this address may ask; see `tandem keys create`")
        console.stage("serve", f"metrics at {', '.join(metrics_urls())}")
        console.hint(_first_request(endpoint, has_keys=keys is not None))
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        interrupts.accept()
    console.stage("serve", "stopped")


def _with_adapters(project: Project, adapters: Mapping[str, AdapterVersion]) -> tuple[ServingConfig, dict[str, str]]:
    """What is served, and the models' names there: an adapter to `base`, or a whole model beside it."""
    if not adapters:
        return project.serving, {}
    names = {given: _model_name(version) for given, version in adapters.items()}
    whole = {
        names[given]: str(version.path) for given, version in adapters.items() if version.manifest.kind == "merged"
    }
    # They may not be live yet, and what is published elsewhere is not measured.
    changed: dict[str, Any] = {"preload": [], "adapter_registry": None}
    if whole:
        changed["models"] = {**base_models(project.serving, project.model), **whole}
    return project.serving.model_copy(update=changed), names


def _model_name(version: AdapterVersion) -> str:
    assert version.path, "its files are here, wherever the storage is"
    separator = "base:{}@{}" if version.manifest.kind == "adapter" else "{}-{}"
    return separator.format(version.name, version.version)


def _first_request(endpoint: Served, has_keys: bool) -> str:
    """A shell command that asks the endpoint a question."""
    model = f"base+{endpoint.collection}" if endpoint.collection else "base"
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What do you know?"}]})
    key = "-H 'Authorization: Bearer YOUR_KEY' " if has_keys else ""
    return f"curl {endpoint.url}/chat/completions {key}-H 'Content-Type: application/json' -d '{body}'"
