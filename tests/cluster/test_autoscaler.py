"""How many GPUs an autoscaler may add: from its configuration, and asked of real autoscalers with no GPU node up."""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.autoscaler import VARIABLE, gpus_of_ray_cluster, max_gpus, most_gpus, read_monitor, read_ray_cluster
from cluster.errors import TandemError
from tests.cluster.nodes import ROOT, Nodes, several_nodes
from tests.retrieval.proxy import Certificates, make_certificates

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
HEAD_ID, HEAD_TYPE = "f" * 51 + "00000", "ray.head.default"
"""The head for Ray's provider of fake machines (ray/autoscaler/_private/fake_multi_node)."""
COMPLETE: dict[str, Any] = {
    "cluster_name": "fake", "idle_timeout_minutes": 1, "upscaling_speed": 1.0, "docker": {}, "auth": {},
    "provider": {"type": "external", "module": PROVIDER, "launch_multiple": True, "head_node_id": HEAD_ID},
    "file_mounts": {}, "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
    **{key: [] for key in ("cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands",
                           "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
}  # fmt: skip
"""What an autoscaler of machines asks for besides its node types."""


def node_type(gpus: int, fewest: int, most: int) -> dict[str, Any]:
    return {"resources": {"CPU": 1, "GPU": gpus}, "node_config": {}, "min_workers": fewest, "max_workers": most}


def autoscaling(limit: int, **types: dict[str, Any]) -> dict[str, Any]:
    """An autoscaling configuration whose head has neither GPU nor CPU."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    return {"head_node_type": HEAD_TYPE, "max_workers": limit, "available_node_types": {HEAD_TYPE: head, **types}}


@pytest.mark.parametrize(
    ("config", "gpus"),
    [
        (autoscaling(8), 0),
        (autoscaling(8, cpu=node_type(0, 0, 8)), 0),
        (autoscaling(8, gpu=node_type(2, 0, 2)), 4),
        (autoscaling(1, gpu=node_type(8, 0, 4)), 8),
        (autoscaling(4, cpu=node_type(0, 3, 3), gpu=node_type(8, 0, 4)), 8),
        (autoscaling(3, small=node_type(1, 0, 3), large=node_type(8, 0, 2)), 17),
        (autoscaling(3, small=node_type(1, 2, 3), large=node_type(8, 0, 2)), 10),
        (autoscaling(2, gpu={"resources": {"GPU": 4}}), 8),
        (autoscaling(0, gpu=node_type(8, 0, 4)), 0),
    ],
)
def test_the_most_gpus_of_a_configuration(config: dict[str, Any], gpus: int) -> None:
    assert most_gpus(config) == gpus


def test_a_heads_gpus_count() -> None:
    config = autoscaling(2, gpu=node_type(4, 0, 2))
    config["available_node_types"][HEAD_TYPE]["resources"] = {"GPU": 1}
    assert most_gpus(config) == 9


def test_a_configuration_without_node_types_is_refused() -> None:
    with pytest.raises(TandemError, match=r"no `available_node_types`.*Set TANDEM_MAX_GPUS"):
        most_gpus({"max_workers": 3})


def test_the_variable_comes_first_and_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "16")
    assert max_gpus(is_on_head=True) == 16
    for text in ("", "many", "-1", "1.5"):
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(TandemError, match="TANDEM_MAX_GPUS is"):
            max_gpus(is_on_head=True)


@pytest.mark.parametrize("version", ["_private", "v2"])
def test_the_configuration_of_a_heads_own_autoscaler_is_read(tmp_path: Path, version: str) -> None:
    """A process with the command line that Ray gives it (ray/_private/services.py, start_monitor)."""
    file = tmp_path / "autoscaling.yaml"
    file.write_text(yaml.safe_dump(autoscaling(2, gpu=node_type(2, 0, 2))))
    wait = [
        sys.executable,
        "-c",
        "input(print(flush=True))",
        f"/site-packages/ray/autoscaler/{version}/monitor.py",
        "--logs-dir=/tmp",
    ]
    for more, gpus in (([f"--autoscaling-config={file}"], 4), ([], 0)):
        with subprocess.Popen(
            [*wait, "--gcs-address=10.0.0.1:6379", *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout and process.stdout.readline()  # before, its command line is not there yet
            assert read_monitor("10.0.0.1:6379") == gpus
            assert read_monitor("10.0.0.1:6380") is None
            if more:
                file.unlink()
                with pytest.raises(TandemError, match=r"configuration cannot be read.*Set TANDEM_MAX_GPUS"):
                    read_monitor("10.0.0.1:6379")
            process.communicate(b"\n")
    assert read_monitor("10.0.0.1:6379") is None


@pytest.mark.parametrize(("scales", "gpus"), [(True, 32), (False, 0)])
def test_a_ray_cluster_counts_where_an_autoscaler_scales_it(scales: bool, gpus: int) -> None:
    cluster = ray_cluster()
    cluster["spec"]["enableInTreeAutoscaling"] = scales
    assert gpus_of_ray_cluster(cluster) == gpus


def test_a_ray_cluster_is_read_from_the_kubernetes_api(tmp_path: Path) -> None:
    """A server with a certificate, as a pod finds it; a client certificate takes the place of the pod's token."""
    certificates = make_certificates(tmp_path / "tls", "IP:127.0.0.1")
    cluster = json.dumps(ray_cluster() | {"spec": ray_cluster()["spec"] | {"enableInTreeAutoscaling": True}}).encode()
    with kubernetes_api({"/apis/ray.io/v1/namespaces/tandem/rayclusters/mine": cluster}, certificates) as port:
        environment = {
            **os.environ, "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
            "RAY_CLUSTER_NAMESPACE": "tandem", "RAY_KUBERAY_CA_CERT_PATH": str(certificates.authority),
            "RAY_KUBERAY_CLIENT_CERT_PATH": str(certificates.certificate),
            "RAY_KUBERAY_CLIENT_KEY_PATH": str(certificates.key),
        }  # fmt: skip
        code = (
            "import sys\nfrom cluster.autoscaler import gpus_of_ray_cluster, read_ray_cluster\n"
            "print(gpus_of_ray_cluster(read_ray_cluster(sys.argv[1])))"
        )
        asked = [
            subprocess.run(
                [sys.executable, "-c", code, name],
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=120,
            )
            for name in ("mine", "another")
        ]
    assert asked[0].stdout.split() == ["32"], asked[0].stderr
    assert "manages RayCluster another, which the head's pod cannot read: 404" in asked[1].stderr


def test_a_pod_without_a_token_is_told_what_to_set() -> None:
    with pytest.raises(TandemError, match=r"cannot read.*service account.*Set TANDEM_MAX_GPUS"):
        read_ray_cluster("mine")


@contextmanager
def kubernetes_api(answers: dict[str, bytes], certificates: Certificates) -> Iterator[int]:
    """A server on a port of this machine that answers these paths, and all others with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            self.send_response(200 if answer else 404)
            self.end_headers()
            self.wfile.write(answer or b"{}")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def ray_cluster() -> dict[str, Any]:
    """As Tandem renders it, with up to four workers of eight GPUs and none of them up."""
    text = (ROOT / "k8s/base/cluster/raycluster.yaml").read_text()
    cluster: dict[str, Any] = yaml.safe_load(text)
    (group,) = cluster["spec"]["workerGroupSpecs"]
    group |= {"replicas": 0, "minReplicas": 0, "maxReplicas": 4}
    group["template"]["spec"]["containers"][0]["resources"]["limits"] |= {"nvidia.com/gpu": "8", "rdma/ib": "1"}
    return cluster


@pytest.fixture(params=["1", "2"])
def autoscaled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nodes]:
    """A head whose autoscaler, of version 1 or 2, may start two machines of two GPUs, and has started none."""
    path = tmp_path / "autoscaling.json"
    environment = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    if request.param == "2":
        environment |= {
            "RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        }  # fmt: skip
    with several_nodes() as nodes:
        config = COMPLETE | autoscaling(2, gpu=node_type(2, 0, 2))
        config["provider"] |= {"gcs_address": nodes.address}
        path.write_text(json.dumps(config))
        nodes.head(f"--autoscaling-config={path}", environment=environment)
        yield nodes


@pytest.mark.slow
def test_a_cluster_with_no_gpu_node_up_has_the_gpus_of_its_autoscaler(autoscaled: Nodes) -> None:
    """From a driver on the head, and from a task on another node, which has to ask the head."""
    here = autoscaled.run(
        "from cluster.hardware import read_hardware\n"
        "print(ray.cluster_resources().get('GPU', 0), read_hardware().max_gpus)"
    )
    assert here.split()[-2:] == ["0", "4"]
    autoscaled.workers(1)
    there = autoscaled.run(
        "from cluster.hardware import read_hardware\n"
        "print(ray.get(ray.remote(num_cpus=1)(lambda: read_hardware().max_gpus).remote()))"
    )
    assert "4" in there.split()
