"""GPUs, their driver, and whether PyTorch can use them."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.preflight.finding import Finding

QUERY = "name,memory.total,driver_version,ecc.errors.uncorrected.volatile.total"
SMI_S = 30.0


@dataclass(frozen=True)
class Gpu:
    """As the driver sees it; memory in MiB, errors that memory could not correct since the driver was loaded."""

    name: str
    memory_mib: int
    driver: str
    num_errors: int


def check_gpus(num_promised: int = 0) -> Iterator[Finding]:
    """`num_promised` is how many GPUs Ray offers on this node. A machine without any is good for work on its CPUs."""
    gpus, seen = driver_gpus(), torch_gpus()
    usable = len(seen["names"])
    values: dict[str, Any] = {"driver": [gpu.__dict__ for gpu in gpus], **seen}
    if max(len(gpus), num_promised) > usable:
        yield Finding(
            "gpu", "failed",
            f"the driver has {len(gpus)} GPUs, Ray offers {num_promised}, and PyTorch {seen['torch']} (built for CUDA "
            f"{seen['cuda'] or 'no version'}) can use {usable}",
            "Install the GPU set (`make setup GPU=1`, or the GPU image), a driver for that CUDA or a newer one, and "
            "let the container see the devices.",
            values=values,
        )  # fmt: skip
        return
    if not usable:
        yield Finding("gpu", "ok", "none: work runs on the CPUs", values=values)
        return
    yield from _used(gpus)
    drivers = ", ".join(sorted({gpu.driver for gpu in gpus})) or "unknown"
    text = f"{_counted(seen['names'])}, driver {drivers}, CUDA {seen['cuda']}, NCCL {seen['nccl']}"
    yield Finding("gpu", "ok", text, values=values)


def driver_gpus() -> list[Gpu]:
    """What `nvidia-smi` lists; none where there is no driver. Raises RuntimeError where it fails."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_S)
    if done.returncode:
        raise RuntimeError(f"nvidia-smi: {(done.stdout + done.stderr).strip()}")
    return [_read(line) for line in done.stdout.splitlines() if line.strip()]


def torch_gpus() -> dict[str, Any]:
    """What PyTorch was built for, and the GPUs that it can use."""
    import torch

    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(index) for index in range(number)]
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if number else None
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "nccl": nccl, "names": names}


def _used(gpus: list[Gpu]) -> Iterator[Finding]:
    errors = {index: gpu.num_errors for index, gpu in enumerate(gpus) if gpu.num_errors}
    if errors:
        yield Finding(
            "gpu memory", "warning", f"errors that were not corrected, by GPU: {errors}",
            "Reset the GPU or reboot the node; where they come again, have the GPU replaced.",
        )  # fmt: skip


def _read(line: str) -> Gpu:
    name, memory, driver, errors = (part.strip() for part in line.split(","))
    return Gpu(name, int(memory), driver, int(errors) if errors.isdecimal() else 0)


def _counted(names: list[str]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
