"""What every step of `benchmarks.gpu_core` is given: the device, the sizes, and a folder for models and runs."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.core_loop import free_memory
from benchmarks.gpu.models import LLAMA_1B, LLAMA_8B, TINY, LlamaShape, write_model

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Bench:
    """`is_tiny` takes shapes that two CPU cores compute in seconds: only the program is tried then."""

    device: torch.device
    is_tiny: bool
    scratch: Path

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def has_aims(self) -> bool:
        """Whether figures have targets: aims are stated for a whole model on a GPU."""
        return self.is_cuda and not self.is_tiny

    @property
    def small(self) -> LlamaShape:
        return TINY if self.is_tiny else LLAMA_1B

    @property
    def large(self) -> LlamaShape:
        return TINY if self.is_tiny else LLAMA_8B

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return 64 if self.is_tiny else 4096

    @property
    def precision(self) -> str:
        return "bf16" if self.is_cuda else "fp32"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.is_cuda else torch.float32

    def target(self, text: str) -> str | None:
        """A target where aims are stated, else none."""
        return text if self.has_aims else None

    def model(self, name: str, architecture: Any) -> tuple[Path, float]:
        """The folder of a model with random weights, and the seconds that writing it took; 0 where it was there."""
        folder = self.scratch / "models" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder, write_model(folder, architecture, self.device)

    def run_folder(self, name: str) -> Path:
        """A folder for a run that does not exist yet."""
        return self.scratch / "runs" / f"{name}-{time.time_ns():x}"

    def milliseconds(self, run: Callable[[], Any], repeats: int = 5) -> float:
        """Median time of a call, after two that are not counted."""
        for _ in range(1 if self.is_tiny else 2):
            run()
        return 1e3 * statistics.median(self._seconds(run) for _ in range(repeats))

    def _seconds(self, run: Callable[[], Any]) -> float:
        if self.is_cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        if self.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def peak_bytes(self, run: Callable[[], Any]) -> int:
        """The most that a call holds beyond what was there before it; 0 on a CPU, which counts nothing."""
        free_memory(self.device)
        if not self.is_cuda:
            run()
            return 0
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


def operators_of(run: Callable[[], Any], device: torch.device) -> set[str]:
    """Names of the operators and kernels that a call runs: what was asked for may have been replaced by a fall-back."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
    return {event.key for event in profiler.key_averages()}


def attention_that_ran(operators: set[str]) -> str:
    """Which attention a set of operators is: the fastest name wins, since each is built from slower ones."""
    for mark, name in (
        ("_varlen_attn", "torch varlen"),
        ("_flash_attn_varlen", "flash-attn"),
        ("flex_attention", "flex"),
        ("scaled_dot_product", "sdpa"),
    ):
        if any(mark in operator for operator in operators):
            return name
    return "matrix products"


def liger_kernels(operators: set[str]) -> list[str]:
    """Liger's Triton kernels among them."""
    names = ("_rms_norm_forward_kernel", "_swiglu_forward_kernel", "_triton_rope", "_block_rms_norm_forward_kernel")
    return sorted(name for name in names if any(name in operator for operator in operators))
