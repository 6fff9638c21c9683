"""What a job needs and what a cluster has: a job that would wait for ever is refused at once.

Only what is certain is refused: what is taken by other jobs now may be free later, and an autoscaler may add nodes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.errors import TandemError
from cluster.hardware import Gpu, Hardware, Node
from cluster.jobs.dashboard import Dashboard

Resources = Mapping[str, float]
"""Ray's resources by name, as in {"CPU": 1, "GPU": 1}."""

_COUNTED = ("CPU", "GPU")


@dataclass(frozen=True)
class Phase:
    """What has to be there at the same time: bundles, each on one node."""

    name: str
    bundles: tuple[Resources, ...]


@dataclass(frozen=True)
class ClusterCapacity:
    """What a cluster has in all, whoever uses it now."""

    nodes: tuple[Resources, ...]
    may_grow: bool
    """An autoscaler may add nodes. Ray's dashboard does not say how many."""

    @property
    def num_gpus(self) -> int:
        return int(sum(node.get("GPU", 0) for node in self.nodes))

    @property
    def hardware(self) -> Hardware:
        """The nodes by the number of their GPUs. Ray's dashboard does not say of which kind they are."""
        return Hardware(tuple(
            Node(int(node.get("CPU", 0)), int(node.get("memory", 0)), (Gpu("GPU", 0),) * int(node.get("GPU", 0)))
            for node in self.nodes
        ))  # fmt: skip

    def told(self) -> str:
        """Such as 2 nodes with 16 CPU and 4 GPU, 1 node with 4 CPU."""
        kinds = Counter(tuple((name, f"{node.get(name, 0):g}") for name in _COUNTED) for node in self.nodes)
        return ", ".join(
            f"{number} node{'s' if number > 1 else ''} with {' and '.join(f'{value} {name}' for name, value in kind)}"
            for kind, number in kinds.most_common()
        )


def capacity_at(dashboard: Dashboard) -> ClusterCapacity:
    """The living nodes of a cluster.

    Raises:
        TandemError: as Dashboard.call.
    """
    told = dashboard.get("/api/v0/nodes?detail=true&limit=10000")["data"]["result"]["result"]
    alive = [node for node in told if node["state"] == "ALIVE"]
    nodes = tuple(node["resources_total"] or {} for node in alive)
    return ClusterCapacity(nodes, not _is_fixed(dashboard))


def check_capacity(phases: Iterable[Phase], room: ClusterCapacity) -> list[str]:
    """What the cluster lacks, as sentences, where nodes may still come.

    Raises:
        TandemError: it lacks something, and no nodes will come.
    """
    lacking = [sentence for phase in phases for sentence in _lacking(phase, room)]
    if lacking and not room.may_grow:
        raise TandemError(
            f"The cluster can never run this: {'; '.join(lacking)}.",
            f"It has {room.told()}.",
            "Ask for less in the project file, or add nodes.",
        )
    return lacking


def _lacking(phase: Phase, room: ClusterCapacity) -> list[str]:
    """What is certain: too few places for bundles of a kind, or too little of a resource for all together."""
    lacking = []
    for bundle, number in Counter(tuple(sorted(bundle.items())) for bundle in phase.bundles).items():
        places = sum(_places(dict(bundle), node) for node in room.nodes)
        if places < number:
            each = " and ".join(f"{value:g} {name}" for name, value in bundle)
            lacking.append(f"{phase.name} takes {number} times {each} on one node, and there is room for {places}")
    if lacking:
        return lacking
    for name in sorted({name for bundle in phase.bundles for name in bundle}):
        needed = sum(bundle.get(name, 0) for bundle in phase.bundles)
        there = sum(node.get(name, 0) for node in room.nodes)
        if there < needed:
            lacking.append(f"{phase.name} takes {needed:g} {name} in all, and there are {there:g}")
    return lacking


def _places(bundle: Resources, node: Resources) -> int:
    """How many bundles of this kind an empty node has room for."""
    return min((int(node.get(name, 0) // value) for name, value in bundle.items() if value), default=1)


def _is_fixed(dashboard: Dashboard) -> bool:
    """Without an autoscaler Ray's monitor reports each node as a type of its own, called after the node.

    ray/autoscaler/_private/util.py, format_readonly_node_type; where no monitor runs nothing is known.
    """
    status = (dashboard.get("/api/cluster_status")["data"] or {}).get("clusterStatus") or {}
    types: dict[str, str] = (status.get("autoscalerReport") or {}).get("nodeTypeMapping") or {}
    return bool(types) and all(kind == f"node_{node}" for node, kind in types.items())
