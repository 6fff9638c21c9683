"""What the console shows beside its answers: published versions, and the last comparison's report."""

from pathlib import Path
from typing import Any

from cluster.registry.registry import Registry, percent
from serving.errors import ApiError
from serving.keys import Key

REPORT = "report.json"


def adapters(registry: Registry, bases: list[str], key: Key | None) -> list[dict[str, Any]]:
    """Every version of the adapters that a caller may use with one of the bases, the newest first."""
    names = [
        name for name in registry.names() if key is None or any(key.may_use(f"{base}:{name}", None) for base in bases)
    ]
    return [_version(registry, name, number) for name in names for number in reversed(_numbers(registry, name))]


def last_report(storage: Path | None, key: Key | None) -> bytes:
    """The newest comparison's report.json. It holds questions and answers: a key for some models may not read it.

    Raises:
        ApiError: 403 or 404.
    """
    if key is not None and (key.models is not None or key.collections is not None):
        raise ApiError(403, "Reports are for keys that may use every model and collection.")
    found = sorted((storage or Path()).glob(f"*/compare-*/{REPORT}"), key=lambda path: path.stat().st_mtime)
    if storage is None or not found:
        raise ApiError(404, "Nothing has been compared yet: `tandem compare`.")
    return found[-1].read_bytes()


def _numbers(registry: Registry, name: str) -> list[int]:
    return [found.version for found in registry.versions(name)]


def _version(registry: Registry, name: str, number: int) -> dict[str, Any]:
    found, shares, checked = registry.get(name, number), registry.shares(name), registry.check_of(name, number)
    return {
        "name": name, "version": number, "share": percent(shares, number), "created": found.manifest.created,
        "method": found.manifest.method, "rank": found.manifest.rank, "base_model": found.manifest.base_model,
        "parity": checked.mean_difference if checked else None,
    }  # fmt: skip
