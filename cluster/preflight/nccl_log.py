"""Which way NCCL sent its data, read from what NCCL itself writes with NCCL_DEBUG=INFO.

Lines are those of NCCL 2.19 to 2.29 (checked with the format strings of libnccl 2.29.7): the network that it chose
(`Using network IB`), the devices (`NET/IB : Using [0]mlx5_0:1/IB`), and the way of each channel (`via
NET/IB/0/GDRDMA`, `via P2P/CUMEM`, `via SHM/direct/direct`).
"""

import atexit
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOCKET = "Socket"
_CHOSEN = re.compile(r"NCCL INFO (?:Using network|Assigned NET plugin) (.+?)(?: to comm)?$", re.MULTILINE)
_DEVICES = re.compile(r"NCCL INFO NET/(\w+) ?: Using (.+)$", re.MULTILINE)
_DEVICE = re.compile(r"\[\d+\]([^\s;]+)")
_CHANNEL = re.compile(r"NCCL INFO Channel \S+ ?: .*? via (.+?) *$", re.MULTILINE)
_FAILED = re.compile(r"NCCL WARN (.*(?:ibv_(?:reg|create|alloc)_\w+ failed|Cannot allocate memory).*)$", re.MULTILINE)


@dataclass(frozen=True)
class NcclWay:
    """How the ranks that wrote a log were connected.

    Args:
        network: `IB` (InfiniBand or RoCE), `Socket` (TCP), or the name of a plugin such as `AWS Libfabric`; empty where
            the log does not name it.
        devices: network devices that it may use, as mlx5_0:1/IB.
        ways: how channels run, as NET/IB/0/GDRDMA, P2P/CUMEM or SHM/direct/direct; each once.
        failures: warnings of NCCL about RDMA.
    """

    network: str = ""
    devices: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def is_tcp(self) -> bool:
        """Whether data between nodes goes through the kernel's TCP."""
        return self.network == SOCKET or any(way.startswith(f"NET/{SOCKET}") for way in self.ways)

    @property
    def has_gpu_direct(self) -> bool:
        """Whether every channel between nodes goes from GPU memory to the network without a copy in main memory."""
        between = [way for way in self.ways if way.startswith("NET/")]
        return bool(between) and all("/GDRDMA" in way for way in between)

    def describe_network(self) -> str:
        """How it goes between nodes, in words; empty where the log does not say it."""
        names = f" ({', '.join(self.devices)})" if self.devices else ""
        if self.is_tcp:
            return f"over TCP{names}"
        direct = " with GPUDirect" if self.has_gpu_direct else " without GPUDirect"
        return f"over {self.network}{direct}{names}" if self.network else ""

    def describe_node(self) -> str:
        """How it goes between the GPUs of one node, in words; empty where the log does not say it."""
        kinds = {way.split("/")[0] for way in self.ways}
        found = {"P2P": "directly between GPUs", "SHM": "through main memory", "NET": "through the network"}
        return ", ".join(text for kind, text in found.items() if kind in kinds)


def read_nccl_log(text: str) -> NcclWay:
    """The way that a log names; logs of several ranks may follow one another.

    A rank that goes over TCP makes the whole TCP: an all-reduce is as slow as its slowest rank.
    """
    chosen = [name.strip() for name in _CHOSEN.findall(text)]
    network = SOCKET if SOCKET in chosen else (chosen[0] if chosen else "")
    # Devices of the network that is used; NCCL lists the interface of the sockets too, by which it meets.
    lines = [(name, rest) for name, rest in _DEVICES.findall(text) if name == network or name in network.split()]
    devices = [device for _, rest in lines for device in _DEVICE.findall(rest.partition(";")[0])]
    ways, failures = _CHANNEL.findall(text), _FAILED.findall(text)
    return NcclWay(network, _once(devices), _once(ways), _once(failures))


@contextmanager
def nccl_log() -> Iterator[list[str]]:
    """Let NCCL write what it does in the block; the list has the text of it once the block has ended.

    NCCL reads the file's name when a process first uses it, so that there is one file for each process.
    """
    path, text = _log_file(), [""]
    os.environ |= {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET,P2P,SHM", "NCCL_DEBUG_FILE": str(path)}
    start = path.stat().st_size
    try:
        yield text
    finally:
        with path.open(errors="replace") as file:
            file.seek(start)
            text[0] = file.read()


@cache
def _log_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="tandem-nccl-", suffix=".log")
    os.close(handle)
    atexit.register(Path(name).unlink, missing_ok=True)
    return Path(name)


def _once(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
