"""The environment of the process that runs the model: that of its node's Ray, and what `gpu_worker` makes of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.test_cuda_compiler import cuda_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
# As vLLM's worker starts: the actor's class, the worker that `worker_cls` names, then what it asks for.
WORKER = """
import json, os, shutil, sys
import vllm.v1.executor.ray_executor_v2
from vllm.utils.import_utils import resolve_obj_by_qualname

assert "vllm.utils.flashinfer" not in sys.modules, "it would have asked for nvcc already"
import cluster.cuda_compiler

cluster.cuda_compiler.torch_cuda_version = lambda: (13, 0)
worker = resolve_obj_by_qualname("serving.engine.gpu_worker.Worker")
assert worker.__module__ == "vllm.v1.worker.gpu_worker", worker
from torch.utils import cpp_extension

print(json.dumps({
    "CUDA_HOME": os.environ.get("CUDA_HOME"), "torch": str(cpp_extension.CUDA_HOME), "nvcc": shutil.which("nvcc"),
    "ninja": shutil.which("ninja"), "PATH": os.environ["PATH"],
    "sampler": os.environ.get("VLLM_USE_FLASHINFER_SAMPLER"),
}))
"""


def started(**raylet: str) -> dict[str, str | None]:
    """What a worker finds in a process with the environment of its node's Ray."""
    environment = {"HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT), "VLLM_LOGGING_LEVEL": "ERROR"} | raylet
    done = subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_worker_compiles_with_its_nodes_compiler_and_not_with_that_of_ray(tmp_path: Path) -> None:
    other, fit = cuda_folder(tmp_path / "other", "12.4", 12040), cuda_folder(tmp_path / "fit")
    path = f"{other}/bin:/usr/bin:/bin"
    found = started(PATH=path, CUDA_HOME=str(other), CUDA_PATH=str(fit))
    assert found["CUDA_HOME"] == found["torch"] == str(fit)
    assert found["nvcc"] is None and found["sampler"] is None
    assert found["PATH"] == f"/usr/bin:/bin:{Path(sys.executable).parent}" and found["ninja"]


def test_a_worker_without_a_compiler_samples_without_one(tmp_path: Path) -> None:
    other = cuda_folder(tmp_path / "other", "12.4", 12040)
    found = started(PATH=f"{other}/bin:/usr/bin:/bin", CUDA_HOME=str(other))
    assert found["sampler"] == "0" and found["nvcc"] is None
