"""The machines that work runs on, as plain values: every decision that depends on hardware is a function of these.

`read_hardware` asks the nodes of the open Ray session, or this machine where none is open. What it returns can as well
be written by hand, which is how decisions for machines that are not at hand are tested.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import TandemError
from cluster.fingerprints.provenance import cpu_has_bf16

MIB = 2**20
SMI_S = 30.0
NODE_S = 120.0
_QUERY = "name,memory.total,memory.used,driver_version,compute_cap,ecc.errors.uncorrected.volatile.total"
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


@dataclass(frozen=True)
class Hardware:
    """The nodes that there are, and the GPUs that there could be."""

    nodes: tuple[Node, ...]
    max_gpus: int = 0
    """GPUs that an autoscaler may bring the cluster to; 0 where there is none or it has no GPU nodes."""

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
    def gpus_per_node(self) -> int:
        """GPUs of the GPU node that has the fewest; 0 where no GPU node is up."""
        return min((len(node.gpus) for node in self.gpu_nodes), default=0)

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
        TandemError: Ray offers GPUs on a node that neither `nvidia-smi` nor PyTorch finds there.
        RuntimeError: `nvidia-smi` of a node fails.
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
    return Hardware(tuple(nodes), _autoscaled_gpus())


def read_node(max_gpus: int | None = None) -> Node:
    """This machine; `max_gpus` is how many of its GPUs Ray offers, None for all of them."""
    gpus = read_gpus() or (_torch_gpus() if max_gpus else ())
    return Node(os.cpu_count() or 1, available_bytes(), gpus[:max_gpus], cpu_has_bf16(), socket.gethostname())


def read_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver lists and CUDA_VISIBLE_DEVICES leaves; none where there is no driver.

    Raises:
        RuntimeError: `nvidia-smi` fails.
    """
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_S)
    if done.returncode:
        raise RuntimeError(f"nvidia-smi: {(done.stdout + done.stderr).strip()}")
    gpus = [parse_gpu(line) for line in done.stdout.splitlines() if line.strip()]
    return tuple(_visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES")))


def parse_gpu(line: str) -> Gpu:
    """A line that `nvidia-smi` prints for `_QUERY`; a value that it does not know is `[N/A]`."""
    name, memory, used, driver, capability, errors = (part.strip() for part in line.split(","))
    major, _, minor = capability.partition(".")
    known = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)
    used_bytes, num_errors = (int(text) if text.isdecimal() else 0 for text in (used, errors))
    # A GPU that shares the machine's memory (GB10) has none of its own to report.
    memory_bytes = int(memory) * MIB if memory.isdecimal() else available_bytes()
    return Gpu(name, memory_bytes, known, driver, used_bytes * MIB, num_errors)


def available_bytes() -> int:
    """Main memory that programs can still take, on Linux also where a container may have less; elsewhere all of it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min(free, container_free_bytes(Path("/sys/fs/cgroup")) or free)


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
        f"Ray offers {number} GPUs on the node {node.address}, and {len(node.gpus)} are found there.",
        "GPUs that `nvidia-smi` or PyTorch lists, with the GPU packages and a driver for their CUDA.",
        "Run `tandem doctor --cluster`, or start the node with the GPUs that it has (`ray start --num-gpus`).",
    )


def _visible(gpus: Sequence[Gpu], variable: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names by index; all of them where it is not set or names them by UUID."""
    if variable is None:
        return list(gpus)
    names = [name.strip() for name in variable.split(",") if name.strip()]
    if not all(name.isdecimal() for name in names):
        return list(gpus)[: len(names)]
    return [gpus[int(name)] for name in names if int(name) < len(gpus)]


def _ask_nodes(offered: dict[str, int]) -> list[Node]:
    """What `read_node` returns on each of these nodes of the open session, by the GPUs that Ray offers there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    read = ray.remote(num_cpus=0)(read_node)
    asked = [
        read.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(number)
        for node, number in offered.items()
    ]
    return ray.get(asked, timeout=NODE_S) if asked else []


def _autoscaled_gpus() -> int:
    """GPUs that the autoscaler of the open session may bring the cluster to, as Ray Train itself asks for them."""
    from ray._private.state import state

    most = state.get_max_resources_from_cluster_config() or {}
    return int(most.get("GPU", 0))
