"""How many GPUs the autoscaler of a Ray cluster may bring it to.

Ray 2.60 has a place for it in its control store (`get_max_resources_from_cluster_config`, which Ray Train reads), but
neither of Ray's own autoscalers writes there (ray-project/ray#63012, #52033). So this reads what they read themselves:

- Kubernetes: the RayCluster object, with the service account of the head's pod;
- machines: the file of `ray start --head --autoscaling-config`, on the head's machine.

TANDEM_MAX_GPUS comes before both.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.node_answers import get_answers

VARIABLE = "TANDEM_MAX_GPUS"
ACCEPTED = "A configuration as `ray start --autoscaling-config` takes it."
REMEDY = f"Set {VARIABLE} for the command to the most GPUs that the cluster may have; 0 where it has none."
HEAD = "node:__internal_head__"
"""The resource that Ray gives to a head, and to no other node."""

NODE_S = 120.0
_MONITORS = ("autoscaler/_private/monitor.py", "autoscaler/v2/monitor.py")
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def max_gpus(is_on_head: bool) -> int:
    """GPUs that the autoscaler of the open session may bring its cluster to; 0 where none may add any.

    Args:
        is_on_head: whether this process runs on the head, so that nothing needs to be asked of it.

    Raises:
        TandemError: there is an autoscaler, and nothing says how many GPUs it may add, or the head does not answer.
    """
    if (given := os.environ.get(VARIABLE)) is not None:
        return _given(given)
    import ray

    if is_on_head:
        return _read_on_head(ray.get_runtime_context().gcs_address)
    ask = ray.remote(num_cpus=0, resources={HEAD: 0.001})(_read_from_task)
    return int(get_answers([ask.remote()], NODE_S)[0])


def most_gpus(config: Mapping[str, Any]) -> int:
    """The most GPUs of a cluster with this autoscaling configuration, its head's included.

    Node types of which some nodes are always up keep their places; the places left go to the types with most GPUs.

    Args:
        config: as Ray's autoscaler takes it (docs.ray.io, "Cluster YAML Configuration Options").

    Raises:
        TandemError: it has no node types.
    """
    types = config.get("available_node_types")
    if not isinstance(types, Mapping):
        raise TandemError("The autoscaler's configuration has no `available_node_types`.", ACCEPTED, REMEDY)
    head, limit = config.get("head_node_type"), int(config.get("max_workers", 0))
    workers = [
        (_gpus(each), int(each.get("min_workers", 0)), int(each.get("max_workers", limit)))
        for name, each in types.items() if name != head
    ]  # fmt: skip
    gpus = _gpus(types[head]) if head in types else 0
    free = max(0, limit - sum(fewest for _, fewest, _ in workers))
    for num, fewest, most in sorted(workers, reverse=True):
        more = min(free, max(0, most - fewest))
        gpus, free = gpus + num * (fewest + more), free - more
    return gpus


def _given(text: str) -> int:
    if not text.strip().isdecimal():
        raise TandemError(f"{VARIABLE} is {text!r}.", "It is a number of GPUs, 0 or more.", REMEDY)
    return int(text)


def _gpus(node_type: Mapping[str, Any]) -> int:
    return int((node_type.get("resources") or {}).get("GPU", 0))


def _read_from_task() -> int:
    import ray

    return _read_on_head(ray.get_runtime_context().gcs_address)


def _read_on_head(gcs_address: str) -> int:
    """What Ray's control store, the monitor of this machine or the RayCluster of this pod says.

    A head that KubeRay starts with an autoscaler beside it has no monitor among its own processes (`--no-monitor`).
    """
    from ray._private.state import state

    if reported := state.get_max_resources_from_cluster_config():
        return int(reported.get("GPU", 0))
    if (found := read_monitor(gcs_address)) is not None:
        return found
    name = os.environ.get("RAY_CLUSTER_NAME")  # set by KubeRay
    return gpus_of_ray_cluster(read_ray_cluster(name)) if name else 0


def read_monitor(gcs_address: str) -> int | None:
    """The most GPUs that the autoscaler process of this head may bring; None where it has no such process.

    Every head has one that looks at its nodes, unless it was started with `--no-monitor`; with a configuration it
    starts nodes too.
    """
    for command in _commands():
        if f"--gcs-address={gcs_address}" in command and any(word.endswith(_MONITORS) for word in command):
            files = [word.partition("=")[2] for word in command if word.startswith("--autoscaling-config=")]
            return most_gpus(_read_file(Path(files[0]).expanduser())) if files else 0
    return None


def _commands() -> Iterator[list[str]]:
    """The command lines of this machine's processes, on Linux."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:  # it has ended, or is another user's
            continue


def _read_file(path: Path) -> Mapping[str, Any]:
    """An autoscaling configuration: YAML, of which JSON is a part."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        seen = f"The autoscaler's configuration cannot be read: {path}: {error}."
        raise TandemError(seen, ACCEPTED, REMEDY) from error
    return values if isinstance(values, Mapping) else {}


def read_ray_cluster(name: str) -> dict[str, Any]:
    """The RayCluster of this pod, from the Kubernetes API, as Ray's own autoscaler reads it."""
    import requests
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    try:
        given = os.environ.get("RAY_CLUSTER_NAMESPACE")
        namespace = given or (_SERVICE_ACCOUNT / "namespace").read_text().strip()
        cluster: dict[str, Any] = KubernetesHttpApiClient(namespace).get(f"rayclusters/{name}")
    except (OSError, ValueError, requests.RequestException) as error:
        raise TandemError(
            f"An autoscaler beside the head manages RayCluster {name}, which the head's pod cannot read: {error}.",
            "Its service account may get RayClusters, and the pod has that account's token.",
            REMEDY,
        ) from error
    return cluster


def gpus_of_ray_cluster(cluster: Mapping[str, Any]) -> int:
    """The most GPUs of a RayCluster, as Ray's autoscaler takes them from its groups; 0 where nothing scales it."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return 0
    return most_gpus(_derive_autoscaling_config_from_ray_cr(cluster))
