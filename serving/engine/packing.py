"""How many GPUs engines and retrievers take together: one calculation for placing them, for waiting, and for pods."""

import math
from dataclasses import dataclass

from cluster.hardware import Hardware
from serving.config import ServingConfig
from serving.engine.parallel import most_gpus_of_a_node, num_devices

PRECISION = 1e4
"""Ray counts resources in ten-thousandths."""
_EPSILON = 1e-9


@dataclass(frozen=True)
class GpuDemand:
    """Engines, and the retrievers beside them. A part of a GPU lies on one GPU, so each has room for a whole number."""

    num_engines: int
    devices: int = 1
    """GPUs that an engine is spread over."""

    share: float = 1.0
    """What an engine of one device takes of its GPU."""

    reserved: float = 0.0
    """What the retrievers take: a part of one GPU, or whole GPUs."""

    @property
    def num_gpus(self) -> int:
        """The fewest GPUs that have room for everything."""
        rest = max(0, self.num_engines * self.devices - self._num_beside_retrievers)
        return self._num_with_retrievers + math.ceil(rest / self._num_on_a_gpu)

    def room(self, hardware: Hardware) -> int:
        """Engines that the hardware has room for.

        An engine that fits a node stays on it (`gpu_placement`), so that what a node has left over is of no use to it.
        What an autoscaler adds is counted in GPUs: nothing says yet how they are divided into nodes.
        """
        left = hardware.most_gpus - self._num_with_retrievers
        by_number = (self._num_beside_retrievers + left * self._num_on_a_gpu) // self.devices if left >= 0 else 0
        if hardware.max_gpus > hardware.num_gpus or self.devices > most_gpus_of_a_node(hardware):
            return by_number
        return min(by_number, sum(len(node.gpus) // self.devices for node in hardware.gpu_nodes) * self._num_on_a_gpu)

    def fits(self, hardware: Hardware) -> bool:
        return self.num_engines <= self.room(hardware)

    def num_pods(self, gpus: int) -> int:
        """Pods of so many GPUs, at least those of one engine; without GPUs each engine has a pod to itself."""
        if not gpus:
            return self.num_engines
        by_nodes = 0 if self.devices == 1 else math.ceil(self.num_engines / (gpus // self.devices))
        return max(math.ceil(self.num_gpus / gpus), by_nodes)

    @property
    def _num_on_a_gpu(self) -> int:
        return int(1 / self.share + _EPSILON) if self.devices == 1 else 1

    @property
    def _num_with_retrievers(self) -> int:
        return math.ceil(self.reserved - _EPSILON)

    @property
    def _num_beside_retrievers(self) -> int:
        """Engines that the last GPU of the retrievers has room for."""
        left = self._num_with_retrievers - self.reserved
        return int(left / self.share + _EPSILON) if self.devices == 1 else 0


def gpu_demand(config: ServingConfig, retrieves: bool, num_replicas: int | None = None) -> GpuDemand:
    """What the endpoint takes of GPUs.

    An engine takes a whole GPU where `serving.gpus_per_engine` says nothing. The only one leaves retrievers their part
    of the same GPU.

    Args:
        num_replicas: engines of each base model, by default those that it starts with.
    """
    replicas = config.num_replicas.min if num_replicas is None else num_replicas
    engines, devices = max(1, len(config.models)) * max(1, replicas), num_devices(config)
    reserved = reserved_gpus(config) if retrieves else 0.0
    share = config.gpus_per_engine or 1.0
    if config.gpus_per_engine is None and engines * devices == 1 and reserved < 1:
        share = equal_share(1, 1, reserved)
    return GpuDemand(engines, devices, share, reserved)


def equal_share(num_engines: int, num_gpus: int, reserved: float) -> float:
    """The part of a GPU that each of these engines gets, where all get the same.

    On several GPUs none of them is beside a retriever, since Ray chooses which engines meet.
    """
    if num_gpus == 1:
        return rounded_down((1 - reserved) / num_engines)
    return rounded_down(1 / math.ceil(num_engines / (num_gpus - math.ceil(reserved))))


def left_for_engines(num_gpus: int, reserved: float) -> float:
    """GPUs, or the part of the only one, that engines may share; not above 0 where there is nothing left."""
    return num_gpus - (reserved if num_gpus == 1 else math.ceil(reserved))


def retriever_gpus(config: ServingConfig) -> int:
    """GPUs that the retrievers take together where they share as few as they can."""
    if not config.gpus_per_retriever:
        return 0
    sharing = int(1 / config.gpus_per_retriever + _EPSILON)
    return math.ceil(max(1, config.num_retrievers.min) / sharing)


def reserved_gpus(config: ServingConfig) -> float:
    """What the retrievers leave to nobody else: the part of one GPU that they share, or whole GPUs."""
    together = config.gpus_per_retriever * max(1, config.num_retrievers.min)
    return together if together <= 1 else float(retriever_gpus(config))


def rounded_down(part: float) -> float:
    """A part of a GPU as Ray counts it."""
    return math.floor(PRECISION * part + 1e-6) / PRECISION
