"""Tier B: the whole path on one GPU as a user has it, with the GPU lock installed, in at most thirteen minutes.

python -m benchmarks.gpu_run                   # after `make setup GPU=1`; writes benchmarks/results/gpu-run-<GPU>.json
python -m benchmarks.gpu_run --cpu             # tiny shapes with real Ray, DeepSpeed and vLLM: tries the program
python -m benchmarks.gpu_run --steps B0,B1

Doctor, train, serve and compare are the `tandem` command; figures are read from what it records. One line of JSON a
step as it ends.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Step, choose_steps, measure_steps, work

NEEDED = ("ray", "vllm", "deepspeed")
MAX_S, CPU_MAX_S = 780.0, 1800.0
"""Of the whole run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; 0 where none failed, 1 where one did, 2 where they cannot be run."""
    options = _parse(arguments)
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        print(f"gpu_run needs packages that are not installed: {', '.join(missing)}. Run `make setup GPU=1`, or "
              "benchmarks.gpu_core, which needs none of them.", file=sys.stderr)  # fmt: skip
        return 2
    if options.work:
        return _work(options)
    from cluster.hardware import read_gpus

    if not options.cpu and not read_gpus():
        print("There is no GPU that nvidia-smi lists. Run this on a machine with one, or with --cpu to try the program "
              "on tiny shapes.", file=sys.stderr)  # fmt: skip
        return 2
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="gpu-run-", ignore_cleanup_errors=True) as scratch:
        command = [sys.executable, "-m", "benchmarks.gpu_run", "--scratch", scratch, *(["--cpu"] * options.cpu)]
        seconds = options.seconds or (CPU_MAX_S if options.cpu else MAX_S)
        steps = choose_steps(all_steps(options.cpu), options.steps)
        return measure_steps(command, steps, seconds, "gpu-run", options.out, not options.cpu)


def all_steps(on_cpu: bool) -> list[Step]:
    """Every step, the most valuable first; two CPU cores start an engine several times more slowly."""
    from benchmarks.gpu import served_path, whole_path

    slower = 4 if on_cpu else 1
    return [
        Step("B0", "doctor", 60 * slower, whole_path.doctor),
        Step("B1", "train, publish, parity", 240 * slower, whole_path.train),
        Step("B2", "serve", 300 * slower, served_path.serve),
        Step("B3", "adapters under load", 90 * slower, served_path.change_adapters),
        Step("B4", "a killed worker", 120 * slower, _without_server(whole_path.killed_worker)),
        Step("B5", "LoRA, 8B, over Ray", 200 * slower, _without_server(whole_path.large)),
        Step("B6", "compare", 240 * slower, _without_server(whole_path.compare)),
    ]


def _without_server(run: Any) -> Any:
    """The step, once the endpoint of an earlier one has given its GPU back."""

    def stopped(site: Any) -> Any:
        site.stop_serving()
        yield from run(site)

    return stopped


def _work(options: argparse.Namespace) -> int:
    """The process that runs steps; they report over a file descriptor."""
    from benchmarks.gpu.site import Site

    names, writer = options.work
    site = Site(Path(options.scratch), is_tiny=options.cpu, on_cpu=options.cpu)
    try:
        work(choose_steps(all_steps(options.cpu), names), int(writer), site)
    finally:
        site.stop_serving()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--steps", help="only these, as B0,B1")
    parser.add_argument("--seconds", type=float, help="of the whole run")
    parser.add_argument("--scratch", help="where models, runs and caches are written: about 60 GB on a GPU")
    parser.add_argument("--out", type=Path, help="the result file, instead of benchmarks/results/gpu-run-<GPU>.json")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raise SystemExit(main())
