"""What stands inside the manifests is really run: the RayService's Serve config and the RayJob's entrypoint.

The cluster has a token, and its head no CPUs, as on Kubernetes. Only paths that are volumes, the port and the address
of Milvus are others, and a training is one epoch long.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import pytest

from cluster.manifests.bundle import Bundle, Manifest, value_at
from retrieval.store.milvus_lite import local_server
from tests.k8s.overlays import ROOT, rendered
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.matrix]
READY_S = 300
ATTEMPTS = 8
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Mounted:
    """The dev overlay with its volumes in a folder here."""

    bundle: Bundle
    folder: Path
    port: int
    milvus: str

    @property
    def environment(self) -> dict[str, str]:
        """What the pods have: the settings as variables, the token, and the project's own Python."""
        settings = self.the("ConfigMap", "tandem-settings").values["data"]
        mine = {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef", "PYTHONPATH": str(ROOT),
            "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return clean | {name: self.moved(value) for name, value in settings.items()} | mine

    @property
    def project_file(self) -> Path:
        return self.folder / "etc" / "tandem.yaml"

    def the(self, kind: str, name: str) -> Manifest:
        (found,) = [one for one in self.bundle.of(kind) if one.name.startswith(name)]
        return found

    def moved(self, text: str) -> str:
        for path, here in (("/etc/tandem", "etc"), ("/mnt/tandem", "mnt")):
            text = text.replace(path, str(self.folder / here))
        text = text.replace("/opt/tandem", str(ROOT)).replace("port: 8000", f"port: {self.port}")
        text = text.replace("epochs: 12", "epochs: 1")
        return text.replace("http://tandem-milvus:19530", self.milvus)

    def mount(self) -> None:
        for name in ("etc", "mnt"):
            (self.folder / name).mkdir(parents=True)
        project = self.the("ConfigMap", "tandem-project").values["data"]["tandem.yaml"]
        self.project_file.write_text(self.moved(project))


@dataclass(frozen=True)
class RayCluster:
    """The address of the dashboard."""

    url: str
    environment: dict[str, str]

    def run(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment | {"RAY_ADDRESS": self.url}, capture_output=True, text=True, timeout=timeout
        )


@contextmanager
def ray_nodes(environment: dict[str, str]) -> Iterator[RayCluster]:
    """A head without CPUs, and later a node with eight, each as `ray start` makes it in a pod."""
    folder = mkdtemp(prefix="ray-", dir="/tmp")  # the paths of Ray's sockets must be short
    gcs, dashboard = free_port(), free_port()
    head = ["--head", "--num-cpus=0", f"--port={gcs}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}",
            f"--ray-client-server-port={free_port()}"]  # fmt: skip
    worker = [f"--address=127.0.0.1:{gcs}", "--num-cpus=8"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_node(head, environment))
        cluster = RayCluster(f"http://127.0.0.1:{dashboard}", environment)
        headers = {"Authorization": f"Bearer {environment['RAY_AUTH_TOKEN']}"}
        wait_for(lambda: _status(f"{cluster.url}/api/version", headers) == 200, "the head's dashboard")
        assert _status(f"{cluster.url}/api/jobs/", {}) == 401, "a token is asked for"
        stack.enter_context(_node(worker, environment))
        yield cluster


@contextmanager
def _node(arguments: list[str], environment: dict[str, str]) -> Iterator[None]:
    """A node that is up. On a busy machine Ray gives one up whose agent takes more than 15 seconds to start, with all
    that belongs to it; Kubernetes would begin the pod again, and so does this."""
    for _ in range(ATTEMPTS):
        agent = free_port()
        node = _begun([*arguments, f"--dashboard-agent-listen-port={agent}"], environment)
        wait_for(lambda: node.poll() is not None or _is_up(agent), "a node that is up, or has ended")  # noqa: B023
        if node.poll() is None:
            break
    else:
        pytest.fail(f"no node was up after {ATTEMPTS} attempts")
    try:
        yield
    finally:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)


