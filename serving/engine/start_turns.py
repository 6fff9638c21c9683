"""When an engine may start on a GPU: its memory is free again, and no other engine of this machine is starting.

vLLM compares the free memory before and after its own start (v1/worker/gpu_worker.py, determine_available_memory):
what another engine takes in between would count as its own, and what another gives back ends it with an assertion.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.hardware import Gpu, driver_gpus, read_gpus

FREE_S = 60.0
"""A process that has ended gives its GPU memory back within seconds; after that vLLM says itself what lacks."""
POLL_S = 1.0


@contextmanager
def start_turn(name: str = "tandem-engine-start") -> Iterator[None]:
    """The turn to start an engine on this machine. The kernel passes it on when its holder ends, however it ends."""
    path = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}.lock"
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _gpus_here() -> Sequence[Gpu]:
    """Ray can hide every GPU from a replica whose engine has them in processes of its own; then all are looked at."""
    return read_gpus() or driver_gpus()


def wait_for_free_memory(
    utilization: float,
    num_gpus: int,
    read: Callable[[], Sequence[Gpu]] = _gpus_here,
    limit_s: float = FREE_S,
    poll_s: float = POLL_S,
) -> bool:
    """Wait until enough GPUs of this machine have the memory free that an engine asks for; False where they never do.

    Args:
        utilization: the part of a GPU's memory that the engine takes.
        num_gpus: GPUs that the engine takes; fewer where the machine has fewer.
        read: gives the GPUs of this machine as they are now.
        limit_s: seconds to wait at most.
    """
    deadline = time.monotonic() + limit_s
    while not has_free_memory(read(), utilization, num_gpus):
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def has_free_memory(gpus: Sequence[Gpu], utilization: float, num_gpus: int) -> bool:
    """Whether so many of these GPUs have this part of their memory free."""
    free = sum(gpu.memory_bytes - gpu.used_bytes >= utilization * gpu.memory_bytes for gpu in gpus)
    return free >= min(num_gpus, len(gpus))
