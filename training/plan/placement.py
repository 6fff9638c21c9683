"""What a training runs on: GPUs or CPUs, how many workers, and on how many nodes. Decided once, before anything starts.

`place_workers` is a pure function of the settings and the hardware. The workers get what it decided with their job, and
do not look again: PyTorch sees the GPUs of a node also in a worker to which Ray has given none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cluster.errors import TandemError
from cluster.hardware import Hardware, Node
from training.config import AutoWorkers, TrainingConfig, WorkerRange

Kind = Literal["cpu", "gpu"]
# PyTorch 2.13 reads the first of these that is set (c10/cuda/CUDAAllocatorConfig.h).
_ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


@dataclass(frozen=True)
class WorkerDevice:
    """The device that one worker trains on, with the memory it has for it."""

    kind: str
    """`gpu` or `cpu`."""

    name: str
    memory_bytes: int
    host_bytes: int
    """Main memory for one worker's offloaded state; on CPU the same memory as `memory_bytes`."""

    has_bf16: bool = True
    """Whether it has instructions for bfloat16."""


@dataclass(frozen=True)
class Placement:
    """What the workers of a training run on, as their job says it."""

    kind: Kind = "cpu"
    gpus_per_worker: int = 0
    workers_per_node: int = 0
    """Workers on the node that has the fewest, of those that are needed; 0 where the nodes are not known."""

    num_nodes: int = 1
    """Nodes that the most workers take; 1 where they are not known."""

    @property
    def backend(self) -> str:
        """The library of the collective operations."""
        return "nccl" if self.kind == "gpu" else "gloo"


ON_CPU = Placement()


