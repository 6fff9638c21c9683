"""The machines that work runs on, as plain values: every decision that depends on hardware is a function of these.

`read_hardware` asks the nodes of the open Ray session, or this machine where none is open. What it returns can as well
be written by hand, which is how decisions for machines that are not at hand are tested.
"""

import ctypes
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.autoscaler import HEAD, max_gpus
from cluster.errors import TandemError
from cluster.fingerprints.provenance import cpu_has_bf16
from cluster.node_answers import get_answers
from cluster.nvidia_smi import Row, ask_driver

MIB = 2**20
NODE_S = 120.0
_DIVIDED = " (MIG)"
BF16_CAPABILITY = (8, 0)
"""The first compute capability with instructions for bfloat16 (Ampere)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it."""

    name: str
    memory_bytes: int
    capability: tuple[int, int] = (0, 0)
    """Compute capability, as (9, 0) for an H100; (0, 0) where it is not known."""

    driver: str = ""
    """The driver's version, as 580.95.05; empty where it is not known."""

    used_bytes: int = 0
    """Memory that processes held when it was looked at."""

    num_errors: int = 0
    """Errors that its memory could not correct since the driver was loaded."""

    max_cuda: tuple[int, int] = (0, 0)
    """The newest CUDA that the driver's library runs, (0, 0) where that is not known. NVIDIA's package cuda-compat
    brings a newer library than the driver's own."""

    fault: str = ""
    """What the driver says of a GPU that it cannot read, as `GPU is lost`; empty for one that works."""

    @property
    def is_divided(self) -> bool:
        """Whether it is an instance of a divided GPU (MIG)."""
        return self.name.endswith(_DIVIDED)

    @property
    def has_bf16(self) -> bool:
        """Whether it computes in bfloat16; a GPU whose capability is not known is taken for one that does."""
        return self.capability == (0, 0) or self.capability >= BF16_CAPABILITY


@dataclass(frozen=True)
class Node:
    """One machine or pod: what programs may take of it."""

    num_cpus: int
    host_bytes: int
    """Main memory that programs can still take."""

    gpus: tuple[Gpu, ...] = ()
    cpu_has_bf16: bool = True
    address: str = ""
    """The name or address of the machine; empty where it does not matter."""

    remarks: tuple[str, ...] = ()
    """What `nvidia-smi` says beside its GPUs, such as a warning of a damaged infoROM."""


@dataclass(frozen=True)
class Hardware:
    """The nodes that there are, and the GPUs that there could be."""

    nodes: tuple[Node, ...]
    max_gpus: int = 0
    """GPUs that an autoscaler may bring the cluster to; 0 where there is none or it has no GPU nodes. A group of nodes
    without a maximum counts as Ray's largest integer, so that nothing may be sized by it."""

    num_taken: int = 0
    """GPUs that Ray has given to work that runs now."""

    @property
    def kind(self) -> str:
        """`gpu` where there is a GPU or an autoscaler may add one, else `cpu`."""
        return "gpu" if self.most_gpus else "cpu"

    @property
    def num_gpus(self) -> int:
        """GPUs that are there now."""
        return sum(len(node.gpus) for node in self.nodes)

    @property
    def most_gpus(self) -> int:
        """GPUs that there are, or that an autoscaler may bring the cluster to."""
        return max(self.num_gpus, self.max_gpus)

    @property
    def gpu_nodes(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.gpus)

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        return tuple(gpu for node in self.nodes for gpu in node.gpus)

    @property
    def smallest_gpu(self) -> Gpu | None:
        """The GPU with the least memory, which decides for all of them; None where no GPU node is up."""
        return min(self.gpus, key=lambda gpu: gpu.memory_bytes, default=None)

    @property
    def has_bf16(self) -> bool:
        """Whether what work runs on computes in bfloat16: every GPU, or without GPUs every processor."""
        if self.kind == "gpu":
            return all(gpu.has_bf16 for gpu in self.gpus)
        return all(node.cpu_has_bf16 for node in self.nodes)


def read_hardware() -> Hardware:
    """The nodes of the open Ray session that have GPUs, and this machine; this machine alone where none is open.

    Raises:
        TandemError: `nvidia-smi` of a node fails, Ray offers GPUs on a node that neither it nor PyTorch finds there, or
            there is an autoscaler and nothing says how many GPUs it may add.
    """
    import ray

    if not ray.is_initialized():
        return Hardware((read_node(),))
    this_node = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"]]
    offered = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in alive}
    elsewhere = {each: number for each, number in offered.items() if number and each != this_node}
    here = offered.get(this_node, 0)
    nodes = [read_node(here), *_ask_nodes(elsewhere)]
    for node, number in zip(nodes, (here, *elsewhere.values()), strict=True):
        if len(node.gpus) < number:
            raise _missing_gpus(node, number)
    is_on_head = any(HEAD in node["Resources"] for node in alive if node["NodeID"] == this_node)
    taken = sum(offered.values()) - float(ray.available_resources().get("GPU", 0))
    return Hardware(tuple(nodes), max_gpus(is_on_head), max(0, round(taken)))


def read_node(max_gpus: int | None = None) -> Node:
    """This machine; `max_gpus` is how many of its GPUs Ray offers, None for all of them."""
    listed, remarks = _read_gpus()
    gpus = listed or (_torch_gpus() if max_gpus else ())
    return Node(os.cpu_count() or 1, available_bytes(), gpus[:max_gpus], cpu_has_bf16(), socket.gethostname(), remarks)


