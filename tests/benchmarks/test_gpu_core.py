"""Every step of `benchmarks.gpu_core` on tiny shapes: on the CPU, and where there is a GPU on it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_core import all_steps

ROOT = Path(__file__).parents[2]
# The tests marked `gpu` are run by pytest itself.
STEPS = [step.name for step in all_steps() if step.name != "A1"]
NEEDS_CUDA = {"A6": "needs CUDA"}


def run(*flags: str) -> dict[str, dict[str, Any]]:
    """The line of each step."""
    command = [sys.executable, "-m", "benchmarks.gpu_core", *flags, "--steps", ",".join(STEPS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
    assert done.returncode == 0, [(line["step"], line["reason"]) for line in lines] or done.stderr[-2000:]
    return {line["step"]: line for line in lines}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_step_runs_on_a_cpu_without_ray_and_vllm() -> None:
    found = run("--cpu", "--seconds", "800")
    assert sorted(found) == sorted(STEPS)
    assert {name: line["reason"] for name, line in found.items() if line["passed"] is None} == NEEDS_CUDA
    assert all(line["figures"] for name, line in found.items() if name not in NEEDS_CUDA)
    losses = [figure for line in found.values() for figure in line["figures"] if "of a step's loss" in figure["metric"]]
    assert len(losses) == 3 and all(figure["ours"] <= 1e-4 for figure in losses)


@pytest.mark.gpu
@pytest.mark.timeout(600)
def test_every_step_runs_on_a_gpu_by_its_fast_paths() -> None:
    """Optimizer, ZeRO on one rank, checkpoint, publish, DPO and windows; a slower path that ran unasked fails."""
    found = run("--tiny")
    skipped = {name: line["reason"] for name, line in found.items() if line["passed"] is None}
    assert all("not installed" in reason for reason in skipped.values())


def test_without_a_gpu_it_says_what_to_do() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU to be absent")
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu_core"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no CUDA GPU" in done.stderr and "--cpu" in done.stderr
