"""The CUDA compiler of this machine, and the environment by which programs that compile kernels find it.

vLLM's sampler (FlashInfer), DeepGEMM and DeepSpeed compile when they are first used. They look for nvcc at CUDA_HOME,
on PATH and in /usr/local/cuda; pip installs it into none of these. vLLM does not ask whether there is one: without it,
or with an nvcc of another version than the headers beside it, the engine dies while it starts
(https://github.com/vllm-project/vllm/issues/49497).
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Version = tuple[int, int]
SAMPLER = "VLLM_USE_FLASHINFER_SAMPLER"
NVCC_S = 30.0
_SYSTEM_FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin")
_HEADER = "include/cuda_runtime_api.h"


@dataclass(frozen=True)
class CudaCompiler:
    """A folder that CUDA_HOME may name, and what it holds: versions as major and minor, None where it is missing."""

    home: Path
    nvcc: Version | None
    headers: Version | None
    can_link: bool = True
    """Whether a linker finds `libcudart.so` and `libcuda.so`, with which FlashInfer links what it compiles."""

    def fault(self, torch_cuda: Version | None) -> str:
        """Why this does not compile kernels for a PyTorch that was built for `torch_cuda`; empty where it does."""
        if self.nvcc is None:
            return f"{self.home} has no nvcc that runs"
        if self.headers is None:
            return f"{self.home} has nvcc {_text(self.nvcc)} and no headers"
        if self.headers != self.nvcc:
            return f"{self.home} has nvcc {_text(self.nvcc)} and the headers of CUDA {_text(self.headers)}"
        if self.nvcc != torch_cuda:
            return f"{self.home} is CUDA {_text(self.nvcc)}, and PyTorch was built for {_text(torch_cuda)}"
        if not self.can_link:
            return f"{self.home} has no libcudart.so in lib64, or this machine has no libcuda.so"
        return ""


def choose_compiler(compilers: Iterable[CudaCompiler], torch_cuda: Version | None) -> CudaCompiler | None:
    """The first that compiles kernels for a PyTorch that was built for `torch_cuda`; None where none does."""
    return next((each for each in compilers if not each.fault(torch_cuda)), None)


def compiler_environment(
    compiler: CudaCompiler | None, environment: Mapping[str, str], nvcc_folders: Collection[str] = ()
) -> dict[str, str]:
    """What to change in the environment of a process before it imports vLLM or DeepSpeed.

    Without a compiler vLLM samples with its own kernels instead of FlashInfer's. nvcc leaves PATH: there it makes vLLM
    use every kernel of FlashInfer, some of which compile for many minutes, where its wheel has compiled ones; and the
    system's may be of another version. `ninja`, which both vendors start by its name, comes onto it: it lies beside
    Python.

    Args:
        nvcc_folders: folders of PATH that hold an nvcc. Those that hold the system's other programs stay.
    """
    changes = {}
    before = environment.get("PATH", os.defpath).split(os.pathsep)
    folders = [folder for folder in before if folder not in nvcc_folders or folder in _SYSTEM_FOLDERS]
    beside_python = str(Path(sys.executable).parent)
    if beside_python not in folders:
        folders.append(beside_python)
    if folders != before:
        changes["PATH"] = os.pathsep.join(folders)
    if compiler:
        changes["CUDA_HOME"] = str(compiler.home)
    elif SAMPLER not in environment:
        changes[SAMPLER] = "0"
    return changes


def set_compiler() -> CudaCompiler | None:
    """Let what this process imports and starts from now on compile kernels, where this machine can; else do without."""
    compiler = choose_compiler(find_compilers(), torch_cuda_version())
    folders = [folder for folder in os.get_exec_path() if (Path(folder) / "nvcc").exists()]
    os.environ.update(compiler_environment(compiler, os.environ, folders))
    extensions = sys.modules.get("torch.utils.cpp_extension")
    if compiler and extensions:  # it looks for CUDA_HOME once, when it is imported
        extensions.CUDA_HOME = str(compiler.home)  # type: ignore[attr-defined]
    return compiler


def find_compilers() -> list[CudaCompiler]:
    """Those of this machine in the order in which they are preferred: CUDA_HOME, pip's, PATH's, the usual place."""
    return [read_compiler(home) for home in dict.fromkeys(_homes())]


def read_compiler(home: Path) -> CudaCompiler:
    """What is in a folder that CUDA_HOME may name."""
    return CudaCompiler(home, _nvcc_version(home / "bin/nvcc"), _headers_version(home / _HEADER), _can_link(home))


def torch_cuda_version() -> Version | None:
    """The CUDA that the installed PyTorch was built for, read without importing it; None for a build for CPUs."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    return _version(re.search(r"^cuda\b[^=]*= *['\"](\d+)\.(\d+)", text, re.MULTILINE))


def _homes() -> Iterator[Path]:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    spec = importlib.util.find_spec("nvidia")
    for packages in spec.submodule_search_locations or () if spec else ():
        yield from sorted(Path(packages).glob("cu[0-9]*"), reverse=True)
    if nvcc := shutil.which("nvcc"):
        yield Path(nvcc).resolve().parents[1]
    yield Path("/usr/local/cuda")


def _nvcc_version(nvcc: Path) -> Version | None:
    try:
        done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=NVCC_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return _version(re.search(r"release (\d+)\.(\d+)", done.stdout))


def _headers_version(header: Path) -> Version | None:
    try:
        text = header.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    defined = re.search(r"^#define CUDART_VERSION +(\d+)", text, re.MULTILINE)
    return (int(defined[1]) // 1000, int(defined[1]) % 1000 // 10) if defined else None


def _can_link(home: Path) -> bool:
    libraries = home / "lib64"
    return (libraries / "libcudart.so").exists() and ((libraries / "stubs/libcuda.so").exists() or _linker_has_cuda())


def _linker_has_cuda() -> bool:
    """Whether the linker finds the driver's library in the system's own folders."""
    try:
        done = subprocess.run(["c++", "-print-file-name=libcuda.so"], capture_output=True, text=True, timeout=NVCC_S)
    except (OSError, subprocess.SubprocessError):
        return False
    return Path(done.stdout.strip()).is_absolute()


def _version(match: re.Match[str] | None) -> Version | None:
    return (int(match[1]), int(match[2])) if match else None


def _text(version: Version | None) -> str:
    return f"{version[0]}.{version[1]}" if version else "no CUDA"
