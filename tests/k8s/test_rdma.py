"""The component `rdma` in the production overlay: every rule is kept, and workers reach each other on any port."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from cluster.manifests.bundle import Bundle, Pod
from cluster.manifests.network_policies import connection_paths
from tandem.commands.cluster.render_check import check_manifests
from tests.k8s.overlays import K8S, kustomize, rendered, set_values
from tests.k8s.test_built_in import VERSION
from tests.k8s.test_docs import DOCS
from tests.k8s.test_rules import CRDS, TANDEM

RESOURCE, NETWORKS = "rdma/hca_shared_devices_a", "k8s.v1.cni.cncf.io/networks"


def with_rdma(folder: Path, network: str = "", command: str = "") -> Bundle:
    """The production overlay with the component, after `command` has changed a copy of k8s/."""
    rendered("production")  # skips where there is no kubectl
    overlay = shutil.copytree(K8S, folder / "k8s") / "overlays" / "production"
    file, settings = overlay / "kustomization.yaml", overlay / "project" / "settings.env"
    text = file.read_text()
    file.write_text(text.replace("- ../../components/queue\n", "- ../../components/queue\n- ../../components/rdma\n"))
    settings.write_text(settings.read_text().replace("RDMA_NETWORK=\n", f"RDMA_NETWORK={network}\n"))
    set_values(settings)
    if command:
        subprocess.run(command, shell=True, check=True, cwd=folder)
    return Bundle.read(kustomize(overlay))


def workers(bundle: Bundle) -> list[Pod]:
    return [pod for pod in bundle.pods if pod.part == "worker" and pod.owner.kind in ("RayJob", "RayCluster")]


def limits(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = pod.containers[0]["resources"]["limits"]
    return found


@pytest.mark.parametrize("network", ["", "sriov-rdma"])
def test_every_rule_is_kept_restricted_pods_among_them(tmp_path: Path, network: str) -> None:
    bundle = with_rdma(tmp_path, network)
    assert check_manifests(bundle, TANDEM, Path(CRDS) if CRDS else None) == []
    assert [limits(pod)[RESOURCE] for pod in workers(bundle)] == ["1", "1"]
    for pod in workers(bundle):
        assert pod.template["metadata"]["annotations"] == {NETWORKS: network}
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **pod.template}, VERSION, strict=True)
    others = [pod for pod in bundle.pods if pod.is_ours and pod not in workers(bundle)]
    assert not any(RESOURCE in limits(pod) for pod in others)


def test_sockets_of_nccl_reach_workers_of_the_same_cluster_only(tmp_path: Path) -> None:
    """NCCL meets, and without RDMA sends, on ports that it chooses."""
    paths = connection_paths(with_rdma(tmp_path))
    for instance in ("train", "cluster"):
        callers = {path.caller for path in paths if path.called == f"{instance}-worker" and path.port == "all"}
        assert {f"{instance}-worker", f"{instance}-head"} <= callers
        assert all(caller.startswith(f"{instance}-") for caller in callers)


def test_the_documented_command_names_another_resource(tmp_path: Path) -> None:
    command = re.search(r"^ *(sed -i .*k8s/components/rdma/kustomization\.yaml)$", DOCS.read_text(), re.MULTILINE)
    assert command
    bundle = with_rdma(tmp_path, command=command[1])
    assert [limits(pod)["vpc.amazonaws.com/efa"] for pod in workers(bundle)] == ["32", "32"]
    assert not any(RESOURCE in limits(pod) for pod in workers(bundle))
    assert check_manifests(bundle, TANDEM, Path(CRDS) if CRDS else None) == []
