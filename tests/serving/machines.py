"""Machines that nobody has to have: what decisions are tested for."""

from cluster.hardware import Gpu, Hardware, Node

GIB = 2**30
A10 = Gpu("NVIDIA A10", 24 * GIB, (8, 6))
A100 = Gpu("NVIDIA A100-SXM4-80GB", 80 * GIB, (8, 0))
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, (9, 0))
H200 = Gpu("NVIDIA H200", 141 * GIB, (9, 0))
B200 = Gpu("NVIDIA B200", 180 * GIB, (10, 0))
V100 = Gpu("Tesla V100-SXM2-16GB", 16 * GIB, (7, 0))


def node(*gpus: Gpu) -> Node:
    return Node(64, 512 * GIB, gpus)


CPU = Hardware((node(),))
WITHOUT_BF16 = Hardware((Node(8, 16 * GIB, cpu_has_bf16=False),))
ONE_A10 = Hardware((node(A10),))
ONE_H200 = Hardware((node(H200),))
EIGHT_H100 = Hardware((node(*[H100] * 8),))
TWO_NODES = Hardware((node(*[H100] * 8), node(*[H100] * 8)))
HEAD_WITHOUT_GPUS = Hardware((node(), *TWO_NODES.nodes))
AUTOSCALED = Hardware((node(),), max_gpus=4)
ALL = {
    "cpu": CPU, "1 x 24 GB": ONE_A10, "1 x H200": ONE_H200, "8 x H100": EIGHT_H100, "2 x 8 x H100": TWO_NODES,
    "head without GPUs": HEAD_WITHOUT_GPUS, "autoscaled to 4": AUTOSCALED,
}  # fmt: skip
