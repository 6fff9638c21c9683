"""Which part of a GPU each engine takes, planned from the sizes of the models before anything is started.

An engine takes whole GPUs where there are enough. Where there are more base models than GPUs, several share one: each
gets its weights, what vLLM itself takes and an equal part of the rest for its key-value cache. Engines that share a GPU
start one after the other (serving/engine/start_turns.py), because vLLM measures its own memory by what is free.
docs/decisions/029-one-gpu.md has what else was considered.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cluster.errors import TandemError
from cluster.hardware import Gpu, Hardware
from serving.config import ServingConfig
from serving.engine.limits import BATCHED_TOKENS
from serving.engine.model_files import ModelFiles
from serving.engine.packing import GpuDemand, equal_share, left_for_engines, rounded_down
from serving.engine.parallel import check_placement, most_gpus_of_a_node, num_devices

GIB = 2**30
UTILIZATION = 0.92
"""Part of a GPU's memory that vLLM takes by default (vLLM 0.29, config/cache.py)."""
ENGINE_BYTES = 4 * GIB
"""What an engine takes beside weights and cache: the CUDA context, activations of a step of BATCHED_TOKENS, CUDA graphs
and slots for adapters. An estimate that has not been measured on a GPU."""
LEAST_TOKENS = 4096
"""The key-value cache has to hold one request of this length, where `serving.max_model_len` says nothing."""


@dataclass(frozen=True)
class GpuShare:
    """What an engine takes of each of its GPUs."""

    gpus: float = 1.0
    """Ray's resource: 1 is a whole GPU."""

    utilization: float | None = None
    """vLLM's `gpu_memory_utilization`; None leaves it to vLLM or to `serving.engine_kwargs`."""

    @property
    def is_whole(self) -> bool:
        return self.gpus == 1.0


def share_gpus(
    config: ServingConfig, models: Mapping[str, ModelFiles], hardware: Hardware, reserved: float = 0.0
) -> dict[str, GpuShare]:
    """The share of a GPU for each base model's engines.

    Args:
        models: every base model that is served at the same time, by name.
        reserved: GPUs, or the part of one, that other deployments take.

    Raises:
        TandemError: the engines do not fit, with what would.
    """
    if hardware.kind == "cpu":
        # The engines take no GPU; a part still says that they start one after the other.
        return dict.fromkeys(models, GpuShare(config.gpus_per_engine or 1.0))
    check_placement(config, hardware)
    devices, fewest = num_devices(config), max(1, config.num_replicas.min)
    if config.gpus_per_engine is not None:
        shares = dict.fromkeys(models, _part(config, config.gpus_per_engine, devices))
        _check_number(config, len(models), hardware, reserved)
    elif GpuDemand(len(models) * fewest, devices, 1.0, reserved).fits(hardware):
        shares = dict.fromkeys(models, GpuShare())
    else:
        _check_that_sharing_helps(config, len(models), hardware, reserved)
        shares = _plan(config, models, hardware, reserved)
    _check_memory(config, models, shares, hardware)
    return shares


def check_free_memory(config: ServingConfig, num_engines: int, hardware: Hardware) -> None:
    """Refuse a machine whose GPUs other programs use already. Call it before anything of ours runs there.

    Args:
        num_engines: base models that are served at the same time, each by `serving.num_replicas` engines.

    Raises:
        TandemError: too few GPUs have the memory free that vLLM asks for when it starts.
    """
    if len(hardware.nodes) != 1 or not hardware.gpus:
        return  # what other jobs of a cluster hold may be free later
    engines, utilization = num_engines * max(1, config.num_replicas.min), _utilization(config)
    needed = min(engines * num_devices(config), hardware.num_gpus)
    if config.gpus_per_engine is not None and num_devices(config) == 1:
        # Ray fills a GPU with parts before it takes the next one.
        on_one = min(engines, int(1 / config.gpus_per_engine + 1e-9))
        utilization *= on_one * config.gpus_per_engine
        needed = min(math.ceil(engines / on_one), hardware.num_gpus)
    free = [gpu for gpu in hardware.gpus if gpu.memory_bytes - gpu.used_bytes >= utilization * gpu.memory_bytes]
    if len(free) < needed:
        taken = max(hardware.gpus, key=lambda gpu: gpu.used_bytes)
        raise TandemError(
            f"Other programs hold {_gib(taken.used_bytes)} of the {_gib(taken.memory_bytes)} of a GPU ({taken.name}).",
            f"{needed} GPU{'s' * (needed > 1)} with {utilization:.0%} of the memory free, which the engines on it take "
            "(vLLM's `gpu_memory_utilization`).",
            "End the other programs (`nvidia-smi` lists them), or set a lower gpu_memory_utilization in "
            "`serving.engine_kwargs` or a smaller `serving.gpus_per_engine`.",
        )


