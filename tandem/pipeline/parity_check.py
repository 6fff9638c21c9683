"""A version goes live when vLLM serves it as it was trained: the trainer's log-probabilities, replayed over HTTP.

Two correct engines differ as well, and by how much depends on the machine: the base, served and trained, says it.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.hardware import read_hardware
from cluster.registry.registry import AdapterVersion, CopyCheck, ParityCheck, Registry
from serving.client import connect
from serving.deploy.run import running_endpoint
from serving.engine.limits import longest_request
from serving.parity_replay import BASE_LOGPROBS, ParityResult, has_base_logprobs, replay_parity
from tandem.console import Console
from tandem.pipeline.served_copies import CheckedModel, due_checks, models_to_check
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
    """None where the endpoint does not serve the very model that the version was trained on: how far a copy of it in
    other numbers is apart is no noise of the machine, and must not raise the limit."""

    copy_digest: str | None = None
    """The digest of the base model there, where it is a copy in other numbers of the one that was trained on."""

    copy_source: str | None = None
    """Where that copy is."""


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
    """Let a version go live that has not been checked yet; does nothing where no check is due (`due_checks`).

    Args:
        model: where it is served already; without it, it is served for the check, inside the open Ray session.
        promotes: make it live where it passes.

    Raises:
        TandemError: it is not served as it was trained. It stays published, and what was live stays live.
    """
    registry = Registry.of(project.storage)
    missing = []
    for each in due_checks(project, models_to_check(project, version)):
        known = _known(registry, version, each)
        if known is None or not _decides(known, _tolerance(project, each.digest)):
            missing.append(each)
        elif not known.passed:
            raise _differs(registry, version, known)
    for number, each in enumerate(missing, 1):
        goes_live = promotes and number == len(missing)
        if model:
            check_parity(project, version, console, _at_endpoint(model, each), goes_live)
        else:
            _serve_and_check(project, version, console, each, goes_live)


def serve_and_check(project: Project, version: AdapterVersion, console: Console) -> None:
    """Serve a version on a free port for as long as the check takes, on its base and on each served copy of it in
    turn; inside a Ray session.

    The base of a version that is a whole model is served after it, where it decides whether the version goes live.

    Raises:
        TandemError: as `check_parity`, or the endpoint did not start.
    """
    checked = models_to_check(project, version)
    for number, each in enumerate(checked, 1):
        _serve_and_check(project, version, console, each, number == len(checked))


def _serve_and_check(
    project: Project, version: AdapterVersion, console: Console, checked: CheckedModel, promotes: bool
) -> None:
    if version.manifest.kind == "adapter":
        copy = checked.source if checked.digest else None
        with _serving(project, version, checked, console) as url:
            model = ServedModel(url, f"base:{_pinned(version)}", None if copy else "base", checked.digest, copy)
            check_parity(project, version, console, model, promotes)
        return
    with _serving(project, version, checked, console) as url:
        model = ServedModel(url, "base")
        found = _replay(project, version, model)
    base = None
    decides = _tolerance(project) == "auto" and LEAST_TOLERANCE < found.mean_difference <= MOST_TOLERANCE
    if decides and digest_model(project.model) == version.manifest.base_digest:
        with _serving(project, version, CheckedModel("base", project.model), console) as url:
            base = _replay_base(project, version, ServedModel(url, "base", "base"))
    _decide(project, version, console, model, found, base, promotes)


def check_parity(
    project: Project, version: AdapterVersion, console: Console, model: ServedModel, promotes: bool = True
) -> None:
    """Compare what an endpoint serves with the trainer's model, and keep the result.

    Args:
        promotes: make the version live where it passes.

    Raises:
        TandemError: they differ by more than `training.parity_tolerance`, on a copy by more than
            `serving.copy_tolerance`.
    """
    found, base = _replay(project, version, model), _replay_base(project, version, model)
    _decide(project, version, console, model, found, base, promotes)


@contextmanager
def _serving(project: Project, version: AdapterVersion, checked: CheckedModel, console: Console) -> Iterator[str]:
    """The URL of an endpoint on a free port that serves one model."""
    copy_of = {"base": checked.original} if checked.original else {}
    here = {"host": "127.0.0.1", "port": _free_port(), "copy_of": copy_of}
    config = project.serving.for_one_model(checked.source).model_copy(update=here)
    admitted = frozenset({version.engine_id})
    with running_endpoint(
        config, project.model, project.storage, None, None, console.progress, being_checked=admitted
    ) as url:
        yield url


def _replay(project: Project, version: AdapterVersion, model: ServedModel) -> ParityResult:
    with connect(model.url) as client:
        return replay_parity(client, model.name, version.path / RECORDED, _longest(project))


def _replay_base(project: Project, version: AdapterVersion, model: ServedModel) -> float | None:
    """How far the served base is from the trained one; None where one of them is not known."""
    recorded = version.path / RECORDED
    if model.base is None or not has_base_logprobs(recorded):
        return None
    with connect(model.url) as client:
        return replay_parity(client, model.base, recorded, _longest(project), BASE_LOGPROBS).mean_difference


def _longest(project: Project) -> int | None:
    """Most tokens of a request; None where only the engine knows."""
    return longest_request(project.serving, read_hardware(), None)


def _decide(
    project: Project,
    version: AdapterVersion,
    console: Console,
    model: ServedModel,
    found: ParityResult,
    base_difference: float | None,
    promotes: bool,
) -> None:
    """Keep the result, and make the version live where it passes. Raises TandemError where it does not."""
    registry, pinned = Registry.of(project.storage), (version.name, version.version)
    limit = parity_limit(_tolerance(project, model.copy_digest), base_difference)
    if model.copy_digest:
        check: ParityCheck = registry.record_copy_check(*pinned, model.copy_digest, tolerance=limit, **asdict(found))
    else:
        check = registry.record_check(*pinned, tolerance=limit, base_difference=base_difference, **asdict(found))
    if not check.passed:
        raise _differs(registry, version, check)
    if promotes:
        registry.promote(*pinned)
    console.stage(
        "parity",
        f"vLLM serves {_pinned(version)}{_on_copy(model)} as it was trained: {check.mean_difference:.4f} nats per "
        f"token apart ({check.num_rows} rows, at most {limit:g}{_describe_base(check)})"
        f"{'; it is live' if promotes else ''}",
    )


def _known(registry: Registry, version: AdapterVersion, checked: CheckedModel) -> ParityCheck | None:
    if checked.digest:
        return registry.copy_check_of(version, checked.digest)
    return registry.check_of(version.name, version.version)


def _tolerance(project: Project, copy_digest: str | None = None) -> Tolerance:
    """The project's tolerance; `auto` where somebody asks for a check that the project does not want.

    That of a copy is a number: a limit that grew with the copy's own noise would let any model pass as a copy.
    """
    return project.serving.copy_tolerance if copy_digest else project.training.parity_tolerance or "auto"


def _at_endpoint(model: ServedModel, checked: CheckedModel) -> ServedModel:
    """The same version where a running endpoint has this model; one that is no copy is asked as `model` says."""
    _, _, rest = model.name.partition(":")
    if checked.digest is None and checked.name == "base":
        return model
    assert rest, "copies are of an adapter's base"
    base, copy = (None, checked.source) if checked.digest else (checked.name, None)
    return ServedModel(model.url, f"{checked.name}:{rest}", base, checked.digest, copy)


def _on_copy(model: ServedModel) -> str:
    return f" on {model.copy_source}" if model.copy_source else ""


def _decides(known: ParityCheck, tolerance: Tolerance) -> bool:
    """Whether a check that was made before decides under today's tolerance."""
    if known.tolerance != parity_limit(tolerance, known.base_difference):
        return False
    return known.passed or tolerance != "auto" or known.base_difference is not None


