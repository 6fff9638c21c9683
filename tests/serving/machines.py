"""Machines that nobody has to have: those of `tests.machines`, and GPUs that serving treats in a way of their own."""

from cluster.hardware import Gpu, Hardware, Node
from tests import machines

GIB = machines.GIB
A10 = machines.gpu("NVIDIA A10", 24, (8, 6))
A100 = machines.gpu("NVIDIA A100-SXM4-80GB", 80, (8, 0))
H100 = machines.gpu()
B200 = machines.gpu("NVIDIA B200", 180, (10, 0))
H200 = machines.H200
V100 = machines.gpu("Tesla V100-SXM2-16GB", 16, (7, 0))


def node(*gpus: Gpu) -> Node:
    return Node(64, 512 * GIB, gpus)


CPU = machines.NO_GPU
WITHOUT_BF16 = Hardware((Node(8, 16 * GIB, cpu_has_bf16=False),))
ONE_A10 = Hardware((node(A10),))
ONE_H200 = machines.ONE_H200
EIGHT_H100 = machines.EIGHT_H100
TWO_NODES = machines.TWO_NODES
HEAD_WITHOUT_GPUS = machines.HEAD_OVER_GPU_NODES
AUTOSCALED = machines.AUTOSCALING
ALL = {
    "cpu": CPU, "1 x 24 GB": ONE_A10, "1 x H200": ONE_H200, "8 x H100": EIGHT_H100, "2 x 8 x H100": TWO_NODES,
    "head without GPUs": HEAD_WITHOUT_GPUS, "autoscaled to 4": AUTOSCALED,
}  # fmt: skip
