"""Our settings as Ray Serve's options of each deployment. Pure: nothing here imports Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.hardware import Hardware
from serving.config import Replicas, ServingConfig
from serving.engine.engine_args import engine_environment
from serving.engine.limits import request_limits
from serving.engine.model_files import ModelFiles
from serving.engine.parallel import gpu_placement
from serving.engine.sharing import GpuShare

IDLE_S = 300
MAX_RETRIEVALS = 64
"""Questions that one retriever has at a time: as many as it embeds in a batch."""
LIMITER_CPUS = 0.01
"""Taken from the gateway's. With none at all it could be put on a head that has none, and would be lost with it."""
PREFIX_ROUTER = "serving.engine.prefix_router.PrefixRouter"
# Ray Serve's own switches for replicas whose code never blocks: it runs in the replica's event loop instead of a thread
# of its own, log lines are written in groups and to files only, and what stands at the start is no garbage.
FAST_PATH = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
}


def engine_options(
    config: ServingConfig, hardware: Hardware, name: str, share: GpuShare | None = None
) -> dict[str, Any]:
    """Ray Serve's options of an engine deployment; `share` is what it takes of a GPU, by default a whole one."""
    share = share or GpuShare()
    bundles, strategy = gpu_placement(config, hardware, share.gpus)
    limits = request_limits(config, hardware, share.gpus)
    environment = FAST_PATH | engine_environment(config, hardware)
    if hardware.kind == "gpu" and not share.is_whole:
        # vLLM's worker asks Ray for a whole GPU otherwise, which the bundle does not have (v1/executor).
        environment["VLLM_RAY_PER_WORKER_GPUS"] = str(share.gpus)
    return {
        "name": f"engine-{name}",
        **_scaled(config.num_replicas, limits.max_ongoing_requests),
        **_router(config.num_replicas),
        "max_ongoing_requests": limits.max_ongoing_requests,
        "max_queued_requests": _capacity(config, hardware, share),
        "ray_actor_options": {"num_cpus": 1, "runtime_env": {"env_vars": environment}},
        "placement_group_bundles": bundles,
        "placement_group_strategy": strategy,
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": config.drain_s + 5,
        "max_constructor_retry_count": 1,
    }


def _scaled(replicas: Replicas, most_requests: int) -> dict[str, Any]:
    """So many replicas, or as many as it takes for each to have half of the requests that it may have."""
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.max}
    scaling = {
        "min_replicas": replicas.min, "initial_replicas": max(1, replicas.min), "max_replicas": replicas.max,
        "target_ongoing_requests": max(1, most_requests // 2), "upscale_delay_s": 5, "downscale_delay_s": IDLE_S,
    }  # fmt: skip
    return {"autoscaling_config": scaling}


def _router(replicas: Replicas) -> dict[str, Any]:
    return {} if replicas.max == 1 else {"request_router_config": {"request_router_class": PREFIX_ROUTER}}


def max_requests(config: ServingConfig, hardware: Hardware, shares: Sequence[GpuShare] = (GpuShare(),)) -> int:
    """Requests in one gateway, which sheds what is above: as many as the engines work on, and those that may wait.

    Serve's own bound would not do: it counts a request as waiting until a replica has it, so that of a burst at an idle
    engine only as many are let in as may wait.

    Args:
        shares: what each base model's engines take of a GPU.
    """
    return max(1, sum(_capacity(config, hardware, share) for share in shares) // config.num_gateways)


def _capacity(config: ServingConfig, hardware: Hardware, share: GpuShare) -> int:
    limits = request_limits(config, hardware, share.gpus)
    return limits.max_ongoing_requests * config.num_replicas.max + limits.max_queued_requests


def gateway_options(config: ServingConfig, node: str | None = None) -> dict[str, Any]:
    """Options of the gateway. Requests reach its own port, so that Serve counts none of them.

    `node` is Ray's resource of the node whose address is asked (`node:10.0.0.7`); None lets Ray choose.
    """
    # A command often runs on a head that has no CPUs to give.
    place = {"num_cpus": 0, "resources": {node: 0.001}} if node else {"num_cpus": 1 - LIMITER_CPUS}
    return {
        "name": "gateway",
        "num_replicas": config.num_gateways,
        "ray_actor_options": {"runtime_env": {"env_vars": FAST_PATH}, **place},
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": config.drain_s + 5,
        "max_constructor_retry_count": 1,
    }


def retriever_options(
    config: ServingConfig, hardware: Hardware, shares: Sequence[GpuShare] = (GpuShare(),)
) -> dict[str, Any]:
    """Options of the deployment that embeds questions and searches; every request of the engines may ask it."""
    on_gpu = config.gpus_per_retriever > 0
    return {
        "name": "retriever",
        **_scaled(config.num_retrievers, MAX_RETRIEVALS),
        "max_ongoing_requests": MAX_RETRIEVALS,
        "max_queued_requests": max(_capacity(config, hardware, share) for share in shares),
        "ray_actor_options": {"num_cpus": 1} | ({"num_gpus": config.gpus_per_retriever} if on_gpu else {}),
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": 5,
        "max_constructor_retry_count": 1,
    }


def retriever_device(config: ServingConfig) -> str:
    """Where retrievers compute, as torch writes it; of several GPUs Ray shows each only its own."""
    return "cuda" if config.gpus_per_retriever else "cpu"


def limiter_options() -> dict[str, Any]:
    """Options of the deployment that counts what keys use: one replica, whose calls never wait."""
    return {
        "name": "limiter",
        "num_replicas": 1,
        "max_ongoing_requests": 10_000,
        "ray_actor_options": {"num_cpus": LIMITER_CPUS, "runtime_env": {"env_vars": FAST_PATH}},
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": 5,
    }


@dataclass(frozen=True)
class BaseSource:
    """A base model to serve: a folder or hub id, its digest, and what its files say."""

    source: str
    digest: str
    files: ModelFiles
    has_adapters: bool = True
    """Whether adapters can be served to it: vLLM can adapt its architecture, and `serving.adapters` allows it."""
    original: str | None = None
    """The digest of the model that this one is a copy of in other numbers; None where it is not known to be one."""
