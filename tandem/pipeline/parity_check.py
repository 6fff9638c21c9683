"""A version goes live when vLLM serves it as it was trained: the trainer's log-probabilities, replayed over HTTP."""

import socket
from dataclasses import asdict, dataclass

from cluster.errors import TandemError
from cluster.registry.registry import AdapterVersion, ParityCheck, Registry
from serving.client import connect
from serving.config import Replicas
from serving.deploy.run import running_endpoint
from serving.parity_replay import replay_parity
from tandem.console import Console
from tandem.project.project import Project
from training.config import TrainingConfig

RECORDED = "parity.jsonl"
DEFAULT_TOLERANCE: float = TrainingConfig.model_fields["parity_tolerance"].default


@dataclass(frozen=True)
class ServedModel:
    """Where a version is served: the URL (with /v1) and the model name to ask for."""

    url: str
    name: str


def ensure_parity(
    project: Project,
    version: AdapterVersion,
    console: Console,
    model: ServedModel | None = None,
    promotes: bool = True,
) -> None:
    """Let a version go live that has not been checked yet; does nothing where the project wants no check.

    Args:
        model: where it is served already; without it, it is served for the check, inside the open Ray session.
        promotes: make it live where it passes.

    Raises:
        TandemError: it is not served as it was trained. It stays published, and what was live stays live.
    """
    tolerance = project.training.parity_tolerance
    if tolerance is None:
        return
    known = Registry.of(project.storage).check_of(version.name, version.version)
    if known is None or known.tolerance != tolerance:
        if model:
            check_parity(project, version, console, model, promotes)
        else:
            serve_and_check(project, version, console)
    elif not known.passed:
        raise _differs(version, known)


def serve_and_check(project: Project, version: AdapterVersion, console: Console) -> None:
    """Serve a version on a free port for as long as the check takes; inside a Ray session.

    Raises:
        TandemError: as `check_parity`, or the endpoint did not start.
    """
    is_whole = version.manifest.kind == "merged"
    source = str(version.path) if is_whole else project.model
    alone = {"host": "127.0.0.1", "port": _free_port(), "models": {"base": source},
             "num_replicas": Replicas(min=1, max=1), "preload": [], "adapter_registry": None}  # fmt: skip
    config = project.serving.model_copy(update=alone)
    with running_endpoint(config, project.model, project.storage, None, None, console.progress) as url:
        name = "base" if is_whole else f"base:{_pinned(version)}"
        check_parity(project, version, console, ServedModel(url, name))


def check_parity(
    project: Project, version: AdapterVersion, console: Console, model: ServedModel, promotes: bool = True
) -> None:
    """Compare what an endpoint serves with the trainer's model, and keep the result.

    Args:
        promotes: make the version live where it passes.

    Raises:
        TandemError: they differ by more than `training.parity_tolerance`.
    """
    tolerance = project.training.parity_tolerance or DEFAULT_TOLERANCE
    with connect(model.url) as client:
        parity = replay_parity(client, model.name, version.path / RECORDED, project.serving.max_model_len)
    registry = Registry.of(project.storage)
    check = registry.record_check(version.name, version.version, tolerance=tolerance, **asdict(parity))
    if not check.passed:
        raise _differs(version, check)
    if promotes:
        registry.promote(version.name, version.version)
    console.stage(
        "parity",
        f"vLLM serves {_pinned(version)} as it was trained: {check.mean_difference:.4f} nats per token apart "
        f"({check.num_rows} rows, at most {tolerance:g}){'; it is live' if promotes else ''}",
    )


def _differs(version: AdapterVersion, check: ParityCheck) -> TandemError:
    return TandemError(
        f"{_pinned(version)} is published and not live: vLLM serves it with log-probabilities that are "
        f"{check.mean_difference:.3f} nats per token from those of training on average ({check.max_difference:.3f} at "
        f"most), over {check.num_tokens} tokens of {check.num_rows} rows.",
        f"{check.tolerance:g} on average (`training.parity_tolerance`).",
        f"Look for what is served otherwise than it was trained (`serving.dtype`, `serving.engine_kwargs`), then run "
        f"`tandem adapters check {_pinned(version)}`; or raise the tolerance.",
    )


def _pinned(version: AdapterVersion) -> str:
    return f"{version.name}@{version.version}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
