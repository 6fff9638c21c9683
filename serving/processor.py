"""Processor time of an endpoint on this machine, by what its processes do.

    before = processor_seconds(8000); ...; after = processor_seconds(8000)

Read from /proc: the gateway is who listens on the port, its parent is Ray's raylet, and all else of the node is below.
"""

import os
import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

LISTENING = "0A"
_REPLICA = re.compile(r"ray::ServeReplica:[^:]+:([a-z]+)")
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(port: int) -> dict[str, float]:
    """Seconds since the start of `gateway`, `engine` (the process that takes requests), `core` (below it), `retriever`,
    `limiter`, `milvus`, `controller` and `ray` (the rest of Ray); empty where nothing of ours listens on the port here.
    """
    gateway = _listener(port)
    if gateway is None or _role(gateway) != "gateway":
        return {}
    raylet = _parent(gateway)
    above = _parent(raylet)
    node = above if above > 1 else raylet
    found: dict[str, float] = defaultdict(float)
    _add(node, "", _children(), found)
    return dict(found)


def busy_seconds() -> float:
    """Seconds that all cores of the machine were busy since its start, together."""
    user, nice, system, _, _, *rest = (
        int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + sum(rest[:2])) / _TICKS


def _add(process: int, above: str, children: dict[int, list[int]], found: dict[str, float]) -> None:
    """The time of a process and of all below it; what an engine starts is its core."""
    role = _role(process) or {"engine": "core", "": ""}.get(above, above)
    with suppress(OSError, IndexError):
        fields = (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()
        if role:
            found[role] += (int(fields[11]) + int(fields[12])) / _TICKS
    for child in children[process]:
        _add(child, role, children, found)


def _role(process: int) -> str:
    with suppress(OSError):
        command = (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if replica := _REPLICA.match(command):
            return replica[1]
        if command.startswith("ray::ServeController"):
            return "controller"
        if "milvus" in command:
            return "milvus"
        if command.startswith("ray::") or "/ray/" in command:
            return "ray"
    return ""


def _listener(port: int) -> int | None:
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in _processes():
        with suppress(OSError):
            for opened in (Path("/proc") / str(process) / "fd").iterdir():
                if str(opened.readlink()) in sockets:
                    return process
    return None


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for process in _processes():
        with suppress(OSError, IndexError):
            found[_parent(process)].append(process)
    return found


def _parent(process: int) -> int:
    return int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