def read_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver lists and CUDA_VISIBLE_DEVICES leaves; none where there is no driver.

    Raises:
        TandemError: `nvidia-smi` fails.
    """
    return _read_gpus()[0]


def _read_gpus() -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable == "":  # no GPU is to be used: then not even the driver is asked
        return (), ()
    listed, remarks = _list_gpus()
    return visible_gpus(listed, variable), remarks


def driver_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver lists, whatever this process may use of them.

    Raises:
        TandemError: `nvidia-smi` fails.
    """
    return tuple(gpu for _, gpu in _list_gpus()[0])


def _describe(row: Row, instances: Mapping[str, Sequence[tuple[int, int]]]) -> Gpu:
    """Of a divided GPU (MIG) a process uses one instance: it has the memory of its smallest."""
    major, _, minor = row.capability.partition(".")
    capability = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)
    memory, used, num_errors = (int(text) if text.isdecimal() else 0 for text in (row.memory, row.used, row.num_errors))
    driver = row.driver if row.driver[:1].isdecimal() else ""
    # A GPU that shares the machine's memory (GB10) has none of its own to report.
    memory_bytes = available_bytes() if row.shares_memory and not row.fault else memory * MIB
    gpu = Gpu(row.name, memory_bytes, capability, driver, used * MIB, num_errors, fault=row.fault)
    if row.mig_mode != "Enabled":
        return gpu
    total, used = min(instances.get(row.uuid, []), default=(0, 0))
    fault = row.loss if total else row.fault
    return replace(gpu, name=gpu.name + _DIVIDED, memory_bytes=total, used_bytes=used, fault=fault)


def visible_gpus(listed: Sequence[tuple[str, Gpu]], variable: str | None) -> tuple[Gpu, ...]:
    """Those that CUDA_VISIBLE_DEVICES leaves of GPUs with their UUIDs, in its order, by CUDA's own rules.

    A name is an index, or the beginning of a UUID. The first that names no GPU (`-1`, `none`) ends the list, and where
    one is named twice there are none (CUDA C++ Programming Guide, "CUDA Environment Variables"). An index
    counts in the order of the PCI bus, as CUDA does with CUDA_DEVICE_ORDER=PCI_BUS_ID, which sessions and engines set.
    The UUIDs of the instances of divided GPUs are not known, so that such a name is taken for the smallest instance.
    """
    if variable is None:
        return tuple(gpu for _, gpu in listed)
    divided = min((gpu for _, gpu in listed if gpu.is_divided), key=lambda gpu: gpu.memory_bytes, default=None)
    found: list[tuple[object, Gpu]] = []
    for name in (part.strip() for part in variable.split(",")):
        named = [index for index, (uuid, _) in enumerate(listed) if name.startswith("GPU-") and uuid.startswith(name)]
        if name.isdecimal() and int(name) < len(listed):
            named = [int(name)]
        if name.startswith("MIG-") and divided:
            found.append((name, divided))
        elif len(named) == 1:
            found.append((named[0], listed[named[0]][1]))
        else:
            break
    return tuple(gpu for _, gpu in found) if len({key for key, _ in found}) == len(found) else ()


def _list_gpus() -> tuple[list[tuple[str, Gpu]], tuple[str, ...]]:
    """The UUID and the GPU of each that the driver lists, and what it says beside them."""
    answer = ask_driver()
    max_cuda = _library_cuda() if answer.rows else (0, 0)
    gpus = [(row.uuid, replace(_describe(row, answer.instances), max_cuda=max_cuda)) for row in answer.rows]
    return gpus, answer.remarks


def _library_cuda() -> tuple[int, int]:
    """Asked of the library that programs of this environment load; it starts nothing on a GPU."""
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return (0, 0)
    return (0, 0) if failed else (number.value // 1000, number.value % 1000 // 10)


def available_bytes() -> int:
    """Main memory that programs can still take, on Linux also where a container may have less; elsewhere all of it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    limit = container_free_bytes(Path("/sys/fs/cgroup"))
    return free if limit is None else min(free, limit)


def container_free_bytes(folder: Path) -> int | None:
    """What a container's limit leaves, without file caches that can be dropped; None where nothing is limited.

    Args:
        folder: where the control group is mounted (version 2: docs.kernel.org/admin-guide/cgroup-v2.html).
    """
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # not limited says "max"
        return None
    return max(0, limit - used + int(counts.get("inactive_file", 0)))


def _torch_gpus() -> tuple[Gpu, ...]:
    """As PyTorch describes them, for a container without `nvidia-smi` and for GPUs of other makers."""
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return tuple(Gpu(each.name, each.total_memory, (each.major, each.minor)) for each in found)


def _missing_gpus(node: Node, number: int) -> TandemError:
    return TandemError(
        f"Ray offers {number} GPUs on the node {node.address}, and {len(node.gpus)} are found there."
        + "".join(f" nvidia-smi says there: {remark.rstrip('.')}." for remark in node.remarks),
        "GPUs that `nvidia-smi` or PyTorch lists, with the GPU packages and a driver for their CUDA.",
        "Run `tandem doctor --cluster`, or start the node with the GPUs that it has (`ray start --num-gpus`).",
    )


def _ask_nodes(offered: dict[str, int]) -> list[Node]:
    """What `read_node` returns on each of these nodes of the open session, by the GPUs that Ray offers there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    read = ray.remote(num_cpus=0)(read_node)
    asked = [
        read.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(number)
        for node, number in offered.items()
    ]
    return get_answers(asked, NODE_S)
