"""Environment variables of the workers' processes, which must be set before they import PyTorch."""

from collections.abc import Mapping

_ALLOCATOR = "PYTORCH_ALLOC_CONF"
# PyTorch 2.13 reads the first of these that is set (c10/cuda/CUDAAllocatorConfig.h).
_ALLOCATOR_NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", _ALLOCATOR)


def worker_environment(kind: str, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the workers of a training get; a setting of the allocator that they inherit is kept.

    Packs change their shape from step to step, and segments of fixed size would leave gaps that no later tensor fits:
    expandable ones grow instead (https://docs.pytorch.org/docs/stable/notes/cuda.html, "Optimizing memory usage").

    Args:
        kind: `gpu` or `cpu`.
        inherited: the environment that the workers start from.
    """
    if kind == "cpu":
        # Ray hides no GPU from a worker that has none, and DeepSpeed takes what PyTorch sees.
        return {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if any((inherited or {}).get(name) for name in _ALLOCATOR_NAMES):
        return {}
    return {_ALLOCATOR: "expandable_segments:True"}
