"""The all-reduce: run over gloo, and judged over NCCL from described machines and NCCL's own words."""

import os
from pathlib import Path

import pytest

from cluster.preflight import collective
from cluster.preflight.collective import Measured, collective_finding, least_gb_s
from cluster.preflight.nccl_log import nccl_log, read_nccl_log

H100, A100, H100_PCIE = (
    ("NVIDIA H100 80GB HBM3", (9, 0)),
    ("NVIDIA A100-SXM4-80GB", (8, 0)),
    ("NVIDIA H100 PCIe", (9, 0)),
)
L4, B200, RTX = ("NVIDIA L4", (8, 9)), ("NVIDIA B200", (10, 0)), ("NVIDIA GeForce RTX 5090", (12, 0))

RDMA = """\
node-0:411:702 [0] NCCL INFO NET/Plugin: Could not find: libnccl-net.so. Using internal network plugin.
node-0:411:702 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB eth0:10.8.0.4<0>
node-0:411:702 [0] NCCL INFO Using network IB
node-0:411:702 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0/GDRDMA
node-0:411:702 [0] NCCL INFO Channel 00/0 : 0[0] -> 7[7] via P2P/CUMEM
node-0:411:702 [0] NCCL INFO Connected all rings
"""
NO_GPU_DIRECT = RDMA.replace("/GDRDMA", "")
TCP = """\
node-0:411:702 [0] NCCL INFO NET/IB : No device found.
node-0:411:702 [0] NCCL INFO NET/Socket : Using [0]eth0:10.8.0.4<0> [1]net1:10.9.0.4<0>
node-0:411:702 [0] NCCL INFO Initialized NET plugin Socket
node-0:411:702 [0] NCCL INFO Assigned NET plugin Socket to comm
node-0:411:702 [0] NCCL INFO Using network Socket
node-0:411:702 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/Socket/0
"""
LOCKED = """\
node-1:88:120 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB eth0:10.8.0.5<0>
node-1:88:120 [0] NCCL INFO Using network IB

node-1:88:131 [0] misc/ibvwrap.cc:282 NCCL WARN Call to ibv_reg_mr_iova2 failed with error Cannot allocate memory
"""
EFA = """\
ip-10-0-1-7:900:931 [3] NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 32 nics)
ip-10-0-1-7:900:931 [3] NCCL INFO Using network AWS Libfabric
ip-10-0-1-7:900:931 [3] NCCL INFO Channel 00/0 : 8[0] -> 0[0] [receive] via NET/AWS Libfabric/0/GDRDMA
"""
SHARED_MEMORY = "w:1:9 [1] NCCL INFO Channel 01/0 : 1[1] -> 0[0] via SHM/direct/direct\n"


@pytest.mark.parametrize(
    ("log", "network", "devices", "is_tcp", "has_gpu_direct"),
    [
        (RDMA, "IB", ("mlx5_0:1/IB", "mlx5_1:1/IB"), False, True),
        (NO_GPU_DIRECT, "IB", ("mlx5_0:1/IB", "mlx5_1:1/IB"), False, False),
        (TCP, "Socket", ("eth0:10.8.0.4<0>", "net1:10.9.0.4<0>"), True, False),
        (RDMA + TCP, "Socket", ("eth0:10.8.0.4<0>", "net1:10.9.0.4<0>"), True, False),
        (EFA, "AWS Libfabric", (), False, True),
        ("", "", (), False, False),
        ("a line that NCCL did not write\n", "", (), False, False),
    ],
)
def test_the_network_is_read_from_the_log(
    log: str, network: str, devices: tuple[str, ...], is_tcp: bool, has_gpu_direct: bool
) -> None:
    way = read_nccl_log(log)
    assert (way.network, way.devices, way.is_tcp, way.has_gpu_direct) == (network, devices, is_tcp, has_gpu_direct)


def test_the_way_inside_a_node_is_read_from_the_log() -> None:
    assert read_nccl_log(SHARED_MEMORY).describe_node() == "through main memory"
    assert read_nccl_log(RDMA).describe_node() == "directly between GPUs, through the network"


