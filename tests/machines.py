"""Machines that are not at hand, described: for tests of decisions that depend on hardware."""

from cluster.hardware import Gpu, Hardware, Node

GIB = 2**30


def gpu(name: str = "NVIDIA H100 80GB HBM3", gib: float = 79.6, capability: tuple[int, int] = (9, 0)) -> Gpu:
    return Gpu(name, round(gib * GIB), capability, "580.95.05")


def node(num_gpus: int, each: Gpu | None = None, host_gib: int = 1800, num_cpus: int = 192) -> Node:
    return Node(num_cpus, host_gib * GIB, (each or gpu(),) * num_gpus)


H200 = gpu("NVIDIA H200", 139.8)
L4 = gpu("NVIDIA L4", 22.5, (8, 9))
HEAD = Node(4, 14 * GIB)

NO_GPU = Hardware((Node(2, 23 * GIB),))
ONE_L4 = Hardware((node(1, L4, host_gib=60, num_cpus=16),))
ONE_H200 = Hardware((node(1, H200, host_gib=120, num_cpus=16),))
EIGHT_H100 = Hardware((node(8),))
TWO_NODES = Hardware((node(8), node(8)))
HEAD_OVER_GPU_NODES = Hardware((HEAD, node(8), node(8)))
AUTOSCALING = Hardware((HEAD,), max_gpus=4)

MACHINES = {
    "no GPU": NO_GPU,
    "1 x 24 GB": ONE_L4,
    "1 x H200": ONE_H200,
    "8 x H100": EIGHT_H100,
    "2 x 8 x H100": TWO_NODES,
    "head over GPU nodes": HEAD_OVER_GPU_NODES,
    "autoscaling to 4": AUTOSCALING,
}


def nodes(num_gpus: int) -> Hardware:
    """One node with so many GPUs."""
    return Hardware((node(num_gpus),))
