"""`tandem adapters`: what is published, and which version is live."""

import json
from typing import Any

from cluster.errors import TandemError
from cluster.registry.registry import AdapterVersion, Registry, percent
from tandem.project.project import Project


def list_versions(project: Project) -> tuple[str, list[dict[str, Any]]]:
    """Every version in the project's storage, as a table and as values."""
    registry = Registry.of(project.storage)
    rows: list[dict[str, Any]] = []
    for name in registry.names():
        shares = registry.shares(name)
        for found in registry.versions(name):
            manifest, check = found.manifest, registry.check_of(name, found.version)
            gates = registry.gates_of(name, found.version)
            rows.append(
                {"adapter": f"{name}@{found.version}", "live": found.version in shares,
                 "share": percent(shares, found.version), "created": manifest.created,
                 "base_model": manifest.base_model, "rank": manifest.rank, "metrics": manifest.metrics,
                 "parity": check.model_dump(mode="json") if check else None,
                 "gates": gates.model_dump(mode="json") if gates else None}
            )  # fmt: skip
    lines = [
        f"{row['adapter']:<24} {_told_share(row['share']):<9} {row['created']}  parity {_told(row['parity']):<10} "
        f"gates {_told_gates(row['gates']):<10} {row['base_model']}"
        for row in rows
    ]
    return "\n".join(lines) or "No adapter is published yet. Train one with `tandem train`.", rows


def promote(project: Project, adapter: str, despite: str | None = None) -> str:
    """Point the alias `live` at `name@version`; `despite` is the reason where a gate failed."""
    found = find(project, adapter)
    registry = Registry.of(project.storage)
    registry.promote(found.name, found.version, despite=despite)
    check = registry.gates_of(found.name, found.version)
    failed = [gate.name for gate in check.failed] if check else []
    return f"{found.name}@{found.version} is live." + (f" It failed: {', '.join(failed)}." if failed else "")


def split(project: Project, adapter: str, parts: list[str], despite: str | None = None) -> str:
    """Share the callers of an adapter out over versions: parts such as `7=90`; `despite` as for `promote`."""
    shares: dict[int, int] = {}
    for part in parts:
        version, _, share = part.partition("=")
        if not (version.isascii() and version.isdecimal() and share.isascii() and share.isdecimal()):
            raise TandemError(f"{part!r} is no share.", "A version and its share: 7=90 8=10.", "Correct it.")
        shares[int(version)] = int(share)
    registry = Registry.of(project.storage)
    registry.split(adapter, shares, despite=despite)
    told = ", ".join(f"@{version} {percent(shares, version):g} %" for version in shares)
    return f"{adapter} is split over its callers: {told}."


def push(project: Project, adapter: str, to: str | None) -> str:
    """Copy an adapter to a bucket. Raises TandemError where none is named or it cannot be written."""
    from cluster.registry.mirror import push as push_to

    url = to or project.serving.adapter_registry
    if url is None:
        raise TandemError(
            "No bucket is named.", "An address such as s3://bucket/adapters.", "Use --to, or serving.adapter_registry."
        )
    sent = push_to(url, Registry.of(project.storage), adapter)
    return f"Sent to {url}: {', '.join(sent) or 'nothing, it has everything'}."


def find(project: Project, adapter: str) -> AdapterVersion:
    """The version that `name@version` names. Raises TandemError where it names none."""
    name, _, version = adapter.partition("@")
    if not (version.isascii() and version.isdecimal()):
        raise TandemError(
            f"{adapter!r} names no version.", "A name and a number: support@7.", "See `tandem adapters list`."
        )
    return Registry.of(project.storage).get(name, int(version))


def trained_on(project: Project, source: str) -> list[str]:
    """Versions (name@number) that were trained on rows from a document, by their trained.jsonl."""
    registry = Registry.of(project.storage)
    versions = (version for name in registry.names() for version in registry.versions(name))
    return [f"{version.name}@{version.version}" for version in versions if _names(version, source)]


def _names(version: AdapterVersion, source: str) -> bool:
    with (version.path / "trained.jsonl").open(encoding="utf-8") as rows:
        return any(source in json.loads(row)["sources"] for row in rows)


def _told(check: dict[str, Any] | None) -> str:
    if check is None:
        return "unchecked"
    return f"{check['mean_difference']:.4f}" + ("" if check["mean_difference"] <= check["tolerance"] else " (failed)")


def _told_gates(gates: dict[str, Any] | None) -> str:
    if gates is None:
        return "unmeasured"
    failed = sum(not gate["passed"] for gate in gates["gates"])
    return f"{failed} failed" if failed else "passed"


def _told_share(share: float) -> str:
    if share in (0, 100):
        return "live" if share else ""
    return f"live {share:.0f}%"