def test_the_log_is_that_of_the_block() -> None:
    """A process has one file, which NCCL appends to."""
    texts = []
    for word in ("first", "second"):
        with nccl_log() as log, Path(os.environ["NCCL_DEBUG_FILE"]).open("a") as file:
            file.write(word)
        texts.append(log[0])
    assert texts == ["first", "second"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `nccl_log` sets is as before after each test."""
    for name in ("NCCL_DEBUG", "NCCL_DEBUG_SUBSYS", "NCCL_DEBUG_FILE"):
        monkeypatch.setenv(name, "")


def measured(gb_s: float, size: int, machine: tuple[str, tuple[int, int]], log: str = "") -> list[Measured]:
    seconds = 2 * (size - 1) / size * collective.NUM_BYTES["nccl"] / gb_s / 1e9
    return [Measured((seconds,), *machine, log) for _ in range(size)]


@pytest.mark.parametrize(
    ("machine", "gb_s", "log", "status", "words"),
    [
        (H100, 1.1, TCP, "warning", ("over TCP", "k8s/components/rdma", "20 GB/s is the least")),
        (H100, 45.0, RDMA, "ok", ("over IB with GPUDirect (mlx5_0:1/IB",)),
        (H100, 12.0, NO_GPU_DIRECT, "warning", ("over IB without GPUDirect", "nvidia-peermem")),
        (H100, 45.0, LOCKED, "warning", ("ibv_reg_mr_iova2 failed", "memory that may be locked")),
        (B200, 19.9, RDMA, "warning", ("20 GB/s is the least",)),
        (A100, 12.0, RDMA, "ok", ()),
        (A100, 3.0, TCP, "warning", ("over TCP",)),
        (L4, 1.1, TCP, "ok", ("over TCP",)),
        (H100, 40.0, EFA, "ok", ("over AWS Libfabric with GPUDirect",)),
        (H100, 40.0, "", "ok", ()),
    ],
)
def test_between_nodes_the_network_is_judged_by_the_gpus(
    machine: tuple[str, tuple[int, int]], gb_s: float, log: str, status: str, words: tuple[str, ...]
) -> None:
    found = collective_finding("nccl", measured(gb_s, 16, machine, log), "2 nodes", is_between_nodes=True)
    assert found.status == status
    assert all(word in f"{found.seen} {found.remedy}" for word in words), found


@pytest.mark.parametrize(
    ("machine", "gb_s", "status"),
    [
        (H100, 350.0, "ok"), (H100, 40.0, "warning"), (H100_PCIE, 40.0, "ok"), (A100, 20.0, "warning"),
        (L4, 10.0, "ok"), (RTX, 10.0, "ok"), (RTX, 1.0, "warning"),
    ],
)  # fmt: skip
def test_inside_a_node_nvlink_is_told_from_pcie(machine: tuple[str, tuple[int, int]], gb_s: float, status: str) -> None:
    found = collective_finding("nccl", measured(gb_s, 8, machine, SHARED_MEMORY), "one node")
    assert found.status == status and "through main memory" in found.seen


def test_the_slowest_rank_and_the_most_demanding_gpu_decide() -> None:
    ranks = [*measured(50.0, 2, H100)[:1], *measured(5.0, 2, L4)[:1]]
    found = collective_finding("nccl", ranks, "2 nodes", is_between_nodes=True)
    assert found.status == "warning" and found.values["bus_gb_s"] == 5.0
    assert least_gb_s(*H100, is_between_nodes=True) == 20.0


@pytest.mark.slow
def test_two_processes_add_up_and_their_speed_is_told() -> None:
    (found,) = collective.check_all_reduce()
    assert found.status in ("ok", "warning") and found.values["bus_gb_s"] > 0 and found.values["ranks"] == 2


def test_the_bandwidth_is_that_of_nccl_tests() -> None:
    assert collective.bandwidth([1.0, 2.0, 9.0], size=4, num_bytes=4 * 10**9) == pytest.approx(3.0)
