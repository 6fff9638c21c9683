"""How many requests an engine takes and how long they may be, where the project file does not say.

On a CPU these are Tandem's numbers. On a GPU they are vLLM's own: they follow the memory of the GPU, and an engine that
shares one takes the numbers of a GPU with as much memory as its part.
"""

from dataclasses import dataclass

from cluster.errors import TandemError
from cluster.hardware import Gpu, Hardware
from serving.config import ServingConfig

GIB = 2**30
CPU_SEQS = 64
CPU_MODEL_LEN = 2048
AUTO_LEN = -1
"""vLLM's sign for the longest sequence that the model was made for and the cache has room for (config/model.py)."""

MAX_SEQS, FEWER_SEQS = 1024, 256
MANY_FROM_BYTES = 70 * GIB
ALWAYS_MANY_FROM_BYTES = 160 * GIB
BATCHED_TOKENS = 2048
"""Most tokens of a step on a GPU with less memory (vLLM 0.29, engine/arg_utils.py, get_batch_defaults)."""

START_S = 600.0
READ_BYTES_PER_S = 100e6
"""A slow network file system, so that a slow start is not taken for one that failed. Not measured."""


@dataclass(frozen=True)
class RequestLimits:
    """Requests of one engine replica."""

    max_num_seqs: int
    """In a batch."""
    max_ongoing_requests: int
    """In the replica, those that wait inside the engine included."""
    max_queued_requests: int
    """Waiting for a replica."""


def request_limits(config: ServingConfig, hardware: Hardware, gpu_share: float = 1.0) -> RequestLimits:
    """The limits that the project file sets, and those of the hardware where it sets none.

    Args:
        gpu_share: part of a GPU that the engine takes.
    """
    on_gpu = hardware.kind == "gpu"
    in_batch = config.max_num_seqs or (_default_on_gpu(config, hardware, gpu_share) if on_gpu else CPU_SEQS)
    # While a batch is computed the next one waits in the engine, which fills free places at every step.
    ongoing = config.max_ongoing_requests or (2 * in_batch if on_gpu else CPU_SEQS)
    queued = config.max_queued_requests
    if queued is None:
        queued = ongoing if on_gpu else CPU_SEQS
    return RequestLimits(in_batch, ongoing, queued)


def vllm_max_num_seqs(gpu: Gpu, gpu_share: float = 1.0) -> int:
    """Requests in a batch that vLLM 0.29 takes on a GPU as a server (engine/arg_utils.py, get_batch_defaults)."""
    memory = gpu.memory_bytes * gpu_share
    if memory >= ALWAYS_MANY_FROM_BYTES or (memory >= MANY_FROM_BYTES and "a100" not in gpu.name.lower()):
        return MAX_SEQS
    return FEWER_SEQS


def _default_on_gpu(config: ServingConfig, hardware: Hardware, gpu_share: float) -> int:
    """vLLM takes no more requests than tokens in a step, and twice its default with `performance_mode: throughput`."""
    users = config.engine_kwargs
    # Where no GPU node is up nothing is known of the GPUs: the lower number runs on all of them.
    default = min((vllm_max_num_seqs(gpu, gpu_share) for gpu in hardware.gpus), default=FEWER_SEQS)
    if users.get("performance_mode") == "throughput":
        default *= 2
    tokens = users.get("max_num_batched_tokens")
    if tokens is None:
        return default
    if type(tokens) is not int or tokens < 1:
        raise TandemError(
            f"serving.engine_kwargs sets max_num_batched_tokens to {tokens!r}.",
            "A whole number of tokens, from 1.",
            "Correct the number, or remove it.",
        )
    return min(default, tokens)


def model_len_argument(config: ServingConfig, hardware: Hardware, model_limit: int | None) -> int:
    """vLLM's `max_model_len`, in tokens; AUTO_LEN lets vLLM find what fits.

    Args:
        model_limit: the longest sequence that the model was made for, where that is known.
    """
    if config.max_model_len is None and hardware.kind == "gpu":
        return AUTO_LEN
    wanted = config.max_model_len or CPU_MODEL_LEN
    return min(wanted, model_limit or wanted)


def longest_request(config: ServingConfig, hardware: Hardware, model_limit: int | None) -> int | None:
    """Most tokens of a request that can be served, answer included; None where only the engine will know."""
    length = model_len_argument(config, hardware, model_limit)
    return model_limit if length == AUTO_LEN else length


def start_timeout_s(config: ServingConfig, num_models: int, weights_bytes: int | None) -> float:
    """Seconds until the endpoint must be ready.

    Args:
        num_models: base models, whose engines may have to start one after the other.
        weights_bytes: of all base models together; None where a model is still to be downloaded, which may take an
            hour.
    """
    if config.start_timeout_s is not None:
        return config.start_timeout_s
    return START_S * num_models + (3600.0 if weights_bytes is None else weights_bytes / READ_BYTES_PER_S)
