"""An all-reduce between several processes: does it add up, and how fast is it.

python -m cluster.preflight.collective RANK SIZE ADDRESS:PORT BACKEND     # what one machine alone runs, twice
"""

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from cluster.preflight.finding import Finding
from cluster.preflight.nccl_log import nccl_log, read_nccl_log

NUM_BYTES = {"gloo": 16 * 2**20, "nccl": 256 * 2**20}
"""Enough for the bandwidth to count more than the way there."""

NUM_ROUNDS = 5
JOIN_S = 60.0
GLOO_GB_S = 0.05


@dataclass(frozen=True)
class Measured:
    """What one rank measured: seconds of each all-reduce, its GPU where it has one, and what NCCL wrote."""

    seconds: tuple[float, ...]
    gpu: str = ""
    capability: tuple[int, int] = (0, 0)
    log: str = ""


def all_reduce(rank: int, size: int, address: str, backend: str) -> Measured:
    """Take part in all-reduces of float32 on `address` (host:port of rank 0).

    The first, in which connections are made, is left out. Raises RuntimeError where the others do not come within
    JOIN_S or the sum is wrong, ValueError for a backend that PyTorch does not have.
    """
    import torch

    if backend != "nccl":
        return Measured(_reduce(rank, size, address, backend, torch.device("cpu")))
    device = torch.device("cuda", torch.cuda.current_device())
    with nccl_log() as log:
        seconds = _reduce(rank, size, address, backend, device)
    capability = torch.cuda.get_device_capability(device)
    return Measured(seconds, torch.cuda.get_device_name(device), capability, log[0])