def _describe_base(check: ParityCheck) -> str:
    return "" if check.base_difference is None else f"; the base is {check.base_difference:.4f} apart"


def _differs(registry: Registry, version: AdapterVersion, check: ParityCheck) -> TandemError:
    is_live = version.version in registry.shares(version.name)
    on_copy, setting = "", "training.parity_tolerance"
    if isinstance(check, CopyCheck):
        on_copy, setting = " on a copy of its base in other numbers", "serving.copy_tolerance"
    return TandemError(
        f"{_pinned(version)} is published and {'' if is_live else 'not '}live: vLLM serves it{on_copy} with "
        f"log-probabilities that are "
        f"{check.mean_difference:.3f} nats per token from those of training on average ({check.max_difference:.3f} at "
        f"most), over {check.num_tokens} tokens of {check.num_rows} rows{_describe_base(check)}.",
        f"{check.tolerance:g} on average (`{setting}`).",
        f"Look for what is served otherwise than it was trained (`serving.dtype`, `serving.engine_kwargs`), then run "
        f"`tandem adapters check {_pinned(version)}`; or raise the tolerance."
        f"{f' Until then, make another version live with `tandem adapters promote {version.name}@N`.' * is_live}",
    )


def _pinned(version: AdapterVersion) -> str:
    return f"{version.name}@{version.version}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