def _begun(arguments: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    ports = [f"--{name}={free_port()}" for name in ("dashboard-agent-grpc-port", "metrics-export-port")]
    anywhere = ["--block", "--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=200000000"]
    command = [str(BIN / "ray"), "start", *arguments, *ports, *anywhere]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)


def _is_up(agent: int) -> bool:
    """What KubeRay's liveness probe asks."""
    return _status(f"http://127.0.0.1:{agent}/api/healthz", {}) == 200


def _status(url: str, headers: dict[str, str]) -> int:
    try:
        return httpx.get(url, headers=headers, timeout=10).status_code
    except httpx.TransportError:
        return 0


def wait_for(condition: Any, what: str, seconds: float = READY_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} was not there after {seconds} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    folder = tmp_path_factory.mktemp("volumes")
    with local_server(folder / "milvus") as milvus:
        mounted = Mounted(Bundle.read(rendered("dev")), folder / "pod", free_port(), milvus)
        mounted.mount()
        yield mounted


@pytest.fixture(scope="module")
def cluster(dev: Mounted) -> Iterator[RayCluster]:
    with ray_nodes(dev.environment) as started:
        yield started


@pytest.mark.timeout(1500)
def test_the_entrypoint_of_the_ray_job_finishes_a_training(dev: Mounted, cluster: RayCluster) -> None:
    entrypoint = dev.moved(dev.the("RayJob", "tandem-train").spec["entrypoint"])
    done = cluster.run("ray", "job", "submit", "--", *entrypoint.split(), timeout=1400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    (adapter,) = (dev.folder / "mnt" / "adapters").iterdir()
    assert json.loads((adapter / "v1" / "manifest.json").read_text())["method"] == "lora"
    assert "it is live" in done.stdout


def test_the_serve_config_of_the_ray_service_answers(dev: Mounted, cluster: RayCluster, tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(dev.moved(dev.the("RayService", "tandem-serve").spec["serveConfigV2"]))
    deploy = ("serve", "deploy", str(config), "--address", cluster.url)
    # KubeRay too asks again where a dashboard that has just begun breaks the connection off.
    wait_for(lambda: cluster.run(*deploy).returncode == 0, "a dashboard that takes the config", 120)
    url = f"http://127.0.0.1:{dev.port}"
    probe = value_at(_worker(dev), "readinessProbe.httpGet.path")
    wait_for(lambda: _status(f"{url}{probe}", {}) == 200, "the gateway")
    wait_for(lambda: _status(f"{url}/health", {}) == 200, "the engine")
    body = {"model": "base", "messages": [{"role": "user", "content": "What is the atomic number of Iron?"}]}
    assert httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).status_code == 401
    made = cluster.run("python", "-P", "-m", "tandem", "keys", "create", "first", "-c", str(dev.project_file))
    key = next(word for word in made.stdout.split() if word.startswith("tdm_"))
    headers = {"Authorization": f"Bearer {key}"}
    wait_for(lambda: _status(f"{url}/v1/models", headers) == 200, "the key")
    answer = httpx.post(f"{url}/v1/chat/completions", json=body | {"max_tokens": 8}, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] and answer.json()["model"] == "base"


def test_the_node_that_took_the_request_is_not_the_head(cluster: RayCluster) -> None:
    """The service leaves the head out: with no CPUs there, no gateway can be on it."""
    listed = cluster.run("ray", "list", "nodes", "--format", "json", "--address", cluster.url)
    nodes = json.loads(listed.stdout)
    (head,) = [one for one in nodes if one["is_head_node"]]
    assert head["resources_total"].get("CPU", 0) == 0 and len(nodes) == 2


def _worker(dev: Mounted) -> dict[str, Any]:
    groups = dev.the("RayService", "tandem-serve").spec["rayClusterConfig"]["workerGroupSpecs"]
    return dict(groups[0]["template"]["spec"]["containers"][0])