def resolve_workers(config: TrainingConfig, hardware: Hardware) -> TrainingConfig:
    """The settings with a number of workers instead of `auto`: one for each GPU that is free, or two without GPUs.

    Where no GPU node is up, there is one until the first has come: an autoscaler may bring more than a training is to
    cost. Trials of a tuning that run at the same time share the GPUs.

    Raises:
        TandemError: as `place_workers`.
    """
    if not isinstance(config.workers, AutoWorkers):
        return config
    workers = WorkerRange(min=2, max=2)
    if training_kind(config, hardware) == "gpu":
        room = (hardware.num_gpus - hardware.num_taken) // gpus_per_worker(config)
        room = min(room, sum(_all_slots(hardware, gpus_per_worker(config))))
        number = max(1, room // (config.tune.max_concurrent if config.tune else 1))
        workers = WorkerRange(min=number, max=number)
    return config.model_copy(update={"workers": workers})


def place_workers(config: TrainingConfig, hardware: Hardware) -> Placement:
    """What the workers of a training run on; `config` has their number.

    Raises:
        TandemError: the training asks for GPUs and there are none, or for more of them than there can be.
    """
    if training_kind(config, hardware) == "cpu":
        return ON_CPU
    per_worker, workers = gpus_per_worker(config), config.workers
    room = _room(hardware, per_worker, hardware.most_gpus)
    if hardware.gpu_nodes and not any(_all_slots(hardware, per_worker)):
        raise TandemError(
            f"`training.ray_options` gives each worker {per_worker} GPUs, and no node that is up has so many.",
            f"Up to {max(len(node.gpus) for node in hardware.gpu_nodes)}: the GPUs of a worker are on one node.",
            "Set `GPU` in `training.ray_options.resources_per_worker` to fewer, or start a node with so many.",
        )
    if workers.min > room:
        raise _too_few_gpus(workers.min, per_worker, room, hardware)
    on_nodes = _fill_nodes(hardware, per_worker, workers.max)
    return Placement("gpu", per_worker, min(on_nodes, default=0), max(1, len(on_nodes)))


def training_kind(config: TrainingConfig, hardware: Hardware) -> Kind:
    """GPUs where there are any or an autoscaler may add some, unless `ray_options` says otherwise.

    Raises:
        TandemError: `ray_options` asks for GPUs, and there are none.
    """
    options = config.ray_options
    asked = options.get("use_gpu")
    if asked is None and "GPU" in (options.get("resources_per_worker") or {}):
        asked = _asked_gpus(config) > 0
    if asked and hardware.kind == "cpu":
        raise TandemError(
            "`training.ray_options` asks for GPUs, and there are none.",
            "A machine or cluster with GPUs; where it has some, `nvidia-smi` lists them.",
            "Remove `use_gpu` and `GPU` from `training.ray_options`, or set `cluster.address` to a cluster with GPUs.",
        )
    return "cpu" if hardware.kind == "cpu" or asked is False else "gpu"


def gpus_per_worker(config: TrainingConfig) -> int:
    """GPUs of one worker on a GPU cluster: one, or what `ray_options` says.

    Raises:
        TandemError: it says a part of a GPU, which NCCL cannot use: each rank needs a GPU to itself.
    """
    number = _asked_gpus(config)
    if number != int(number) or number < 1:
        raise _no_such_share(f"{number:g}")
    return int(number)


def _asked_gpus(config: TrainingConfig) -> float:
    number = (config.ray_options.get("resources_per_worker") or {}).get("GPU", 1)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise _no_such_share(repr(number))
    return float(number)


def _no_such_share(number: str) -> TandemError:
    return TandemError(
        f"`training.ray_options` gives each worker {number} GPUs.",
        "A whole number: NCCL refuses two workers on one GPU.",
        "Set `training.workers` to the number of GPUs, and remove `GPU` from `resources_per_worker`.",
    )


def workers_device(config: TrainingConfig, placement: Placement, hardware: Hardware) -> WorkerDevice:
    """The device of each worker: the GPU with the least free memory, and its share of its node's main memory.

    GPUs that Ray has given to other work are not looked at; they are taken to be the fullest. On CPU it is a share of
    the first node's memory, which is this machine's.

    Raises:
        TandemError: the workers take GPUs, and no GPU node is up.
    """
    if placement.kind == "cpu":
        node = hardware.nodes[0]
        share = node.host_bytes // config.workers.max
        return WorkerDevice("cpu", "this machine", share, share, node.cpu_has_bf16)
    gpu = hardware.smallest_gpu
    if gpu is None:
        raise TandemError(
            "The training takes GPUs, and no GPU node is up.",
            "A node with a GPU: what fits is planned for its memory.",
            "Start one, or run the command again when the autoscaler has brought one.",
        )
    on_node = [(node, _slots(node, placement.gpus_per_worker)) for node in hardware.gpu_nodes]
    host = min(node.host_bytes // min(slots, config.workers.max) for node, slots in on_node if slots)
    free = sorted(each.memory_bytes - each.used_bytes for each in hardware.gpus)
    least = free[min(hardware.num_taken, len(free) - 1)]
    return WorkerDevice("gpu", gpu.name, least, host, hardware.has_bf16)


def worker_environment(placement: Placement, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of the workers' processes, set before they import anything.

    Ray leaves a worker without GPUs those of its node, and DeepSpeed takes a GPU that it sees.

    On GPUs, packs change their shape from step to step, and memory segments of a fixed size would leave gaps that no
    later tensor fits: expandable ones grow instead (docs.pytorch.org/docs/stable/notes/cuda.html).

    Args:
        inherited: the environment that the training was started in; a setting of PyTorch's allocator in it is kept.
    """
    if placement.kind == "cpu":
        return {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # in which CUDA_VISIBLE_DEVICES counts, as the driver lists them
    kept = {name: value for name in _ALLOCATOR_VARIABLES if (value := (inherited or {}).get(name))}
    return order | (kept or {_ALLOCATOR_VARIABLES[-1]: "expandable_segments:True"})


def _room(hardware: Hardware, per_worker: int, num_gpus: int) -> int:
    """Workers that so many GPUs are enough for. A worker's GPUs are on one node, which counts where nodes are known."""
    return num_gpus // per_worker if num_gpus > hardware.num_gpus else sum(_all_slots(hardware, per_worker))


def _fill_nodes(hardware: Hardware, per_worker: int, num_workers: int) -> list[int]:
    """Workers on each node that is taken, the largest nodes first."""
    taken: list[int] = []
    for slots in sorted(filter(None, _all_slots(hardware, per_worker)), reverse=True):
        if sum(taken) < num_workers:
            taken.append(min(slots, num_workers - sum(taken)))
    return taken


def _all_slots(hardware: Hardware, per_worker: int) -> list[int]:
    return [_slots(node, per_worker) for node in hardware.nodes]


def _slots(node: Node, per_worker: int) -> int:
    return len(node.gpus) // per_worker


def _too_few_gpus(num_workers: int, per_worker: int, room: int, hardware: Hardware) -> TandemError:
    each = "a GPU" if per_worker == 1 else f"{per_worker} GPUs on one node"
    there = f"{hardware.num_gpus} GPUs" if hardware.num_gpus != 1 else "1 GPU"
    later = f", and the autoscaler brings at most {hardware.max_gpus}" if hardware.max_gpus else ""
    return TandemError(
        f"`training.workers` asks for {num_workers} workers with {each} each, and the cluster has {there}{later}.",
        f"Up to {room} workers here. A training never moves to CPUs by itself.",
        f"Set `training.workers: {room}` or leave it out, raise `training.gradient_accumulation` to keep the global "
        "batch, or set `training.ray_options: {use_gpu: false}` to train on CPUs.",
    )
