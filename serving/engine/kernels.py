"""What an engine on GPUs compiles while it starts, decided on the node where it runs.

Neither the GPUs nor the compiler of that node are known where an engine is deployed from, so that this is no part of
`engine_environment`. With Ray's executor vLLM gives the replica's environment to its workers, but for the variables
that they have already (vllm/v1/executor/ray_executor_v2.py): each worker therefore looks for its compiler itself
(serving/engine/gpu_worker.py). The caches and the sampler reach it from here.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.compile_cache import CompileCache, cache_environment
from cluster.cuda_compiler import set_compiler
from cluster.gpu_requirements import find_fault
from cluster.hardware import Gpu, Hardware, Node, driver_gpus, read_gpus

BLACKWELL = 10
"""Major compute capability of B200, GB200 and B300."""
_log = logging.getLogger(__name__)


def prepare_kernels(source: str, engine_kwargs: Mapping[str, Any]) -> tuple[CompileCache, dict[str, Any]]:
    """Set this process's environment before vLLM is imported; the cache to add to once the engine is ready, and the
    engine arguments with those that the node decides.

    Args:
        source: the model's folder or hub id.

    Raises:
        TandemError: the driver or a GPU of this node cannot do the work. It may have joined after the deployment.
    """
    # Ray can hide every GPU from a replica whose engine has them in processes of its own; then all are asked about, and
    # a broken one may be left out by those processes.
    gpus = read_gpus() or driver_gpus()
    sound = tuple(gpu for gpu in gpus if not gpu.fault) or gpus
    if error := find_fault(Hardware((Node(os.cpu_count() or 1, 0, sound),))):
        raise error
    set_compiler()
    cache = CompileCache.of(gpus)
    try:
        cache.take()
        os.environ.update(cache_environment(cache.folder, os.environ))
    except OSError as error:
        _log.warning("Kernels are compiled where vLLM compiles them by itself: %s.", error)
    return cache, {**engine_kwargs, **attention_arguments(gpus, engine_kwargs, lambda: _has_mla(source))}


def attention_arguments(gpus: Sequence[Gpu], engine_kwargs: Mapping[str, Any], has_mla: Any) -> dict[str, Any]:
    """The attention of Blackwell GPUs, unless somebody has chosen one; elsewhere vLLM's own choice.

    There vLLM 0.29 chooses FlashInfer's without asking for a compiler (vllm/platforms/cuda.py), and FlashInfer compiles
    its launcher and downloads its kernels from NVIDIA while the engine starts. A cluster that lets nothing out, or a
    node without a compiler, could start none. FlashAttention 4 comes with vLLM and is compiled by nvidia-cutlass-dsl,
    which brings its own compiler. Models with latent attention (MLA) have backends of their own, and are left alone.

    Args:
        has_mla: whether the model has latent attention; asked where it matters only.
    """
    is_blackwell = any(gpu.capability[0] == BLACKWELL for gpu in gpus)
    is_chosen = {"attention_backend", "attention_config"} & engine_kwargs.keys()
    return {"attention_backend": "FLASH_ATTN"} if is_blackwell and not is_chosen and not has_mla() else {}


def _has_mla(source: str) -> bool:
    # It imports PyTorch: in the replica only.
    from transformers import PretrainedConfig

    config, _ = PretrainedConfig.get_config_dict(source)
    return any("kv_lora_rank" in part for part in (config, config.get("text_config") or {}))
