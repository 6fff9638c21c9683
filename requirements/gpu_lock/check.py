"""What the GPU lock can prove on a machine without a GPU: that it imports, and that its own compiler compiles.

    make gpu-lock-check

It is run by the Python of the lock's own environment (`.gpu-lock/venv`), with no CUDA of the machine on the path.
Each step is a process of its own; its outcome is a line here and an entry of `.gpu-lock/report.json`.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from cluster.cuda_compiler import choose_compiler, find_compilers, torch_cuda_version  # noqa: E402

FOLDER = ROOT / ".gpu-lock"
HERE = Path(__file__).parent
SITE = Path(sys.prefix) / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
GPUS = {"A100": "8.0", "H100, H200": "9.0a", "B200": "10.0a"}
"""Compute capabilities that kernels are compiled for, as FlashInfer and PyTorch write them."""
STEP_S = 1800.0
VERSIONS = ("torch", "vllm", "triton", "flashinfer-python", "deepspeed", "bitsandbytes", "liger-kernel",
            "nvidia-cuda-nvcc", "nvidia-cuda-runtime", "nvidia-cuda-cccl")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a step ended; `detail` is what it printed last, or its error."""

    step: str
    is_ok: bool
    seconds: float
    detail: str


def main() -> int:
    """Run each step whose name contains an argument, or every step where there is none; 1 where one failed."""
    compiler = choose_compiler(find_compilers(), torch_cuda_version())
    if compiler is None:
        faults = "; ".join(each.fault(torch_cuda_version()) for each in find_compilers())
        print(f"The lock has no CUDA compiler that fits its PyTorch: {faults}.", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    write_driver(FOLDER / "driver")
    outcomes = []
    for name, script, arguments, variables in steps():
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:]):
            outcomes.append(run(name, script, arguments, environment(compiler.home) | variables))
            print(f"{'ok    ' if outcomes[-1].is_ok else 'FAILED'} {name} ({outcomes[-1].seconds:.0f} s) ", end="")
            print(outcomes[-1].detail, flush=True)
    write_report(FOLDER / "report.json", outcomes)
    return int(not all(each.is_ok for each in outcomes))


def write_report(path: Path, outcomes: list[Outcome]) -> None:
    """Beside the earlier outcomes of other steps, where they are of the same versions."""
    versions = {name: version(name) for name in VERSIONS}
    earlier = json.loads(path.read_text()) if path.exists() else {}
    known = {each["step"]: each for each in earlier.get("steps", [])} if earlier.get("versions") == versions else {}
    known |= {each.step: asdict(each) for each in outcomes}
    path.write_text(json.dumps({"versions": versions, "steps": list(known.values())}, indent=1) + "\n")


def steps() -> Iterator[tuple[str, str, tuple[str, ...], dict[str, str]]]:
    """Name, script of this folder, its arguments, and what it needs in its environment."""
    driver = {"LD_LIBRARY_PATH": str(FOLDER / "driver")}
    for group in ("tandem", "training", "vllm", "flashinfer"):
        yield f"import {group}", "imports.py", (group,), driver
    for gpu, capability in GPUS.items():
        yield f"compile CUB for {gpu}", "compiles.py", ("cub", capability), {}
    for gpu, capability in GPUS.items():
        yield f"compile Triton for {gpu}", "compiles.py", ("triton", capability), driver
    for name in ("cpu_adam", "pin_memory", "async_io"):
        yield f"compile DeepSpeed {name}", "compiles.py", (name, ""), {"DS_ACCELERATOR": "cuda"}
    for gpu, capability in GPUS.items():
        variables = {"DS_ACCELERATOR": "cuda", "TORCH_CUDA_ARCH_LIST": capability.rstrip("a")}
        yield f"compile DeepSpeed fused_adam for {gpu}", "compiles.py", ("fused_adam", capability), variables
    for gpu, capability in list(GPUS.items())[1:]:
        yield f"compile DeepGEMM for {gpu}", "compiles.py", ("deep_gemm", capability), {}
    for gpu, capability in GPUS.items():
        variables = {"FLASHINFER_CUDA_ARCH_LIST": capability, **driver}
        yield f"compile FlashInfer's sampler for {gpu}", "compiles.py", ("sampler", capability), variables


def environment(cuda_home: Path) -> dict[str, str]:
    """That of a bare machine: no CUDA but the lock's, and a home of its own, so that nothing was compiled before."""
    home = FOLDER / "home"
    home.mkdir(exist_ok=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
    return {
        "PATH": path, "HOME": str(home), "CUDA_HOME": str(cuda_home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8",
        "FLASHINFER_WORKSPACE_BASE": str(home), "TORCH_EXTENSIONS_DIR": str(home / "torch_extensions"),
        "TRITON_CACHE_DIR": str(home / "triton"), "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1",
        "MAX_JOBS": os.environ.get("MAX_JOBS", "2"), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip


def run(name: str, script: str, arguments: tuple[str, ...], variables: dict[str, str]) -> Outcome:
    """Run a script of this folder with exactly these environment variables."""
    command = [sys.executable, str(HERE / script), *arguments]
    start = time.monotonic()
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=STEP_S, cwd=FOLDER)
        text, is_ok = done.stdout + (done.stderr if done.returncode else ""), done.returncode == 0
    except subprocess.TimeoutExpired:
        text, is_ok = f"not done after {STEP_S:.0f} s", False
    (FOLDER / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.log").write_text(text)
    lines = [line for line in text.splitlines() if line.strip()]
    return Outcome(name, is_ok, time.monotonic() - start, lines[-1][:300] if lines else "")


def write_driver(folder: Path) -> None:
    """A `libcuda.so.1` with every function of it that a library of the lock names, each of which reports no device.

    The compiled parts of vLLM, and what Triton builds to launch kernels, are linked to the driver's library, which only
    machines with a GPU have.
    """
    folder.mkdir(exist_ok=True)
    if (folder / "libcuda.so.1").exists():
        return
    libraries = [str(path) for path in (*SITE.glob("vllm/**/*.so"), *SITE.glob("flashinfer/**/*.so"))]
    listed = subprocess.run(["nm", "-D", "--undefined-only", *libraries], capture_output=True, text=True)
    called = "".join(path.read_text() for path in SITE.glob("triton/backends/nvidia/*.c"))
    names = sorted({*re.findall(r"\bU (cu[A-Z]\w+)", listed.stdout), *re.findall(r"\b(cu[A-Z]\w+)\(", called)})
    source = "".join(f"int {name}(void) {{ return 100; }}\n" for name in names)
    command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "-o", folder / "libcuda.so.1", "-"]
    subprocess.run(command, input=source, text=True, check=True)
    (folder / "libcuda.so").symlink_to("libcuda.so.1")


if __name__ == "__main__":
    sys.exit(main())
