"""The checks of one machine from every node of a Ray cluster, and those between nodes.

A node that dies meanwhile, or does not answer, is a finding; what the others found is told all the same.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.preflight import clocks, collective, storage
from cluster.preflight.finding import BROKEN, Finding, broken_check, run_checks
from cluster.preflight.machine import MachineNeeds, check_machine

START_S = 120.0
LOOK_S = 300.0
CALL_S = 30.0


@dataclass(frozen=True)
class Node:
    """A node that lives."""

    id: str
    address: str
    num_cpus: int
    num_gpus: int

    @property
    def works(self) -> bool:
        """A head without CPUs takes no work."""
        return self.num_cpus > 0 or self.num_gpus > 0


def check_all_nodes(wanted: MachineNeeds, on_progress: Callable[[str], None]) -> list[Finding]:
    """Every check of every node of the open Ray session."""
    nodes, lost = _nodes()
    names = ", ".join(f"{node.address} ({node.num_cpus} CPUs, {node.num_gpus} GPUs)" for node in nodes)
    findings = [Finding("nodes", "ok", f"{len(nodes)}: {names}", values={"nodes": [node.__dict__ for node in nodes]})]
    if lost:
        remedy = "See why they ended (`ray status`, the events of their pods); the cluster goes on without them."
        findings.append(
            Finding("nodes", "warning", f"{len(lost)} were lost earlier: {', '.join(sorted(lost))}", remedy)
        )
    asked = _Asked({node.address: _probe(node) for node in nodes})
    on_progress(f"doctor: starting on {len(nodes)} nodes")
    asked.ask("start", START_S, lambda probe, _: probe.ready.remote())
    on_progress("doctor: looking at each node")
    gpus = {node.address: node.num_gpus for node in nodes}
    found = asked.ask("look", LOOK_S, lambda probe, at: probe.look.remote(replace(wanted, num_gpus=gpus[at])))
    findings += [one.on(node) for node, ones in found.items() for one in ones]
    on_progress("doctor: looking at what nodes have in common")
    findings += _same_model(found)
    checks: dict[str, Callable[[], Any]] = {"clock": lambda: _clocks(asked)}
    if wanted.storage and len(asked.probes) > 1:
        root = wanted.storage
        checks["shared storage"] = lambda: _shared(asked, root)
    works = [node for node in nodes if node.works]
    checks["all-reduce"] = lambda: _all_reduce(asked, works)
    return [*findings, *run_checks(checks), *asked.findings]


class _Asked:
    """The probes of nodes that still answer, and what the others ended with."""

    def __init__(self, probes: dict[str, Any]) -> None:
        self.probes = probes
        self.findings: list[Finding] = []

    def ask(self, check: str, limit_s: float, call: Callable[[Any, str], Any]) -> dict[str, Any]:
        """What each node answers within the limit; one that does not is asked no more, and is a finding."""
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

        calls = {node: call(probe, node) for node, probe in self.probes.items()}
        deadline, answers = time.monotonic() + limit_s, {}
        for node, reference in calls.items():
            try:
                answers[node] = ray.get(reference, timeout=max(0.1, deadline - time.monotonic()))
                continue
            except GetTimeoutError:
                self._give_up(node, check, f"no answer within {limit_s:.0f} s", _UNREACHED)
            except RayActorError as error:
                self._give_up(node, check, f"the node or its process was lost: {_first_line(error)}", _UNREACHED)
            except RayTaskError as error:
                if not isinstance(error.cause, BROKEN):
                    raise
                remedy = _NOT_INSTALLED if isinstance(error.cause, ImportError) else _UNREACHED
                self._give_up(node, check, f"{type(error.cause).__name__}: {_first_line(error.cause)}", remedy)
        return answers

    def _give_up(self, node: str, check: str, seen: str, remedy: str) -> None:
        self.probes.pop(node, None)
        self.findings.append(Finding(f"node ({check})", "failed", seen, remedy, node))


_UNREACHED = "See why the node does not answer (`ray status`, its log, the events of its pod), and start it again."
_NOT_INSTALLED = "Give every node the image of this version of Tandem, or install it there."


def _nodes() -> tuple[list[Node], set[str]]:
    """Those that live, and addresses of those that were lost."""
    import ray

    alive, lost = [], set()
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            alive.append(
                Node(node["NodeID"], node["NodeManagerAddress"], int(has.get("CPU", 0)), int(has.get("GPU", 0)))
            )
        else:
            lost.add(node["NodeManagerAddress"])
    # Two raylets of one machine may have one address: they are told apart.
    counted = [one.address for one in alive]
    alive = [
        replace(one, address=f"{one.address}/{one.id[:6]}") if counted.count(one.address) > 1 else one for one in alive
    ]
    return sorted(alive, key=lambda one: one.address), lost - set(counted)


def _probe(node: Node, num_gpus: int = 0) -> Any:
    """An actor on that node and on no other."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
    actor = ray.remote(num_cpus=0, num_gpus=num_gpus, max_restarts=0, scheduling_strategy=strategy)(Probe)
    return actor.remote()