def _check_number(config: ServingConfig, num_models: int, hardware: Hardware, reserved: float) -> None:
    """With `gpus_per_engine`: all parts have to find room."""
    engines, share = num_models * max(1, config.num_replicas.min), config.gpus_per_engine or 1.0
    if not GpuDemand(engines, num_devices(config), share, reserved).fits(hardware):
        raise _too_few_gpus(config, num_models, hardware, reserved)


def _check_that_sharing_helps(config: ServingConfig, num_models: int, hardware: Hardware, reserved: float) -> None:
    """Only engines of one GPU and one replica share. They share with each other where the memory of the GPUs is known;
    while no GPU node is up, an engine shares with retrievers only."""
    left = left_for_engines(hardware.num_gpus or hardware.most_gpus, reserved)
    is_known = hardware.num_gpus > 0 or num_models == 1
    if num_devices(config) > 1 or config.num_replicas.min > 1 or left <= 0 or not is_known:
        raise _too_few_gpus(config, num_models, hardware, reserved)


def _too_few_gpus(config: ServingConfig, num_models: int, hardware: Hardware, reserved: float) -> TandemError:
    devices, fewest = num_devices(config), max(1, config.num_replicas.min)
    demand = GpuDemand(num_models * fewest, devices, reserved=reserved)
    if 1 < devices <= most_gpus_of_a_node(hardware) and demand.num_gpus <= hardware.most_gpus:
        return _too_small_nodes(demand, hardware)
    each = f"{config.gpus_per_engine:g} of a GPU" if config.gpus_per_engine else f"{devices} GPU{'s' * (devices > 1)}"
    models, replicas = (f"{n} {name}{'s' * (n > 1)}" for n, name in ((num_models, "base model"), (fewest, "replica")))
    return TandemError(
        f"{models} with {replicas} each take {each} for every engine, and "
        f"the cluster has {hardware.most_gpus} GPU{'s' * (hardware.most_gpus > 1)}.",
        "A GPU for each engine, times tensor_parallel_size and pipeline_parallel_size. Without "
        "`serving.gpus_per_engine` only engines of one GPU and one replica share a GPU.",
        "Set `serving.num_replicas` or `serving.models` to fewer, add GPUs to the cluster, or set "
        "`serving.gpus_per_engine` to a part that all of them fit into.",
    )


def _too_small_nodes(demand: GpuDemand, hardware: Hardware) -> TandemError:
    """A smaller engine is named by a number that divides this one's: it divides the model's heads as well."""
    sizes, devices = [len(node.gpus) for node in hardware.gpu_nodes], demand.devices
    smaller = (each for each in range(devices - 1, 0, -1) if devices % each == 0)
    fitting = next((each for each in smaller if replace(demand, devices=each).fits(hardware)), None)
    return TandemError(
        f"{demand.num_engines} engines take {devices} GPUs each, all on one node, and nodes with "
        f"{', '.join(map(str, sizes))} GPUs have room for {demand.room(hardware)} of them.",
        "Nodes that hold every engine whole, beside the GPUs of retrievers.",
        f"Add a node with {devices} GPUs or more for each engine that has no room, or set `serving.num_replicas` or "
        "`serving.models` to fewer"
        + (
            f", or lower tensor_parallel_size in `serving.engine_kwargs` so that an engine takes {fitting} "
            f"GPU{'s' * (fitting > 1)}."
            if fitting
            else "."
        ),
    )


def _plan(
    config: ServingConfig, models: Mapping[str, ModelFiles], hardware: Hardware, reserved: float
) -> dict[str, GpuShare]:
    """On one GPU by what each model needs; in equal parts on several, and while the memory is not known."""
    if hardware.num_gpus != 1:
        number = hardware.num_gpus or hardware.most_gpus
        return dict.fromkeys(models, _part(config, equal_share(len(models), number, reserved), 1))
    gpu, part = hardware.gpus[0], 1 - reserved
    needs = {name: _needed_bytes(config, files) for name, files in models.items()}
    total = sum(needs.values())
    budget = part * _utilization(config) * gpu.memory_bytes
    if total > budget:
        raise _too_large(config, needs, budget, gpu)
    rest = (budget - total) / len(models)
    return {name: _part(config, rounded_down(part * (need + rest) / budget), 1) for name, need in needs.items()}


