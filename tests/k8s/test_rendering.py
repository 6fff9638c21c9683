"""`tandem render`: what it writes is what k8s/base holds, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.autoscaler import gpus_of_ray_cluster
from cluster.errors import TandemError
from cluster.manifests.kuberay import Pods, Target, ray_service
from tandem.commands.cluster.render import read_rdma
from tests.k8s.overlays import K8S
from tests.tandem.test_command import refused, tandem

BASE = K8S / "base"
WRITTEN = {
    "training/rayjob.yaml": ("rayjob", "--pods", "1"),
    "serving/rayservice.yaml": ("rayservice",),
    "cluster/raycluster.yaml": ("raycluster",),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(BASE / "tandem.yaml", tmp_path)
    return tmp_path


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "tandem.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize("file", WRITTEN)
def test_the_base_is_what_the_command_writes(folder: Path, file: str) -> None:
    done = tandem(folder, "render", *WRITTEN[file])
    assert done.returncode == 0, done.stderr
    assert done.stdout == (BASE / file).read_text(), f"write it again: tandem render {' '.join(WRITTEN[file])}"
    assert "Next: kubectl " in done.stderr


def test_the_serve_config_is_that_of_write_config_and_of_the_ray_service(folder: Path) -> None:
    assert tandem(folder, "serve", "--write-config", "serve.yaml").returncode == 0
    assert tandem(folder, "render", "serve-config").stdout == (folder / "serve.yaml").read_text()
    mounted = tandem(folder, "render", "serve-config", "--project-path", "/etc/tandem/tandem.yaml").stdout
    service: dict[str, Any] = yaml.safe_load((BASE / "serving" / "rayservice.yaml").read_text())
    assert service["spec"]["serveConfigV2"] == mounted


def test_options_reach_the_manifest(folder: Path) -> None:
    change(folder, "workers: 2", "workers: {min: 2, max: 4}")
    options = ("--image", "r/t:1", "--namespace", "ml", "--storage-claim", "nfs", "--gpus", "2", "--queue", "fast")
    done = tandem(folder, "render", "rayjob", *options, "--resume", "--deadline-h", "2", "--json", "-o", "job.yaml")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)["document"]
    assert job == yaml.safe_load((folder / "job.yaml").read_text())
    assert job["metadata"]["namespace"] == "ml" and job["spec"]["activeDeadlineSeconds"] == 7200
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "fast"
    assert job["spec"]["entrypoint"] == "python -P -m tandem train --resume -c /etc/tandem/tandem.yaml"
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    assert group["replicas"] == 2 and pod["containers"][0]["image"] == "r/t:1"  # four workers, two GPUs in a pod
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert {"name": "storage", "persistentVolumeClaim": {"claimName": "nfs"}} in pod["volumes"]


def test_an_autoscaling_cluster_tells_ray_its_gpus_while_none_is_up(folder: Path) -> None:
    options = (
        "--gpus",
        "8",
        "--pods",
        "4",
        "--min-pods",
        "0",
        "--rdma",
        "vpc.amazonaws.com/efa=32",
        "--network",
        "efa",
    )
    done = tandem(folder, "render", "raycluster", *options, "--json")
    cluster = json.loads(done.stdout)
    (group,) = cluster["spec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (0, 0, 4)
    assert group["template"]["metadata"]["annotations"] == {"k8s.v1.cni.cncf.io/networks": "efa"}
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "8" and limits["vpc.amazonaws.com/efa"] == "32"
    assert gpus_of_ray_cluster(cluster) == 32
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    assert "serviceAccountName" not in head and "automountServiceAccountToken" not in head


def test_a_job_may_wait_for_the_autoscaler_and_a_queue_may_not(folder: Path) -> None:
    done = tandem(folder, "render", "rayjob", "--gpus", "1", "--min-pods", "0", "--json")
    assert json.loads(done.stdout)["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    said = refused(tandem(folder, "render", "rayjob", "--min-pods", "0", "--queue", "fast"))
    assert "the queue fast takes jobs of a fixed size only" in said
    assert "--min-pods is 3, and there are 2 pods at most" in refused(
        tandem(folder, "render", "raycluster", "--pods", "2", "--min-pods", "3")
    )


@pytest.mark.parametrize("text", ["rdma", "rdma/", "/x", "rdma/x=0", "rdma/x=many", "rdma/x=-1", "RDMA/x y"])
def test_a_device_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TandemError, match="The resource of a device plugin"):
        read_rdma(text)
    assert read_rdma("rdma/x") == ("rdma/x", 1)


def test_as_many_pods_as_the_engines_need(folder: Path) -> None:
    change(folder, "request_timeout_s: 120", "num_replicas: {min: 1, max: 6}")
    change(folder, "drain_s: 20", "engine_kwargs: {tensor_parallel_size: 2}")
    done = tandem(folder, "render", "rayservice", "--gpus", "4", "--json")
    (group,) = json.loads(done.stdout)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 3)
    said = refused(tandem(folder, "render", "rayservice", "--gpus", "1"))
    assert "An engine takes 2 GPUs, and a pod has 1." in said and "--gpus 2" in said


@pytest.mark.parametrize(
    ("old", "new", "verb", "said"),
    [
        ("host: 0.0.0.0", "host: 127.0.0.1", ("rayservice",), "serving.host is 127.0.0.1: no other pod could reach"),
        ("uri: http://tandem-milvus:19530", "uri: local", ("serve-config",), "The document store is `local`"),
        ("workers: 2", "workers: 9", ("rayjob", "--pods", "1", "--gpus", "2"), "asks for 9 workers, and 1 pods have"),
        ("workers: 2", "workers: 2", ("rayjob", "--project-path", "tandem.yaml"), "is to be at tandem.yaml"),
        ("model:", "modell:", ("rayjob",), "unknown key 'modell'"),
    ],
)
def test_what_could_not_run_is_refused(folder: Path, old: str, new: str, verb: tuple[str, ...], said: str) -> None:
    change(folder, old, new)
    assert said in refused(tandem(folder, "render", *verb))


def test_the_longest_answer_decides_how_long_a_pod_is_waited_for() -> None:
    document = ray_service(Target("a:1"), Pods(1, 2), (1, 2), "", 8000, longest_s=900, drain_s=20)
    pod = document["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 2 * 900 + 60 + 20
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2] == (
        "sleep 900; timeout 60 ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'the pod ends' "
        "--deadline-remaining-seconds 900; sleep 900"
    )
    assert document["spec"]["rayClusterDeletionDelaySeconds"] > 900 + 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("", "holds no manifest"),
        ("just words", "holds something that is no manifest"),
    ],
)
def test_check_refuses_what_is_no_manifest(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "all.yaml").write_text(text)
    assert said in refused(tandem(tmp_path, "render", "check", "all.yaml"))
    assert "nowhere.yaml cannot be read" in refused(tandem(tmp_path, "render", "check", "nowhere.yaml"))


def test_check_names_what_is_wrong_and_ends_with_2(tmp_path: Path) -> None:
    service = (BASE / "serving" / "rayservice.yaml").read_text()
    (tmp_path / "all.yaml").write_text(service.replace("2.60.0", "2.59.0"))
    done = tandem(tmp_path, "render", "check", "all.yaml", "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert {"version", "reference", "deny"} <= {one["rule"] for one in found}
    assert any("rayVersion is 2.59.0, the image has 2.60.0" in one["text"] for one in found)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [(None, "", "There are no schemas in"), ("a.json", "{}", "is no schema"), ("a.json", "{", "is no schema")],
)
def test_a_folder_without_schemas_is_refused(tmp_path: Path, name: str | None, text: str, said: str) -> None:
    crds = tmp_path / "crds"
    crds.mkdir()
    if name:
        (crds / name).write_text(text)
    (tmp_path / "all.yaml").write_text("kind: ConfigMap\nmetadata: {name: a, namespace: b}\n")
    assert said in refused(tandem(tmp_path, "render", "check", "all.yaml", TANDEM_CRDS=str(crds)))
