"""`tandem adapters`: what is published, and which version is live."""

from typing import Any

from cluster.errors import TandemError
from cluster.registry import Registry, UnknownAdapter
from tandem.project import Project


def list_versions(project: Project) -> tuple[str, list[dict[str, Any]]]:
    """Every version in the project's storage, as a table and as values."""
    registry = Registry(project.storage.adapters)
    rows = []
    for name in registry.names():
        live = _live(registry, name)
        for found in registry.versions(name):
            manifest = found.manifest
            rows.append(
                {"adapter": f"{name}@{found.version}", "live": found.version == live, "created": manifest.created,
                 "base_model": manifest.base_model, "rank": manifest.rank, "metrics": manifest.metrics}
            )  # fmt: skip
    lines = [
        f"{row['adapter']:<24} {'live' if row['live'] else '':<5} {row['created']}  {row['base_model']}" for row in rows
    ]
    return "\n".join(lines) or "No adapter is published yet. Train one with `tandem train`.", rows


def promote(project: Project, adapter: str) -> str:
    """Point the alias `live` at `name@version`."""
    name, _, version = adapter.partition("@")
    if not (version.isascii() and version.isdecimal()):
        raise TandemError(
            f"{adapter!r} names no version.", "A name and a number: support@7.", "See `tandem adapters list`."
        )
    Registry(project.storage.adapters).promote(name, int(version))
    return f"{name}@{int(version)} is live."


def _live(registry: Registry, name: str) -> int | None:
    try:
        return registry.resolve(name).version
    except UnknownAdapter:
        return None
