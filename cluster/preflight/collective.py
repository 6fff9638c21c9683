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
from datetime import timedelta

from cluster.preflight.finding import Finding

NUM_BYTES = 16 * 2**20
NUM_ROUNDS = 5
JOIN_S = 60.0
SLOW_GB_S = {"gloo": 0.05, "nccl": 1.0}


def all_reduce(rank: int, size: int, address: str, backend: str, num_bytes: int = NUM_BYTES) -> list[float]:
    """Take part in all-reduces of so many bytes in float32 on `address` (host:port of rank 0); seconds of each.

    The first, in which connections are made, is left out. Raises RuntimeError where the others do not come within
    JOIN_S or the sum is wrong, ValueError for a backend that PyTorch does not have.
    """
    import torch
    import torch.distributed as distributed

    device = torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else torch.device("cpu")
    distributed.init_process_group(
        backend, init_method=f"tcp://{address}", rank=rank, world_size=size, timeout=timedelta(seconds=JOIN_S)
    )
    try:
        seconds: list[float] = []
        for _ in range(NUM_ROUNDS + 1):
            values = torch.full((num_bytes // 4,), float(rank + 1), device=device)
            distributed.barrier()
            started = time.monotonic()
            distributed.all_reduce(values)
            total = float(values[-1].item())  # waits for the device
            seconds.append(time.monotonic() - started)
            if total != size * (size + 1) / 2:
                raise RuntimeError(f"the sum over {size} ranks is {total} instead of {size * (size + 1) / 2}")
        return seconds[1:]
    finally:
        distributed.destroy_process_group()


def bandwidth(seconds: Sequence[float], size: int, num_bytes: int = NUM_BYTES) -> float:
    """GB/s that each rank sends and gets: 2 (n - 1) / n times the bytes, over the median time.

    It is what nccl-tests call bus bandwidth, and can be held against the speed of the network.
    """
    return 2 * (size - 1) / size * num_bytes / statistics.median(seconds) / 1e9


def collective_finding(backend: str, seconds: Sequence[Sequence[float]], where: str) -> Finding:
    """What the ranks measured: the slowest of them counts."""
    size = len(seconds)
    speed = min(bandwidth(each, size) for each in seconds)
    text = f"{backend} between {size} ranks on {where}: {speed:.2f} GB/s ({speed * 8:.1f} Gbit/s) each"
    values = {"backend": backend, "ranks": size, "bus_gb_s": round(speed, 3), "bytes": NUM_BYTES}
    if speed < SLOW_GB_S[backend]:
        remedy = (
            "See that nodes talk over the fast network: GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name its interface."
        )
        return Finding("all-reduce", "warning", text, remedy, values=values)
    return Finding("all-reduce", "ok", text, values=values)


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
    return collective_finding(backend, [json.loads(out) for out, _ in ended], "this machine")


def refused_finding(backend: str, reason: str) -> Finding:
    return Finding(
        "all-reduce", "failed", f"{backend}: {reason[:400]}",
        "Let the nodes reach each other on all ports, and see that GLOO_SOCKET_IFNAME (NCCL_SOCKET_IFNAME) names the "
        "interface that they share; NCCL_DEBUG=INFO says more.",
    )  # fmt: skip


def _main() -> None:
    rank, size, address, backend = sys.argv[1:]
    if backend == "nccl":
        import torch

        torch.cuda.set_device(int(rank))
    print(json.dumps(all_reduce(int(rank), int(size), address, backend)))


if __name__ == "__main__":
    _main()
