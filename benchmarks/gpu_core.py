"""Tier A: the GPU path of training on one GPU, without Ray and vLLM, in at most eight minutes.

python -m benchmarks.gpu_core                  # one GPU; writes benchmarks/results/gpu-core-<GPU>.json
python -m benchmarks.gpu_core --cpu            # every step on tiny shapes: tries the program, measures nothing
python -m benchmarks.gpu_core --tiny           # tiny shapes on the GPU, in about a minute
python -m benchmarks.gpu_core --steps A0,A4

One line of JSON a step as it ends: its figures, whether it passed, and its seconds. The steps are ordered by what they
are worth, so that a run that is cut short counts as well. Needs torch 2.11 or newer, transformers, peft, pydantic,
numpy, safetensors, pyarrow and pytest; DeepSpeed, Liger and bitsandbytes are used where they are installed.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Step, choose_steps, measure_steps, work

NEEDED = ("torch", "transformers", "peft", "pydantic", "numpy", "safetensors", "pyarrow", "pytest")
FORBIDDEN = ("ray", "vllm")
MAX_S = 480.0
"""Of the whole run; a GPU that is lent by the quarter of an hour has time for a second one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; 0 where none failed, 1 where one did, 2 where they cannot be run."""
    options = _parse(arguments)
    missing = missing_packages()
    if missing:
        print(f"gpu_core needs packages that are not installed: {', '.join(missing)}.", file=sys.stderr)
        return 2
    if options.plain:
        os.environ["TANDEM_PLAIN_ENGINE"] = "1"
    if options.work:
        return _work(options)
    if not options.cpu and not _has_gpu():
        print(
            "There is no CUDA GPU that torch can use. Run this on a machine with one, or with --cpu to try the program "
            "on tiny shapes.", file=sys.stderr
        )  # fmt: skip
        return 2
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="gpu-core-") as scratch:
        command = [sys.executable, "-m", "benchmarks.gpu_core", "--scratch", scratch]
        command += [flag for flag in ("--cpu", "--tiny") if getattr(options, flag[2:])]
        steps, is_tiny = choose_steps(all_steps(), options.steps), options.cpu or options.tiny
        if is_tiny:  # figures that nobody reads may have leftovers of earlier steps in them
            steps = [replace(step, in_new_process=False) for step in steps]
        return measure_steps(command, steps, options.seconds, "gpu-core", options.out, not is_tiny)


def missing_packages() -> list[str]:
    """Packages that no step can do without, and that are not installed."""
    return [package for package in NEEDED if importlib.util.find_spec(package) is None]


def all_steps() -> list[Step]:
    """Every step, the most valuable first."""
    from benchmarks.gpu import kernels, trainings

    return [
        Step("A0", "machine and ceiling", 40, _without_ray(kernels.machine)),
        Step("A4", "LoRA by ZeRO stage", 120, _without_ray(trainings.lora_stages)),
        Step("A2", "attention", 60, _without_ray(kernels.attentions)),
        Step("A3", "loss head", 60, _without_ray(kernels.loss_heads)),
        Step("A7", "LoRA, 8B", 150, _without_ray(trainings.large_lora), in_new_process=True),
        Step("A1", "tests marked gpu", 90, _without_ray(kernels.gpu_tests)),
        Step("A9", "beside a padded trainer and the bare engine", 80, _without_ray(trainings.baselines_beside)),
        Step("A5", "full, AdamW, checkpoint", 130, _without_ray(trainings.full_and_checkpoint)),
        Step("A8", "DPO and windows", 50, _without_ray(trainings.preference_and_window)),
        Step("A10", "full, 8B's widths", 120, _without_ray(trainings.large_full), in_new_process=True),
        Step("A6", "QLoRA", 40, _without_ray(trainings.qlora)),
    ]


def _without_ray(run: Any) -> Any:
    """The step, which fails where it has imported Ray or vLLM: neither may be needed here."""
    from benchmarks.gpu.steps import StepFailed

    def checked(bench: Any) -> Any:
        yield from run(bench)
        imported = [package for package in FORBIDDEN if package in sys.modules]
        if imported:
            raise StepFailed(f"{', '.join(imported)} was imported")

    return checked


def _work(options: argparse.Namespace) -> int:
    """The process that runs steps; they report over a file descriptor."""
    import torch

    from benchmarks.gpu.bench import Bench

    names, writer = options.work
    device = torch.device("cpu" if options.cpu else "cuda")
    if options.cpu:
        torch.set_num_threads(1)  # models this small only wait for each other's threads
    steps = choose_steps(all_steps(), names)
    work(steps, int(writer), Bench(device, options.cpu or options.tiny, Path(options.scratch)))
    return 0


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_core", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the GPU")
    parser.add_argument("--plain", action="store_true", help="torch's AdamW although DeepSpeed is installed")
    parser.add_argument("--steps", help="only these, as A0,A4")
    parser.add_argument("--seconds", type=float, default=MAX_S, help="of the whole run")
    parser.add_argument("--scratch", help="where models and runs are written: about 40 GB on a GPU")
    parser.add_argument("--out", type=Path, help="the result file, instead of benchmarks/results/gpu-core-<GPU>.json")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    raise SystemExit(main())
