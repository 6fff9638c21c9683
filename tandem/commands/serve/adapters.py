"""`tandem adapters`: what is published, which version is live, and copies of it in a bucket."""

from collections import Counter
from typing import Annotated, Any

import typer

from cluster.errors import TandemError
from cluster.registry.mirror import push_versions
from cluster.registry.registry import AdapterVersion, Registry, share_percent
from tandem.commands.options import DEFAULT, AsJson, Despite, ProjectFile
from tandem.console import Console
from tandem.pipeline.served_copies import require_checks_on_copies
from tandem.project.project import Project, load


def list_adapters(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """List every published version, and show which one is live."""
    text, value = list_versions(load(config))
    Console(as_json).result(text, value)


def promote_adapter(
    adapter: Annotated[str, typer.Argument(help="Name and version, such as support@7.")],
    despite: Despite = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Make a version the live one.

    A version that a gate holds (it failed, or has not enough questions to tell) is promoted only with a reason
    (--despite).
    """
    Console().result(promote(load(config), adapter, despite), None)


def split_adapter(
    adapter: Annotated[str, typer.Argument(help="Name, such as support.")],
    shares: Annotated[list[str], typer.Argument(help="Versions with their shares, such as 7=90 8=10.")],
    despite: Despite = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Split an adapter's callers between several versions.

    Each caller always gets the same version.
    """
    Console().result(split(load(config), adapter, shares, despite), None)


def push_adapter(
    adapter: Annotated[str, typer.Argument(help="Name, such as support.")],
    to: Annotated[
        str | None, typer.Option(help="A bucket, such as s3://bucket/adapters. Without: serving.adapter_registry.")
    ] = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Copy an adapter's versions to a bucket.

    Endpoints with that bucket as `serving.adapter_registry` take their versions, and which of them is live, from it.
    """
    Console().result(push(load(config), adapter, to), None)


def list_versions(project: Project) -> tuple[str, list[dict[str, Any]]]:
    """Every version in the project's storage, as a table and as values."""
    registry = Registry.of(project.storage)
    rows: list[dict[str, Any]] = []
    for name in registry.names():
        shares = registry.shares(name)
        for version in registry.versions(name):
            manifest, parity = version.manifest, registry.check_of(name, version.version)
            copies = registry.copy_checks_of(name, version.version)
            gates = registry.gates_of(name, version.version)
            rows.append(
                {"adapter": f"{name}@{version.version}", "live": version.version in shares,
                 "share": share_percent(shares, version.version), "created": manifest.created,
                 "base_model": manifest.base_model, "rank": manifest.rank, "metrics": manifest.metrics,
                 "parity": parity.model_dump(mode="json") if parity else None,
                 "parity_on_copies": [check.model_dump(mode="json") for check in copies],
                 "gates": gates.model_dump(mode="json") if gates else None}
            )  # fmt: skip
    return "\n".join(map(_line, rows)) or "No adapter is published yet. Train one with `tandem train`.", rows


def promote(project: Project, adapter: str, despite: str | None = None) -> str:
    """Point the alias `live` at `name@version`; `despite` is the reason where a gate holds it."""
    version = find_version(project, adapter)
    registry = Registry.of(project.storage)
    require_checks_on_copies(project, version)
    registry.promote(version.name, version.version, despite=despite)
    gates = registry.gates_of(version.name, version.version)
    failed, undecided = (
        ([gate.name for gate in gates.failed], [gate.name for gate in gates.undecided]) if gates else ([], [])
    )
    name = f"{version.name}@{version.version}"
    sentences = [f"{name} is live."]
    if failed:
        sentences.append(f"It failed: {', '.join(failed)}.")
    if undecided:
        sentences.append(f"There were not enough questions to tell about {name}: {', '.join(undecided)}.")
    return " ".join(sentences)


def split(project: Project, adapter: str, parts: list[str], despite: str | None = None) -> str:
    """Share the callers of an adapter out over versions: parts such as `7=90`; `despite` as for `promote`."""
    shares: dict[int, int] = {}
    for part in parts:
        version, _, share = part.partition("=")
        if not (version.isascii() and version.isdecimal() and share.isascii() and share.isdecimal()):
            raise TandemError(f"{part!r} is no share.", "A version and its share: 7=90 8=10.", "Correct it.")
        shares[int(version)] = int(share)
    registry = Registry.of(project.storage)
    for number in shares:
        require_checks_on_copies(project, registry.get(adapter, number))
    registry.split(adapter, shares, despite=despite)
    shares_text = ", ".join(f"@{version} {share_percent(shares, version):g} %" for version in shares)
    return f"{adapter} is split over its callers: {shares_text}."


def push(project: Project, adapter: str, to: str | None) -> str:
    """Copy an adapter to a bucket. Raises TandemError where none is named or it cannot be written."""
    url = to or project.serving.adapter_registry
    if url is None:
        raise TandemError(
            "No bucket is named.", "An address such as s3://bucket/adapters.", "Use --to, or serving.adapter_registry."
        )
    sent = push_versions(url, Registry.of(project.storage), adapter)
    return f"Sent to {url}: {', '.join(sent) or 'nothing, it has everything'}."


def find_version(project: Project, adapter: str) -> AdapterVersion:
    """The version that `name@version` names. Raises TandemError where it names none."""
    name, _, version = adapter.partition("@")
    if not (version.isascii() and version.isdecimal()):
        raise TandemError(
            f"{adapter!r} names no version.", "A name and a number: support@7.", "See `tandem adapters list`."
        )
    return Registry.of(project.storage).get(name, int(version))


def _line(row: dict[str, Any]) -> str:
    checks = [check for check in (row["parity"], *row["parity_on_copies"]) if check]
    share, parity = _describe_share(row["share"]), _describe_parity(checks)
    gates = _describe_gates(row["gates"])
    return (
        f"{row['adapter']:<24} {share:<9} {row['created']}  parity {parity:<10} gates {gates:<12} {row['base_model']}"
    )


def _describe_parity(checks: list[dict[str, Any]]) -> str:
    """The check that is furthest above its limit, or nearest below it: on the base, or on a copy of it."""
    if not checks:
        return "unchecked"
    check = max(checks, key=lambda each: each["mean_difference"] / each["tolerance"])
    return f"{check['mean_difference']:.4f}" + ("" if check["mean_difference"] <= check["tolerance"] else " (failed)")


def _describe_gates(gates: dict[str, Any] | None) -> str:
    if gates is None:
        return "unmeasured"
    counts = Counter(gate["outcome"] for gate in gates["gates"])
    if counts["refused"]:
        return f"{counts['refused']} failed"
    return f"{counts['undecided']} undecided" if counts["undecided"] else "passed"


def _describe_share(share: float) -> str:
    if share in (0, 100):
        return "live" if share else ""
    return f"live {share:.0f}%"
