"""`make gpu-check`: whatever of the GPU path this machine can prove, in the order of what it is worth.

python -m benchmarks.gpu_check                 # tests marked gpu, benchmarks.gpu_core, and benchmarks.gpu_run
python -m benchmarks.gpu_check --cpu           # the same programs on tiny shapes: tries them, measures nothing

benchmarks.gpu_run is left out where Ray, vLLM or DeepSpeed is not installed. Results: benchmarks/results/gpu-*.json.
Exit code 0: nothing failed, 1: something did, 2: there is no GPU.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import gpu_core, gpu_run
from benchmarks.gpu.test_files import ROOT, gpu_test_files
from cluster.hardware import read_gpus


def main(arguments: Sequence[str]) -> int:
    """Run every program; each one's lines go to standard output as they come."""
    on_cpu = "--cpu" in arguments
    if not on_cpu and not read_gpus():
        print(
            "This machine has no GPU that nvidia-smi lists, so nothing about GPUs can be checked. Run `make gpu-check` "
            "on a machine with a GPU. `make gpu-check CPU=1` tries the programs on tiny shapes.", file=sys.stderr
        )  # fmt: skip
        return 2
    missing = gpu_core.missing_packages()
    if missing:
        print(f"{sys.executable} lacks packages that the checks need: {', '.join(missing)}. Run `make setup GPU=1`, or "
              "install them.", file=sys.stderr)  # fmt: skip
        return 2
    codes = [_run(program) for program in programs(on_cpu)]
    return 1 if any(codes) else 0


def programs(on_cpu: bool) -> list[list[str]]:
    """The command lines after `python -m` that fit this machine."""
    flags = ["--cpu"] * on_cpu
    # The tests run on their own: the step A1 would run them again.
    steps = ",".join(step.name for step in gpu_core.all_steps() if step.name != "A1")
    found = [["pytest", "-m", "gpu", "-rs", *gpu_test_files()], ["benchmarks.gpu_core", *flags, "--steps", steps]]
    missing = [package for package in gpu_run.NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        print(f"benchmarks.gpu_run is left out: {', '.join(missing)} is not installed.", file=sys.stderr)
    else:
        found.append(["benchmarks.gpu_run", *flags])
    return found


def _run(program: list[str]) -> int:
    print(f"== python -m {' '.join(program)}", file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, "-m", *program], cwd=ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
