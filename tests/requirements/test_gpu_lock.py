"""The parts of CUDA in the GPU lock: of one version where one compiles against another, else as PyTorch asks.

What the lock holds is tried by `make gpu-lock-check`; here it is read.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from requirements.gpu_lock import check
from tests.requirements.test_setup import ROOT, pins

COMPILER = ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm")
HEADERS = "nvidia-cuda-runtime"
# A disassembler that no compile takes part in: nvidia-cutlass-dsl 4.6.2 asks for 13.3 or newer.
FREE = {"nvidia-cuda-nvdisasm"}
# What torch 2.13.0's wheel for CUDA requires exactly (`Requires-Dist` of its metadata).
TORCH_REQUIRES = {
    "cuda-toolkit": "13.0.3",
    "nvidia-cudnn-cu13": "9.20.0.48",
    "nvidia-cusparselt-cu13": "0.8.1",
    "nvidia-nccl-cu13": "2.29.7",
    "nvidia-nvshmem-cu13": "3.4.5",
    "triton": "3.7.1",
}
# What cuda-toolkit 13.0.3 pins of the libraries that have numbers of their own (the same, of its extras).
TOOLKIT_REQUIRES = {
    "nvidia-cublas": "13.1.1.3",
    "nvidia-cufft": "12.0.0.61",
    "nvidia-cufile": "1.15.1.6",
    "nvidia-curand": "10.4.0.35",
    "nvidia-cusolver": "12.0.4.66",
    "nvidia-cusparse": "12.6.3.3",
}


def release(version: str) -> tuple[int, int]:
    """Major and minor."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def test_compiler_and_headers_are_of_the_cuda_that_pytorch_is_built_for() -> None:
    gpu = pins("gpu")
    releases = {name: release(gpu[name]) for name in ("cuda-toolkit", HEADERS, *COMPILER)}
    assert set(releases.values()) == {release(TORCH_REQUIRES["cuda-toolkit"])}, releases
    assert len({gpu[name] for name in COMPILER}) == 1, "nvcc, its headers and its optimizer are built together"


def test_every_part_that_has_the_number_of_cuda_is_of_one_release() -> None:
    numbered = r"nvidia-(cuda-(?!cccl)\w+|nvvm|nvtx|nvjitlink)"
    gpu = {name: release(version) for name, version in pins("gpu").items() if re.fullmatch(numbered, name)}
    assert len(gpu) >= 8
    assert {name: found for name, found in gpu.items() if found != (13, 0) and name not in FREE} == {}
    assert release(pins("gpu")["nvidia-cuda-cccl"]) == (13, 0), "CUB comes with the toolkit, and grows apart from nvcc"


def test_the_libraries_are_those_that_pytorch_asks_for() -> None:
    gpu = pins("gpu")
    assert gpu["torch"] == "2.13.0", "look up what this torch requires, and correct the two tables above"
    asked = TORCH_REQUIRES | TOOLKIT_REQUIRES
    assert {name: gpu[name] for name in asked if not f"{gpu[name]}.".startswith(f"{asked[name]}.")} == {}


def test_the_compiler_is_asked_for_by_name_so_that_a_new_lock_has_it_too() -> None:
    extras = re.search(r"\"cuda-toolkit\[([\w,]+)\]\"", (ROOT / "pyproject.toml").read_text())
    assert extras and {"nvcc", "cccl"} <= set(extras[1].split(","))


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_setup_gives_cuda_the_names_that_a_linker_looks_for(tmp_path: Path) -> None:
    cuda = tmp_path / "lib/python3.11/site-packages/nvidia/cu13"
    activate = tmp_path / "bin/activate"
    for path in (activate, *(cuda / name for name in ("bin/nvcc", "lib/libcudart.so.13", "lib/libnvrtc.alt.so.13"))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
    script = (ROOT / "requirements/setup.sh").read_text()
    function = script[script.index("name_cuda_libraries()") : script.index("\nrest=")]
    for _ in range(2):  # a set-up that is run again
        subprocess.run(["bash", "-euc", f'venv="{tmp_path}"\n{function}\nname_cuda_libraries'], check=True, timeout=60)
    assert (cuda / "lib64/libcudart.so").resolve().name == "libcudart.so.13"
    assert (cuda / "lib64/libnvrtc.alt.so").resolve().name == "libnvrtc.alt.so.13"
    assert activate.read_text() == 'export CUDA_HOME="$VIRTUAL_ENV/lib/python3.11/site-packages/nvidia/cu13"\n'
    named = subprocess.run(["readelf", "-d", cuda / "lib64/stubs/libcuda.so"], capture_output=True, text=True)
    assert "[libcuda.so.1]" in named.stdout, "what is linked with it asks for the driver's own library"


def test_setup_takes_the_build_of_pytorch_for_cuda() -> None:
    """`==` is met by `2.13.0+cpu` too, where pip is configured to find such a wheel; `===` is met by no other name."""
    script = (ROOT / "requirements/setup.sh").read_text()
    assert "s/^torch==/torch===/" in script


def test_the_check_tries_every_kind_of_gpu() -> None:
    names = [name for name, *_ in check.steps()]
    assert len(set(names)) == len(names)
    for gpu in check.GPUS:
        assert {
            f"compile CUB for {gpu}",
            f"compile Triton for {gpu}",
            f"compile FlashInfer's sampler for {gpu}",
        } <= set(names)
    assert all((ROOT / "requirements/gpu_lock" / script).is_file() for _, script, _, _ in check.steps())


def test_a_report_keeps_the_steps_that_were_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "version", lambda name: "1.0")
    path = tmp_path / "report.json"
    check.write_report(path, [check.Outcome("a", False, 1.0, ""), check.Outcome("b", True, 1.0, "")])
    check.write_report(path, [check.Outcome("a", True, 2.0, "")])
    assert {each["step"]: each["is_ok"] for each in json.loads(path.read_text())["steps"]} == {"a": True, "b": True}
    monkeypatch.setattr(check, "version", lambda name: "2.0")
    check.write_report(path, [check.Outcome("a", True, 3.0, "")])
    assert [each["step"] for each in json.loads(path.read_text())["steps"]] == ["a"], "of other versions nothing stays"
