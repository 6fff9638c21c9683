"""Whether this machine or pod may use its RDMA devices: InfiniBand, RoCE or EFA.

NCCL says nothing where it cannot open them: it sends by TCP instead, which is ten times slower or worse. Where it opens
them and cannot lock memory, it fails (NVIDIA/nccl-tests#206) or sends by TCP too (nvidia-container-toolkit#2037).
"""

import resource
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.preflight.finding import Finding

LEAST_MEMLOCK_BYTES = 2**30
"""NCCL and a network plugin register buffers of hundreds of MB; the usual limit of 8 MiB is too little for one."""

_IPC_LOCK = 14
"""The number of the capability that sets the limit aside (linux/capability.h)."""


@dataclass(frozen=True)
class Rdma:
    """What a process has of RDMA.

    Args:
        devices: names in /sys/class/infiniband, which show the node's devices also where a pod may not use them.
        has_verbs: whether a device can be opened (/dev/infiniband/uverbs*).
        memlock_bytes: how much memory the process may lock; None for all of it.
    """

    devices: tuple[str, ...] = ()
    has_verbs: bool = False
    memlock_bytes: int | None = None


def check_rdma(num_gpus: int = 0) -> Iterator[Finding]:
    """Nothing where there are no GPUs, whose data NCCL sends, or no RDMA devices; `num_gpus` is what Ray offers."""
    if num_gpus or shutil.which("nvidia-smi"):
        yield from rdma_findings(read_rdma())


def rdma_findings(rdma: Rdma) -> Iterator[Finding]:
    """What keeps a process from the RDMA devices of its node."""
    if not rdma.devices:
        return
    names, values = ", ".join(rdma.devices), asdict(rdma)
    if not rdma.has_verbs:
        yield Finding(
            "rdma", "warning",
            f"the node has {names}, and nothing in /dev/infiniband can be opened here: NCCL uses TCP without a word",
            "Give the pods the resource of the RDMA device plugin (k8s/components/rdma, docs/kubernetes.md); outside "
            "of Kubernetes let the container have /dev/infiniband.",
            values=values,
        )  # fmt: skip
    elif rdma.memlock_bytes is not None and rdma.memlock_bytes < LEAST_MEMLOCK_BYTES:
        yield Finding(
            "rdma", "warning",
            f"the node has {names}, and a process may lock {rdma.memlock_bytes / 2**20:.0f} MiB of memory: NCCL "
            "fails, or uses TCP without a word",
            "Set LimitMEMLOCK=infinity for containerd on the node and restart it (docs/kubernetes.md); the capability "
            "IPC_LOCK does not help a pod that is not root.",
            values=values,
        )  # fmt: skip
    else:
        yield Finding("rdma", "ok", f"{names}, memory to lock is enough", values=values)


def read_rdma(root: Path = Path("/")) -> Rdma:
    """What this process has; `root` is where /sys, /dev and /proc are."""
    folder = root / "sys/class/infiniband"
    devices = tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()
    return Rdma(devices, any(map(_can_open, (root / "dev/infiniband").glob("uverbs*"))), _memlock(root))


def _can_open(path: Path) -> bool:
    try:
        path.open("rb").close()
    except OSError:
        return False
    return True


def _memlock(root: Path) -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY or _has_ipc_lock(root) else soft


def _has_ipc_lock(root: Path) -> bool:
    """Whether the effective capabilities of this process have IPC_LOCK."""
    try:
        lines = (root / "proc/self/status").read_text().splitlines()
    except OSError:
        return False
    return any(int(line.split()[1], 16) >> _IPC_LOCK & 1 for line in lines if line.startswith("CapEff:"))
