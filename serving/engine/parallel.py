"""How many GPUs an engine takes and where they have to be: vLLM's parallel arguments in the words of Ray.

vLLM makes one worker for each of tensor x pipeline x prefill context parallel ranks, and gives each a bundle of the
placement group that the deployment asks for (vLLM 0.29: config/parallel.py, v1/executor/ray_executor_v2.py). An
argument that changes this number without the bundles leaves an engine that waits for ever, so each is named here.
"""

from typing import Any

from cluster.errors import TandemError
from cluster.hardware import Hardware
from serving.config import ServingConfig

MULTIPLYING = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
"""The number of an engine's GPUs is their product."""

WITHIN = frozenset({
    "decode_context_parallel_size", "dcp_comm_backend", "dcp_q_replicate", "dcp_kv_cache_interleave_size",
    "cp_kv_cache_interleave_size", "enable_expert_parallel", "enable_batch_sharded_sampling", "enable_ep_weight_filter",
    "all2all_backend", "enable_dbo", "ubatch_size", "dbo_decode_token_threshold", "dbo_prefill_token_threshold",
    "eplb_config", "enable_eplb", "expert_placement_strategy", "max_parallel_loading_workers",
    "disable_custom_all_reduce", "ray_workers_use_nsight", "worker_cls", "worker_extension_cls",
    "distributed_timeout_seconds", "cpu_distributed_timeout_seconds", "numa_bind", "numa_bind_nodes", "numa_bind_cpus",
    "fault_tolerance_config", "enable_fault_tolerance",
})  # fmt: skip
"""Arguments that only say what the same workers do: decode context and expert parallel divide the ranks that exist."""

_DATA_PARALLEL = "Set `serving.num_replicas`: Ray Serve runs the replicas and spreads the requests over them."
_RAY_PLACES = "Leave it out: Ray starts the engine's processes and places them."
REFUSED = {
    "data_parallel_size": _DATA_PARALLEL,
    "data_parallel_size_local": _DATA_PARALLEL,
    "data_parallel_rank": _DATA_PARALLEL,
    "data_parallel_rank_local": _DATA_PARALLEL,
    "data_parallel_start_rank": _DATA_PARALLEL,
    "data_parallel_address": _DATA_PARALLEL,
    "data_parallel_master_ip": _DATA_PARALLEL,
    "data_parallel_master_port": _DATA_PARALLEL,
    "data_parallel_rpc_port": _DATA_PARALLEL,
    "data_parallel_backend": _DATA_PARALLEL,
    "data_parallel_external_lb": _DATA_PARALLEL,
    "data_parallel_supervisor_port": _DATA_PARALLEL,
    "data_parallel_hybrid_lb": _DATA_PARALLEL,
    "data_parallel_multi_port_external_lb": _DATA_PARALLEL,
    "disable_nccl_for_dp_synchronization": _DATA_PARALLEL,
    "enable_elastic_ep": _DATA_PARALLEL,
    "nnodes": _RAY_PLACES,
    "node_rank": _RAY_PLACES,
    "master_addr": _RAY_PLACES,
    "master_port": _RAY_PLACES,
    "distributed_executor_backend": _RAY_PLACES,
    "ray_runtime_env": _RAY_PLACES,
    "placement_group": _RAY_PLACES,
    "assigned_physical_gpu_ids": _RAY_PLACES,
}
_HARMLESS = {
    "data_parallel_size": 1,
    "data_parallel_size_local": 1,
    "nnodes": 1,
    "node_rank": 0,
    "data_parallel_rank": 0,
}
"""Values that say what is so anyway."""


def num_devices(config: ServingConfig) -> int:
    """GPUs that one engine is spread over."""
    product = 1
    for key in MULTIPLYING:
        product *= _size(config.engine_kwargs, key)
    return product


def check_parallel(config: ServingConfig) -> None:
    """Raises TandemError for an argument that would change the number or the place of an engine's processes."""
    for key, value in config.engine_kwargs.items():
        if key.startswith("_") or (key in REFUSED and _HARMLESS.get(key, ...) != value):
            raise TandemError(
                f"serving.engine_kwargs sets {key} to {value!r}, which this endpoint cannot deploy.",
                f"An engine is spread over GPUs by {', '.join(MULTIPLYING)}.",
                REFUSED.get(key, f"Remove {key} from serving.engine_kwargs."),
            )
    for key in MULTIPLYING:
        _size(config.engine_kwargs, key)


def gpu_placement(
    config: ServingConfig, hardware: Hardware, gpu_share: float = 1.0
) -> tuple[list[dict[str, float]], str]:
    """The bundles of an engine's placement group and Ray's strategy for them.

    The bundles come in the order of vLLM's ranks, in which the ranks of a pipeline stage follow each other. An engine
    that fits a node is kept on it (STRICT_PACK). Otherwise each node holds whole pipeline stages: PACK fills a node
    before it takes the next, and `check_placement` refuses sizes that would split a stage.

    Args:
        gpu_share: part of a GPU that an engine of one device takes.
    """
    devices = num_devices(config)
    if hardware.kind == "cpu":
        return [{"CPU": 1.0}], "PACK"
    bundles = [{"CPU": 1.0, "GPU": gpu_share}, *[{"GPU": 1.0}] * (devices - 1)]
    stage = devices // _size(config.engine_kwargs, "pipeline_parallel_size")
    most = most_gpus_of_a_node(hardware)
    fits = devices <= most if most else devices == stage and not config.tensor_parallel_across_nodes
    return bundles, "STRICT_PACK" if fits else "PACK"


def check_placement(config: ServingConfig, hardware: Hardware) -> None:
    """Raises TandemError where the ranks of a tensor-parallel group would lie on several nodes."""
    devices, tensor = num_devices(config), _size(config.engine_kwargs, "tensor_parallel_size")
    most = most_gpus_of_a_node(hardware)
    if not most or devices <= most or config.tensor_parallel_across_nodes:
        return
    stages = devices // (tensor * _size(config.engine_kwargs, "prefill_context_parallel_size"))
    if tensor > most:
        raise TandemError(
            f"tensor_parallel_size is {tensor}, and the largest node has {most} GPUs: every layer would wait for the "
            "network between nodes.",
            f"A tensor_parallel_size of at most {most}.",
            f"Set tensor_parallel_size to {most} and pipeline_parallel_size to {-(-devices // most)} in "
            "`serving.engine_kwargs`, or set `serving.tensor_parallel_across_nodes: true`.",
        )
    if stages > 1 and any(len(node.gpus) % tensor for node in hardware.gpu_nodes):
        sizes = sorted({len(node.gpus) for node in hardware.gpu_nodes})
        raise TandemError(
            f"The {stages} pipeline stages of {tensor} GPUs each do not fit whole into nodes with "
            f"{' or '.join(map(str, sizes))} GPUs: a tensor-parallel group would lie on two nodes.",
            "A tensor_parallel_size that divides the GPUs of every node.",
            "Change tensor_parallel_size and pipeline_parallel_size in `serving.engine_kwargs`, or set "
            "`serving.tensor_parallel_across_nodes: true`.",
        )


def most_gpus_of_a_node(hardware: Hardware) -> int:
    """GPUs of the largest node; 0 where no GPU node is up."""
    return max((len(node.gpus) for node in hardware.nodes), default=0)


def _size(users: dict[str, Any], key: str) -> int:
    value = users.get(key, 1)
    if type(value) is not int or value < 1:
        raise TandemError(
            f"serving.engine_kwargs sets {key} to {value!r}.",
            "A whole number of GPUs, from 1.",
            "Correct the number, or remove it.",
        )
    return value
