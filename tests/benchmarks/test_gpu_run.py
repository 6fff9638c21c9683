"""Every step of `benchmarks.gpu_run` on tiny shapes with real Ray, DeepSpeed and vLLM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.timeout(2000)
def test_every_step_runs_on_a_cpu() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_run", "--cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
    assert [(line["step"], line["passed"], line["reason"]) for line in lines] == [
        (f"B{number}", True, None) for number in range(7)
    ], done.stderr[-3000:]


def test_without_a_gpu_it_says_what_to_do() -> None:
    from cluster.hardware import read_gpus

    if read_gpus():
        pytest.skip("needs a CUDA GPU to be absent")
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu_run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no GPU" in done.stderr and "--cpu" in done.stderr