def _part(config: ServingConfig, gpus: float, devices: int) -> GpuShare:
    if gpus == 1.0:
        return GpuShare()
    if devices > 1:
        raise TandemError(
            f"`serving.gpus_per_engine` is {gpus:g}, and an engine is spread over {devices} GPUs: Ray could put two of "
            "its parts on the same GPU.",
            "A part of a GPU for engines of one GPU only.",
            "Remove `serving.gpus_per_engine`, or the parallel sizes in `serving.engine_kwargs`.",
        )
    return GpuShare(gpus, rounded_down(gpus * _utilization(config)))


def _check_memory(
    config: ServingConfig, models: Mapping[str, ModelFiles], shares: Mapping[str, GpuShare], hardware: Hardware
) -> None:
    gpu = hardware.smallest_gpu
    if gpu is None:
        return
    for name, files in models.items():
        share = shares[name]
        if share.is_whole and (files.weights_bytes is None or _is_reduced(config)):
            continue  # vLLM says it when it starts
        budget = share.gpus * _utilization(config) * gpu.memory_bytes * num_devices(config)
        needed = _needed_bytes(config, files) if not share.is_whole else served_bytes(config, files)
        if needed > budget:
            raise _too_large(config, {name: needed}, budget, gpu)


def _needed_bytes(config: ServingConfig, files: ModelFiles) -> float:
    """The least that an engine can start with, where it shares a GPU.

    Raises:
        TandemError: the size of the weights is not known.
    """
    if files.weights_bytes is None or _is_reduced(config):
        if config.gpus_per_engine is not None:
            return 0.0
        raise TandemError(
            "Engines or retrievers share a GPU, and the size of a model is not known before it is loaded.",
            "A model whose weights are here, at the precision of its files.",
            "Download it, or set `serving.gpus_per_engine` to the part of a GPU that each engine takes.",
        )
    tokens = min(config.max_model_len or LEAST_TOKENS, files.max_positions or math.inf)
    cache = config.kv_cache_gib * GIB if config.kv_cache_gib else tokens * (files.kv_bytes_per_token or 0)
    return served_bytes(config, files) + ENGINE_BYTES + cache


def served_bytes(config: ServingConfig, files: ModelFiles) -> float:
    """Memory of the weights as they are served: vLLM loads float32 files in two bytes a weight by default."""
    size = files.weights_bytes or 0
    if config.dtype == "float32":
        return size if files.dtype == "float32" else 2 * size
    return size / 2 if files.dtype == "float32" else size


def _is_reduced(config: ServingConfig) -> bool:
    """Whether vLLM is asked to hold less of the weights on the GPU than their files have."""
    return bool({"quantization", "cpu_offload_gb"} & config.engine_kwargs.keys())


def _too_large(config: ServingConfig, needs: Mapping[str, float], budget: float, gpu: Gpu) -> TandemError:
    each = " and ".join(f"{_gib(size)} for {name}" for name, size in needs.items())
    devices = num_devices(config)
    place = f"the {gpu.name}" if devices == 1 else f"{devices} GPUs ({gpu.name})"
    return TandemError(
        f"The models do not fit into {place}: they need {each}, and {_gib(budget)} of its memory can be used.",
        f"Weights, {_gib(ENGINE_BYTES)} for an engine that shares a GPU, and a cache for one request, within the "
        f"{_gib(budget)} that engines may use.",
        "Train with a method that publishes an adapter (`training.method: lora`), which the base model's own engine "
        "serves; name fewer models in `serving.models`; remove `serving.gpus_per_retriever` where it is set; set a "
        "higher tensor_parallel_size in `serving.engine_kwargs`; "
        "or use a GPU with more memory, or more GPUs.",
    )


def _utilization(config: ServingConfig) -> float:
    """The part of a GPU's memory that all engines on it take together."""
    value = config.engine_kwargs.get("gpu_memory_utilization", UTILIZATION)
    if type(value) not in (int, float) or not 0 < value <= 1:
        raise TandemError(
            f"serving.engine_kwargs sets gpu_memory_utilization to {value!r}.",
            "A part of the GPU's memory, above 0 and up to 1.",
            "Correct the number, or remove it.",
        )
    return float(value)


def shared_limits(share: GpuShare) -> dict[str, int]:
    """vLLM's defaults follow the whole GPU; an engine with a part of it takes the steps of a smaller GPU."""
    return {} if share.is_whole else {"max_num_batched_tokens": BATCHED_TOKENS}


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