class Probe:
    """What runs on a node."""

    def ready(self) -> bool:
        return True

    def look(self, wanted: MachineNeeds) -> list[Finding]:
        return check_machine(wanted)

    def clock(self) -> float:
        return time.time()

    def leave(self, folder: Path, node: str) -> str:
        return storage.leave_file(folder, node)

    def see(self, folder: Path, others: Mapping[str, str]) -> list[Finding]:
        return list(storage.look_for_files(folder, others))

    def free_address(self) -> str:
        import ray

        return collective.free_address(ray.util.get_node_ip_address())

    def all_reduce(self, rank: int, size: int, address: str, backend: str) -> collective.Measured:
        return collective.all_reduce(rank, size, address, backend)

    def all_reduce_here(self) -> list[Finding]:
        return list(collective.check_all_reduce())


def _clocks(asked: _Asked) -> Iterator[Finding]:
    """Nodes are asked one after the other: side by side the ways there would be longer."""
    import ray
    from ray.exceptions import RayError

    offsets = {}
    for node, probe in asked.probes.items():
        try:
            offsets[node] = clocks.measure_offset(lambda probe=probe: ray.get(probe.clock.remote(), timeout=CALL_S))  # type: ignore[misc]
        except RayError as error:
            yield broken_check("clock", error, node)
    yield from clocks.check_clocks(offsets)


def _shared(asked: _Asked, root: Path) -> Iterator[Finding]:
    folder = root / f".doctor-{uuid.uuid4().hex}"
    names = {node: node.replace("/", "-").replace(":", "-") for node in asked.probes}
    try:
        left = asked.ask("shared storage", CALL_S, lambda probe, at: probe.leave.remote(folder, names[at]))
        others = {at: {names[node]: digest for node, digest in left.items() if node != at} for at in left}
        limit_s = storage.SEEN_S + CALL_S
        seen = asked.ask("shared storage", limit_s, lambda probe, at: probe.see.remote(folder, others.get(at, {})))
        yield from (one.on(node) for node, ones in seen.items() for one in ones)
    finally:
        storage.clear_folder(folder)


def _all_reduce(asked: _Asked, works: list[Node]) -> Iterator[Finding]:
    here = [node for node in works if node.address in asked.probes]
    if len(here) == 1:
        only = here[0].address
        found = _Asked({only: asked.probes[only]}).ask(
            "all-reduce", LOOK_S, lambda probe, _: probe.all_reduce_here.remote()
        )
        yield from (one.on(only) for ones in found.values() for one in ones)
    elif here:
        yield _between([asked.probes[node.address] for node in here], "gloo", f"{len(here)} nodes")
    if sum(node.num_gpus for node in here) > 1:
        yield from _over_gpus(here)


def _over_gpus(nodes: list[Node]) -> Iterator[Finding]:
    """A rank for each GPU: within each node that has several, then between all. GPUs in use cannot be had."""
    import ray

    by_node = {node.address: [_probe(node, num_gpus=1) for _ in range(node.num_gpus)] for node in nodes}
    probes = [probe for ones in by_node.values() for probe in ones]
    _, waiting = ray.wait([probe.ready.remote() for probe in probes], num_returns=len(probes), timeout=START_S)
    try:
        if waiting:
            seen = f"nccl: {len(waiting)} of {len(probes)} GPUs are in use, so nothing was measured"
            yield Finding(
                "all-reduce", "warning", seen,
                "Run `tandem doctor --cluster` while nothing else runs.",
            )  # fmt: skip
            return
        for address, ones in by_node.items():
            if len(ones) > 1:
                yield _between(ones, "nccl", "one node").on(address)
        with_gpus = sum(bool(ones) for ones in by_node.values())
        if with_gpus > 1:
            yield _between(probes, "nccl", f"{with_gpus} nodes", is_between_nodes=True)
    finally:
        for probe in probes:
            ray.kill(probe)


def _between(probes: list[Any], backend: str, where: str, is_between_nodes: bool = False) -> Finding:
    """The first of the probes is where the others meet."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError

    size = len(probes)
    try:
        address = ray.get(probes[0].free_address.remote(), timeout=CALL_S)
        calls = [probe.all_reduce.remote(rank, size, address, backend) for rank, probe in enumerate(probes)]
        measured = ray.get(calls, timeout=2 * collective.JOIN_S)
        return collective.collective_finding(backend, measured, where, is_between_nodes)
    except GetTimeoutError:
        return collective.refused_finding(backend, f"it did not end within {2 * collective.JOIN_S:.0f} s on {where}")
    except RayTaskError as error:
        if not isinstance(error.cause, BROKEN):
            raise
        return collective.refused_finding(backend, f"on {where}: {_first_line(error.cause)}")
    except RayError as error:
        return collective.refused_finding(backend, f"on {where}: {_first_line(error)}")


def _same_model(found: Mapping[str, list[Finding]]) -> Iterator[Finding]:
    """Whether a model's folder holds the same files on all nodes, by name and size."""
    files: dict[str, dict[str, Any]] = {}
    for node, ones in found.items():
        for one in ones:
            if one.check == "model" and "files" in one.values:
                files.setdefault(one.seen.partition(": ")[0], {})[node] = one.values["files"]
    for model, by_node in files.items():
        first = next(iter(by_node))
        other = [node for node, listed in by_node.items() if listed != by_node[first]]
        if other:
            remedy = "Put it on storage that all nodes share, or copy the same files to each node."
            seen = f"{model} holds other files on {', '.join(other)} than on {first}"
            yield Finding("model", "failed", seen, remedy)


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0][:300]
