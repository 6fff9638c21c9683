"""What a GPU must be for the work that is sent to it, checked before anything is paid for.

A pure function of the described hardware: `check_gpus_usable` raises for what cannot work, and returns sentences for
what works worse than it could.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from cluster.errors import TandemError
from cluster.hardware import BF16_CAPABILITY, Gpu, Hardware

CUDA = "13.0"
"""What the locked PyTorch is built for; a test holds the lock to it."""
LEAST_DRIVER = 580
"""The first driver of CUDA 13 (docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)."""
LEAST_CAPABILITY = (7, 5)
"""The oldest GPUs that the locked PyTorch has code for (`torch.cuda.get_arch_list`): CUDA 13 dropped older ones."""
SHARE = 0.9
"""Of a GPU's memory: what a training is planned for. An allocator holds more than is in use
(benchmarks/plan_memory.py)."""
GIB = 2**30
_IDLE_BYTES = GIB
"""What a driver and a desktop hold of a GPU that nothing computes on."""


def check_gpus_usable(
    hardware: Hardware, precision: str = "auto", share: float = SHARE, num_taken: int = 0
) -> tuple[str, ...]:
    """Sentences to print before work starts on these GPUs; none where all is well or there are no GPUs.

    Args:
        precision: number format that is asked for: `auto`, `bf16` or `fp32`.
        share: of each GPU's memory that the work takes, from 0 to 1.
        num_taken: GPUs that Ray has given to other work; so many may be full.

    Raises:
        TandemError: a GPU is broken, a driver is older than CUDA takes, a GPU is too old for PyTorch or for the
            precision, or other processes hold so much memory that too few GPUs are left.
    """
    if error := find_fault(hardware, precision) or find_shortage(hardware, share, num_taken):
        raise error
    return find_remarks(hardware, precision)


def find_fault(hardware: Hardware, precision: str = "auto") -> TandemError | None:
    """A driver or a GPU that cannot do the work at all."""
    for node in hardware.nodes:
        where = f" of {node.address}" if node.address and len(hardware.nodes) > 1 else ""
        for gpu in node.gpus:
            if (
                error := _broken_fault(gpu, where)
                or _driver_fault(gpu, where)
                or _capability_fault(gpu, where, precision)
            ):
                return error
    return None


def find_shortage(hardware: Hardware, share: float = SHARE, num_taken: int = 0) -> TandemError | None:
    """Too few GPUs with `share` of their memory free, where `num_taken` may be full."""
    empty = [gpu for gpu in hardware.gpus if not gpu.memory_bytes]
    if empty:
        if empty[0].is_divided:
            return TandemError(
                f"{_the(empty[0])} is divided into instances, and has none.",
                "A GPU with memory.",
                "Make an instance (`nvidia-smi mig -cgi`), or leave the GPU out with CUDA_VISIBLE_DEVICES.",
            )
        return _broken_fault(replace(empty[0], fault="0 MiB"), "")
    full = [gpu for gpu in hardware.gpus if gpu.used_bytes > max(_IDLE_BYTES, (1 - share) * gpu.memory_bytes)]
    if len(full) <= num_taken:
        return None
    worst = max(full, key=lambda gpu: gpu.used_bytes)
    return TandemError(
        f"Other processes hold memory of {len(full)} of {hardware.num_gpus} GPUs: {worst.used_bytes / GIB:.1f} of "
        f"{worst.memory_bytes / GIB:.1f} GiB of {_the(worst)}"
        + (f". Ray has given {num_taken} to other work." if num_taken else "."),
        f"GPUs of which {share:.0%} of the memory is free.",
        "End those processes (`nvidia-smi` lists them), or leave these GPUs out with CUDA_VISIBLE_DEVICES.",
    )


def find_remarks(hardware: Hardware, precision: str = "auto") -> tuple[str, ...]:
    """What works worse than it could."""
    return tuple(_remarks(hardware, precision))


def driver_is_old(gpu: Gpu) -> bool:
    """Whether the driver is older than CUDA takes; one whose version is not known is taken for new enough."""
    major = gpu.driver.partition(".")[0]
    if gpu.max_cuda != (0, 0):
        return gpu.max_cuda[0] < int(CUDA.partition(".")[0])
    return major.isdecimal() and int(major) < LEAST_DRIVER


def _broken_fault(gpu: Gpu, where: str) -> TandemError | None:
    if gpu.fault:
        return TandemError(
            f"{_the(gpu)}{where} is broken: its driver says {gpu.fault!r} where its memory should be.",
            "A GPU whose memory the driver can read.",
            "Reset it (`nvidia-smi --gpu-reset`, or restart the machine), or leave it out with CUDA_VISIBLE_DEVICES.",
        )
    return None


def _driver_fault(gpu: Gpu, where: str) -> TandemError | None:
    if driver_is_old(gpu):
        return TandemError(
            f"The NVIDIA driver{where} is {gpu.driver or 'too old'}: PyTorch cannot use {_the(gpu)} with it.",
            f"Driver {LEAST_DRIVER} or newer, which CUDA {CUDA} needs.",
            f"Install driver {LEAST_DRIVER} or newer. On a data-centre GPU whose driver must stay, NVIDIA's package "
            f"cuda-compat-{CUDA.replace('.', '-')} before its library on LD_LIBRARY_PATH will do.",
        )
    return None


def _capability_fault(gpu: Gpu, where: str, precision: str) -> TandemError | None:
    if (0, 0) < gpu.capability < LEAST_CAPABILITY:
        return TandemError(
            f"{_the(gpu)}{where} has compute capability {_dotted(gpu.capability)}: PyTorch for CUDA {CUDA} has no code "
            "for it.",
            f"A GPU of compute capability {_dotted(LEAST_CAPABILITY)} (Turing) or higher; "
            f"{_dotted(BF16_CAPABILITY)} (Ampere) or higher for bfloat16.",
            "Use another GPU, or leave this one out with CUDA_VISIBLE_DEVICES; work on the CPUs needs the CPU set "
            "(`make setup`).",
        )
    if precision == "bf16" and not gpu.has_bf16:
        return TandemError(
            f"training.precision is bf16, and {_the(gpu)}{where} does not compute in bfloat16.",
            f"A GPU of compute capability {_dotted(BF16_CAPABILITY)} (Ampere) or higher, or fp32.",
            "Set `training.precision: fp32`, which takes about twice the memory, or use another GPU.",
        )
    return None


def _remarks(hardware: Hardware, precision: str) -> Iterator[str]:
    kinds = Counter((gpu.name, round(gpu.memory_bytes / GIB)) for gpu in hardware.gpus)
    if len(kinds) > 1:
        listed = ", ".join(f"{number} x {name} ({gib} GiB)" for (name, gib), number in sorted(kinds.items()))
        yield (
            f"The GPUs differ: {listed}. Each step takes as long as the slowest of them, and each holds as much as the "
            "smallest can. CUDA_VISIBLE_DEVICES, or node labels on Kubernetes, leave some out."
        )
    old = next((gpu for gpu in hardware.gpus if not gpu.has_bf16), None)
    if old and precision == "auto":
        yield (
            f"{_the(old)} does not compute in bfloat16, so that everything is computed in fp32: about twice the "
            f"memory, and slower. A GPU of compute capability {_dotted(BF16_CAPABILITY)} or higher has it."
        )
    for node in hardware.nodes:
        where = f" on {node.address}" if node.address and len(hardware.nodes) > 1 else ""
        for remark in node.remarks:
            yield f"nvidia-smi{where} says beside its GPUs: {remark.rstrip('.')}."
    unsound = sum(1 for gpu in hardware.gpus if gpu.num_errors)
    if unsound:
        yield f"{unsound} GPUs have memory errors that were not corrected: reset them, or have them replaced."


def _the(gpu: Gpu) -> str:
    return gpu.name or "a GPU"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