def _reduce(rank: int, size: int, address: str, backend: str, device: Any) -> tuple[float, ...]:
    import torch
    import torch.distributed as distributed

    distributed.init_process_group(
        backend, init_method=f"tcp://{address}", rank=rank, world_size=size, timeout=timedelta(seconds=JOIN_S)
    )
    try:
        seconds: list[float] = []
        for _ in range(NUM_ROUNDS + 1):
            values = torch.full((NUM_BYTES[backend] // 4,), float(rank + 1), device=device)
            distributed.barrier()
            started = time.monotonic()
            distributed.all_reduce(values)
            total = float(values[-1].item())  # waits for the device
            seconds.append(time.monotonic() - started)
            if total != size * (size + 1) / 2:
                raise RuntimeError(f"the sum over {size} ranks is {total} instead of {size * (size + 1) / 2}")
        return tuple(seconds[1:])
    finally:
        distributed.destroy_process_group()


def bandwidth(seconds: Sequence[float], size: int, num_bytes: int) -> float:
    """GB/s that each rank sends and gets: 2 (n - 1) / n times the bytes, over the median time.

    It is what nccl-tests call bus bandwidth, and can be compared with the speed of the network.
    """
    return 2 * (size - 1) / size * num_bytes / statistics.median(seconds) / 1e9


def least_gb_s(gpu: str, capability: tuple[int, int], is_between_nodes: bool) -> float:
    """Bus bandwidth over NCCL below which something is wrong, in GB/s: half of what the usual machine has, or less.

    Data-centre GPUs have NVLink inside a node (H100: 450 GB/s each way, A100: 300, data sheets of NVIDIA) and a
    network device of 400 or 200 Gbit/s for each GPU, or for every few. Others have PCIe and any network. None of these
    limits was measured by us.
    """
    has_nvlink = capability[0] in (8, 9, 10) and capability != (8, 9) and capability != (8, 6)
    if not has_nvlink:
        return 1.0 if is_between_nodes else 3.0
    if is_between_nodes:
        return 10.0 if capability[0] == 8 else 20.0
    if "PCIe" in gpu or "PCIE" in gpu or "NVL" in gpu:
        return 10.0
    return 60.0 if capability[0] == 8 else 100.0


def collective_finding(
    backend: str, measured: Sequence[Measured], where: str, is_between_nodes: bool = False
) -> Finding:
    """What the ranks measured: the slowest of them counts."""
    size, num_bytes = len(measured), NUM_BYTES[backend]
    speed = min(bandwidth(each.seconds, size, num_bytes) for each in measured)
    way = read_nccl_log("\n".join(each.log for each in measured))
    path = way.describe_network() if is_between_nodes else way.describe_node()
    ranks = f"{backend} between {size} ranks on {where}"
    text = f"{ranks}: {speed:.2f} GB/s ({speed * 8:.1f} Gbit/s) each{f', {path}' if path else ''}"
    values = {"backend": backend, "ranks": size, "bus_gb_s": round(speed, 3), "bytes": num_bytes}
    if backend == "gloo":
        return _judged(text, speed, GLOO_GB_S, SLOW_GLOO, values)
    values |= {"network": way.network, "devices": list(way.devices), "ways": list(way.ways)}
    least = max(least_gb_s(each.gpu, each.capability, is_between_nodes) for each in measured)
    if not is_between_nodes:
        return _judged(text, speed, least, SLOW_NODE, values)
    if way.failures:
        return Finding("all-reduce", "warning", f"{text}; NCCL: {way.failures[0][:200]}", TCP, values=values)
    return _judged(text, speed, least, TCP if way.is_tcp else SLOW_RDMA, values)


SLOW_GLOO = "See that nodes talk over the fast network: GLOO_SOCKET_IFNAME names its interface."
SLOW_NODE = (
    "See `nvidia-smi topo -m` and `nvidia-smi nvlink -s`: GPUs of one pod talk over NVLink where all of them are given "
    "to it; through main memory means that PCIe access control (ACS) or a virtual machine keeps them apart."
)
TCP = (
    "Give NCCL the RDMA devices (k8s/components/rdma, docs/kubernetes.md): the device plugin's resource, memory that "
    "may be locked, NCCL_IB_HCA. Where there are none, NCCL_SOCKET_IFNAME names the fastest interface."
)
SLOW_RDMA = (
    "See that NCCL_IB_HCA names every device that is near a GPU (`nvidia-smi topo -m`), that all of them are up, and "
    "that GPUDirect is on (nvidia-peermem, or DMA-BUF with a kernel from 5.12 on)."
)


def _judged(text: str, speed: float, least: float, remedy: str, values: dict[str, Any]) -> Finding:
    if speed >= least:
        return Finding("all-reduce", "ok", text, values=values)
    return Finding("all-reduce", "warning", f"{text}; {least:g} GB/s is the least", remedy, values=values)


def check_all_reduce(num_gpus: int = 0) -> Iterator[Finding]:
    """Between two processes of this machine over gloo, and between its GPUs over NCCL where there are several."""
    yield _between("gloo", 2)
    if num_gpus > 1:
        yield _between("nccl", num_gpus)


def free_address(host: str = "127.0.0.1") -> str:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


def _between(backend: str, size: int) -> Finding:
    address = free_address()
    command = [sys.executable, "-m", "cluster.preflight.collective"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(size), address, backend],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        ended = [rank.communicate(timeout=2 * JOIN_S) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    failed = next((said for rank, (_, said) in zip(ranks, ended, strict=True) if rank.returncode), None)
    if failed is not None:
        return refused_finding(backend, failed.strip().rpartition("\n")[2])
    measured = [Measured(**json.loads(out.strip().rpartition("\n")[2])) for out, _ in ended]
    return collective_finding(backend, measured, "this machine")


def refused_finding(backend: str, reason: str) -> Finding:
    return Finding(
        "all-reduce", "failed", f"{backend}: {reason[:400]}",
        "Let the nodes reach each other on all ports, and see that GLOO_SOCKET_IFNAME (NCCL_SOCKET_IFNAME) names the "
        "interface that they share; NCCL_DEBUG=INFO says more. NCCL also fails where memory cannot be locked (`rdma`).",
    )  # fmt: skip


def _main() -> None:
    rank, size, address, backend = sys.argv[1:]
    if backend == "nccl":
        import torch

        torch.cuda.set_device(int(rank))
    print(json.dumps(asdict(all_reduce(int(rank), int(size), address, backend))))


if __name__ == "__main__":
    _main()
