"""A version goes live when vLLM serves it as it was trained: the trainer's log-probabilities, replayed over HTTP."""

import socket
from dataclasses import asdict, dataclass

from cluster.errors import TandemError
from cluster.registry.registry import AdapterVersion, ParityCheck, Registry
from tandem.console import Console
from tandem.project import Project
from training.config import TrainingConfig

RECORDED = "parity.jsonl"
DEFAULT_TOLERANCE: float = TrainingConfig.model_fields["parity_tolerance"].default


@dataclass(frozen=True)
class Endpoint:
    """Where a version is served: the URL (with /v1) and the model name to ask for."""

    url: str
    model: str


def ensure(
    project: Project,
    version: AdapterVersion,
    console: Console,
    endpoint: Endpoint | None = None,
    promotes: bool = True,
) -> None:
    """Let a version go live that has not been checked yet; does nothing where the project wants no check.

    Args:
        endpoint: where it is served already; without one it is served for the check, inside the open Ray session.
        promotes: make it live where it passes.

    Raises:
        TandemError: it is not served as it was trained. It stays published, and what was live stays live.
    """
    tolerance = project.training.parity_tolerance
    if tolerance is None:
        return
    known = Registry.of(project.storage).check_of(version.name, version.version)
    if known is None or known.tolerance != tolerance:
        if endpoint:
            check(project, version, console, endpoint, promotes)
        else:
            serve_and_check(project, version, console)
    elif not known.passed:
        raise _differs(version, known)


def serve_and_check(project: Project, version: AdapterVersion, console: Console) -> None:
    """Serve a version on a free port for as long as the check takes; inside a Ray session.

    Raises:
        TandemError: as `check`, or the endpoint did not start.
    """
    from serving.config import Replicas
    from serving.deploy.run import served

    source = str(version.path) if version.manifest.kind == "merged" else project.model
    one = Replicas(min=1, max=1)
    alone = {"host": "127.0.0.1", "port": _free_port(), "models": {"base": source}, "num_replicas": one,
             "preload": [], "adapter_registry": None}  # fmt: skip
    config = project.serving.model_copy(update=alone)
    with served(config, project.model, project.storage, None, None, console.progress) as url:
        model = "base" if version.manifest.kind == "merged" else f"base:{_pinned(version)}"
        check(project, version, console, Endpoint(url, model))


def check(
    project: Project, version: AdapterVersion, console: Console, endpoint: Endpoint, promotes: bool = True
) -> None:
    """Compare what an endpoint serves with the trainer's model, keep the result, and make the version live if it is to
    be.

    Raises:
        TandemError: they differ by more than `training.parity_tolerance`.
    """
    from serving.client import connect
    from serving.parity_replay import replay

    tolerance = project.training.parity_tolerance or DEFAULT_TOLERANCE
    with connect(endpoint.url) as client:
        found = replay(client, endpoint.model, version.path / RECORDED, project.serving.max_model_len)
    registry = Registry.of(project.storage)
    done = registry.record_check(version.name, version.version, tolerance=tolerance, **asdict(found))
    if not done.passed:
        raise _differs(version, done)
    if promotes:
        registry.promote(version.name, version.version)
    console.stage(
        "parity",
        f"vLLM serves {_pinned(version)} as it was trained: {done.mean_difference:.4f} nats per token apart "
        f"({done.num_rows} rows, at most {tolerance:g}){'; it is live' if promotes else ''}",
    )


def _differs(version: AdapterVersion, done: ParityCheck) -> TandemError:
    return TandemError(
        f"{_pinned(version)} is published and not live: vLLM serves it with log-probabilities that are "
        f"{done.mean_difference:.3f} nats per token from those of training on average ({done.max_difference:.3f} at "
        f"most), over {done.num_tokens} tokens of {done.num_rows} rows.",
        f"{done.tolerance:g} on average (`training.parity_tolerance`).",
        f"Look for what is served otherwise than it was trained (`serving.dtype`, `serving.engine_kwargs`), then run "
        f"`tandem adapters check {_pinned(version)}`; or raise the tolerance.",
    )


def _pinned(version: AdapterVersion) -> str:
    return f"{version.name}@{version.version}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
