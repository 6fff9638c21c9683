"""Which CUDA compiler is taken, and the environment by which programs find it."""

import os
import sys
import types
from pathlib import Path

import pytest

from cluster import cuda_compiler
from cluster.cuda_compiler import (
    SAMPLER,
    CudaCompiler,
    choose_compiler,
    compiler_environment,
    find_compilers,
    read_compiler,
    set_compiler,
    torch_cuda_version,
)

HOME, CUDA = Path("/cuda"), (13, 0)
FIT = CudaCompiler(HOME, CUDA, CUDA)


@pytest.mark.parametrize(
    ("compiler", "torch_cuda", "fault"),
    [
        (FIT, CUDA, ""),
        (CudaCompiler(HOME, None, CUDA), CUDA, "no nvcc"),
        (CudaCompiler(HOME, CUDA, None), CUDA, "no headers"),
        (CudaCompiler(HOME, (13, 5), CUDA), CUDA, "nvcc 13.5 and the headers of CUDA 13.0"),
        (CudaCompiler(HOME, (12, 4), (12, 4)), CUDA, "is CUDA 12.4, and PyTorch was built for 13.0"),
        (CudaCompiler(HOME, (13, 1), (13, 1)), CUDA, "PyTorch was built for 13.0"),
        (FIT, None, "PyTorch was built for no CUDA"),
        (CudaCompiler(HOME, CUDA, CUDA, can_link=False), CUDA, "libcudart.so"),
    ],
)
def test_only_one_of_pytorchs_own_version_will_do(compiler: CudaCompiler, torch_cuda: object, fault: str) -> None:
    found = compiler.fault(torch_cuda)  # type: ignore[arg-type]
    assert fault in found and bool(found) == bool(fault)
    assert choose_compiler([compiler], torch_cuda) == (None if fault else compiler)  # type: ignore[arg-type]


def test_the_first_that_will_do_is_taken() -> None:
    system, other = CudaCompiler(Path("/usr/local/cuda-12.4"), (12, 4), (12, 4)), CudaCompiler(Path("/b"), CUDA, CUDA)
    assert choose_compiler([system, FIT, other], CUDA) == FIT
    assert choose_compiler([system], CUDA) is None and choose_compiler([], CUDA) is None


def test_without_a_compiler_the_sampler_that_needs_one_is_off() -> None:
    beside = str(Path(sys.executable).parent)
    path = f"/usr/bin{os.pathsep}{beside}"
    assert compiler_environment(None, {"PATH": path}) == {SAMPLER: "0"}
    assert compiler_environment(FIT, {"PATH": path}) == {"CUDA_HOME": "/cuda"}
    assert compiler_environment(FIT, {"PATH": path, "CUDA_HOME": "/usr/local/cuda-12.4"}) == {"CUDA_HOME": "/cuda"}
    assert compiler_environment(None, {"PATH": path, SAMPLER: "1"}) == {}, "what somebody has set stays"
    added = compiler_environment(FIT, {"PATH": "/usr/bin"})["PATH"]
    assert added == path, "ninja lies beside Python, and nvcc stays out"


def test_nvcc_leaves_the_path_and_takes_no_other_program_with_it() -> None:
    beside = str(Path(sys.executable).parent)
    before = ["/usr/local/cuda-12.4/bin", "/usr/bin", "/opt/tools", beside]
    for compiler in (FIT, None):
        changes = compiler_environment(compiler, {"PATH": os.pathsep.join(before)}, {before[0], "/usr/bin"})
        assert changes["PATH"].split(os.pathsep) == ["/usr/bin", "/opt/tools", beside]
    assert "PATH" not in compiler_environment(FIT, {"PATH": os.pathsep.join(before)})


def cuda_folder(folder: Path, nvcc: str = "13.0", headers: int = 13000, links: bool = True) -> Path:
    """A folder as pip and our set-up leave it."""
    for part in ("bin", "include", "lib64/stubs"):
        (folder / part).mkdir(parents=True)
    (folder / "bin/nvcc").write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {nvcc}, V{nvcc}.88'\n")
    (folder / "bin/nvcc").chmod(0o755)
    (folder / "include/cuda_runtime_api.h").write_text(f"/* CUDART_VERSION */\n#define CUDART_VERSION  {headers}\n")
    for name in ("libcudart.so", "stubs/libcuda.so") if links else ():
        (folder / "lib64" / name).touch()
    return folder


def test_a_folder_is_read(tmp_path: Path) -> None:
    assert read_compiler(cuda_folder(tmp_path / "a")) == CudaCompiler(tmp_path / "a", CUDA, CUDA)
    skewed = read_compiler(cuda_folder(tmp_path / "b", "13.5", 12080, links=False))
    assert (skewed.nvcc, skewed.headers, skewed.can_link) == ((13, 5), (12, 8), False)
    assert read_compiler(tmp_path / "nothing") == CudaCompiler(tmp_path / "nothing", None, None, False)
    broken = cuda_folder(tmp_path / "c")
    (broken / "bin/nvcc").write_text("#!/bin/sh\nexit 1\n")
    assert read_compiler(broken).nvcc is None


def test_cuda_home_comes_first_and_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = cuda_folder(tmp_path / "own")
    monkeypatch.setenv("CUDA_HOME", str(home))
    monkeypatch.setenv("CUDA_PATH", str(home))
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=":")
    found = [each.home for each in find_compilers()]
    assert found[0] == home and found.count(home) == 1 and found[-1] == Path("/usr/local/cuda")


def test_it_is_set_for_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin"})
    monkeypatch.setattr(cuda_compiler, "torch_cuda_version", lambda: CUDA)
    monkeypatch.setattr(cuda_compiler, "find_compilers", lambda: [read_compiler(cuda_folder(tmp_path / "own"))])
    extensions = types.ModuleType("torch.utils.cpp_extension")
    monkeypatch.setitem(sys.modules, extensions.__name__, extensions)
    compiler = set_compiler()
    assert vars(extensions)["CUDA_HOME"] == str(tmp_path / "own"), "imported before"
    assert compiler and os.environ["CUDA_HOME"] == str(tmp_path / "own") and SAMPLER not in os.environ
    monkeypatch.setattr(cuda_compiler, "find_compilers", list)
    assert set_compiler() is None and os.environ[SAMPLER] == "0"


def test_pytorchs_cuda_is_read_without_importing_it() -> None:
    import torch

    built = torch.version.cuda
    assert torch_cuda_version() == (tuple(int(part) for part in built.split(".")[:2]) if built else None)
