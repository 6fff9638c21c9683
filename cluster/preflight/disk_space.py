"""Room on disks and in shared memory."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.preflight.finding import Finding, Status

GIB = 2**30
MIB = 2**20
# A checkpoint of a 7B adapter takes about 1 GiB, a merged 7B model 15 GiB.
DISK_LOW, DISK_TOO_LOW = 20 * GIB, 1 * GIB
# 64 MiB is what a container has where nobody set it: Ray's objects, PyTorch's loaders and NCCL share memory there.
SHM_LOW, SHM_TOO_LOW = 1 * GIB, 64 * MIB
SHM = Path("/dev/shm")


def check_disk_space(storage: Path | None, shm: Path = SHM) -> Iterator[Finding]:
    """Storage, the folder of temporary files (Ray spills to it), the hub's cache, and shared memory.

    Below DISK_TOO_LOW or SHM_TOO_LOW is failed, below DISK_LOW or SHM_LOW a warning. Bytes are those that this user may
    write.
    """
    places = {"storage": storage, "temporary files": Path(tempfile.gettempdir()), "model cache": hub_cache()}
    seen: set[int] = set()
    for name, folder in places.items():
        if folder is None:
            continue
        there = _existing(folder)
        if (device := there.stat().st_dev) not in seen:
            seen.add(device)
            yield _room(f"disk: {name}", there, DISK_TOO_LOW, DISK_LOW, _FREE_SOME)
    if shm.is_dir():
        yield _room("shared memory", shm, SHM_TOO_LOW, SHM_LOW, _GIVE_MORE)


_FREE_SOME = "Free space there (`tandem adapters delete`, old runs, old checkpoints), or use a larger disk."
_GIVE_MORE = "Give the container more: an emptyDir with medium Memory at /dev/shm in Kubernetes, --shm-size in Docker."


def hub_cache() -> Path:
    """Where models of the hub are kept."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()


def _room(check: str, folder: Path, too_low: int, low: int, remedy: str) -> Finding:
    usage = shutil.disk_usage(folder)
    status: Status = "failed" if usage.free <= too_low else "warning" if usage.free < low else "ok"
    minimum = f"; at least {_gib(low)} GiB are wanted" if status != "ok" else ""
    return Finding(
        check, status, f"{_gib(usage.free)} of {_gib(usage.total)} GiB free at {folder}{minimum}",
        "" if status == "ok" else remedy, values={"free_bytes": usage.free, "total_bytes": usage.total},
    )  # fmt: skip


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}" if size >= GIB / 10 else f"{size / GIB:.3f}"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
