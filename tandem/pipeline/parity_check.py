"""A version goes live when vLLM serves it as it was trained: the trainer's log-probabilities, replayed over HTTP.

Two correct engines differ as well, and by how much depends on the machine: the base, served and trained, says it.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

from cluster.errors import TandemError
from cluster.registry.registry import AdapterVersion, ParityCheck, Registry
from serving.client import connect
from serving.config import Replicas
from serving.deploy.run import running_endpoint
from serving.parity_replay import BASE_LOGPROBS, ParityResult, has_base_logprobs, replay_parity
from tandem.console import Console
from tandem.project.project import Project

RECORDED = "parity.jsonl"
Tolerance = float | Literal["auto"]

# docs/decisions/010-parity.md
LEAST_TOLERANCE = 0.05
"""Nats per token that `auto` allows on every machine."""

MOST_TOLERANCE = 0.25
"""Nats per token that `auto` never exceeds: another base, or an adapter that is not applied, is further away."""

NOISE_FACTOR = 2.0
"""How much further apart than the base a tuned model may be."""


@dataclass(frozen=True)
class ServedModel:
    """Where a version is served: the URL (with /v1), the model name to ask for, and the base's name there."""

    url: str
    name: str
    base: str | None = None
    """None where the endpoint does not serve the base."""


def parity_limit(tolerance: Tolerance, base_difference: float | None) -> float:
    """The largest mean difference with which a version goes live, in nats per token.

    Args:
        tolerance: `training.parity_tolerance`; a number is the limit itself.
        base_difference: how far the served base is from the trained one; None where it is not known.
    """
    if tolerance != "auto":
        return tolerance
    return min(MOST_TOLERANCE, max(LEAST_TOLERANCE, NOISE_FACTOR * (base_difference or 0.0)))


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
    if known is None or not _decides(known, tolerance):
        if model:
            check_parity(project, version, console, model, promotes)
        else:
            serve_and_check(project, version, console)
    elif not known.passed:
        raise _differs(version, known)


def serve_and_check(project: Project, version: AdapterVersion, console: Console) -> None:
    """Serve a version on a free port for as long as the check takes; inside a Ray session.

    The base of a version that is a whole model is served after it, where it decides whether the version goes live.

    Raises:
        TandemError: as `check_parity`, or the endpoint did not start.
    """
    if version.manifest.kind == "adapter":
        with _serving(project, project.model, console) as url:
            check_parity(project, version, console, ServedModel(url, f"base:{_pinned(version)}", "base"))
        return
    with _serving(project, str(version.path), console) as url:
        found = _replay(project, version, ServedModel(url, "base"))
    base = None
    if _tolerance(project) == "auto" and LEAST_TOLERANCE < found.mean_difference <= MOST_TOLERANCE:
        with _serving(project, project.model, console) as url:
            base = _replay_base(project, version, ServedModel(url, "base", "base"))
    _decide(project, version, console, found, base, promotes=True)


def check_parity(
    project: Project, version: AdapterVersion, console: Console, model: ServedModel, promotes: bool = True
) -> None:
    """Compare what an endpoint serves with the trainer's model, and keep the result.

    Args:
        promotes: make the version live where it passes.

    Raises:
        TandemError: they differ by more than `training.parity_tolerance`.
    """
    found, base = _replay(project, version, model), _replay_base(project, version, model)
    _decide(project, version, console, found, base, promotes)


@contextmanager
def _serving(project: Project, source: str, console: Console) -> Iterator[str]:
    """The URL of an endpoint on a free port that serves one model."""
    alone = {"host": "127.0.0.1", "port": _free_port(), "models": {"base": source},
             "num_replicas": Replicas(min=1, max=1), "preload": [], "adapter_registry": None}  # fmt: skip
    config = project.serving.model_copy(update=alone)
    with running_endpoint(config, project.model, project.storage, None, None, console.progress) as url:
        yield url


def _replay(project: Project, version: AdapterVersion, model: ServedModel) -> ParityResult:
    with connect(model.url) as client:
        return replay_parity(client, model.name, version.path / RECORDED, project.serving.max_model_len)


def _replay_base(project: Project, version: AdapterVersion, model: ServedModel) -> float | None:
    """How far the served base is from the trained one; None where one of them is not known."""
    recorded = version.path / RECORDED
    if model.base is None or not has_base_logprobs(recorded):
        return None
    with connect(model.url) as client:
        longest = project.serving.max_model_len
        return replay_parity(client, model.base, recorded, longest, BASE_LOGPROBS).mean_difference


def _decide(
    project: Project,
    version: AdapterVersion,
    console: Console,
    found: ParityResult,
    base_difference: float | None,
    promotes: bool,
) -> None:
    """Keep the result, and make the version live where it passes. Raises TandemError where it does not."""
    registry, limit = Registry.of(project.storage), parity_limit(_tolerance(project), base_difference)
    check = registry.record_check(
        version.name, version.version, tolerance=limit, base_difference=base_difference, **asdict(found)
    )
    if not check.passed:
        raise _differs(version, check)
    if promotes:
        registry.promote(version.name, version.version)
    console.stage(
        "parity",
        f"vLLM serves {_pinned(version)} as it was trained: {check.mean_difference:.4f} nats per token apart "
        f"({check.num_rows} rows, at most {limit:g}{_describe_base(check)}){'; it is live' if promotes else ''}",
    )


def _tolerance(project: Project) -> Tolerance:
    """The project's tolerance; `auto` where somebody asks for a check that the project does not want."""
    return project.training.parity_tolerance or "auto"


def _decides(known: ParityCheck, tolerance: Tolerance) -> bool:
    """Whether a check that was made before decides under today's tolerance."""
    if known.tolerance != parity_limit(tolerance, known.base_difference):
        return False
    return known.passed or tolerance != "auto" or known.base_difference is not None


def _describe_base(check: ParityCheck) -> str:
    return "" if check.base_difference is None else f"; the base is {check.base_difference:.4f} apart"


def _differs(version: AdapterVersion, check: ParityCheck) -> TandemError:
    return TandemError(
        f"{_pinned(version)} is published and not live: vLLM serves it with log-probabilities that are "
        f"{check.mean_difference:.3f} nats per token from those of training on average ({check.max_difference:.3f} at "
        f"most), over {check.num_tokens} tokens of {check.num_rows} rows{_describe_base(check)}.",
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
