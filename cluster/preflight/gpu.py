"""GPUs, their driver, whether PyTorch can use them, and the compiler for what is compiled at an engine's start."""

from collections.abc import Iterator
from typing import Any

from cluster.cuda_compiler import choose_compiler, find_compilers, torch_cuda_version
from cluster.gpu_requirements import find_fault, find_remarks, find_shortage
from cluster.hardware import MIB, Gpu, Hardware, read_node
from cluster.preflight.finding import Finding


def check_gpus(num_promised: int = 0) -> Iterator[Finding]:
    """`num_promised` is how many GPUs Ray offers on this node. A machine without any is good for work on its CPUs."""
    node, torch = read_node(), torch_gpus()
    gpus = node.gpus
    usable = len(torch["names"])
    values: dict[str, Any] = {"driver": [_values(gpu) for gpu in gpus], **torch}
    machine = Hardware((node,))
    if error := find_fault(machine):
        yield Finding("gpu", "failed", error.seen, f"{error.accepted} {error.remedy}", values=values)
        return
    if max(len(gpus), num_promised) > usable:
        yield Finding(
            "gpu", "failed",
            f"the driver has {len(gpus)} GPUs, Ray offers {num_promised}, and PyTorch {torch['torch']} (built for CUDA "
            f"{torch['cuda'] or 'no version'}) can use {usable}"
            + "".join(f"; nvidia-smi says: {remark}" for remark in node.remarks),
            "Install the GPU set (`make setup GPU=1`, or the GPU image), a driver for that CUDA or a newer one, and "
            "let the container see the devices.",
            values=values,
        )  # fmt: skip
        return
    if not usable:
        yield Finding("gpu", "ok", "none: work runs on the CPUs", values=values)
        return
    if error := find_shortage(machine):  # by an endpoint of ours, perhaps
        yield Finding("gpu memory", "warning", error.seen, f"{error.accepted} {error.remedy}")
    for remark in find_remarks(machine):
        yield Finding("gpu", "warning", remark, "Do what it names, if this matters for your work.")
    yield check_compiler()
    drivers = ", ".join(sorted({gpu.driver for gpu in gpus if gpu.driver})) or "unknown"
    text = f"{_counted(torch['names'])}, driver {drivers}, CUDA {torch['cuda']}, NCCL {torch['nccl']}"
    yield Finding("gpu", "ok", text, values=values)


def torch_gpus() -> dict[str, Any]:
    """What PyTorch was built for, and the GPUs that it can use."""
    import torch

    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(index) for index in range(number)]
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if number else None
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "nccl": nccl, "names": names}


def check_compiler() -> Finding:
    """Whether this machine compiles CUDA for the installed PyTorch. Engines start without too."""
    compilers, cuda = find_compilers(), torch_cuda_version()
    compiler = choose_compiler(compilers, cuda)
    if compiler and compiler.nvcc:
        return Finding("cuda compiler", "ok", f"nvcc {'.'.join(map(str, compiler.nvcc))} in {compiler.home}")
    faults = "; ".join(dict.fromkeys(each.fault(cuda) for each in compilers if each.nvcc or each.headers))
    return Finding(
        "cuda compiler", "warning",
        f"none that fits PyTorch ({faults or 'there is no nvcc'}): engines use the kernels that vLLM brings, and "
        "`offload: nvme` does not work",
        "Run `make setup GPU=1`, or use the GPU image: the GPU set has a compiler. Or set CUDA_HOME to a CUDA toolkit "
        "of PyTorch's own version.",
    )  # fmt: skip


def _values(gpu: Gpu) -> dict[str, Any]:
    """As `--json` shows it; memory in MiB."""
    return {
        "name": gpu.name, "memory_mib": gpu.memory_bytes // MIB, "used_mib": gpu.used_bytes // MIB,
        "driver": gpu.driver, "capability": gpu.capability, "num_errors": gpu.num_errors,
        "fault": gpu.fault,
    }  # fmt: skip


def _counted(names: list[str]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
