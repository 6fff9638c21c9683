"""A Ray cluster of several nodes on one machine, each with its own address, and a Redis that a head comes back from.

with several_nodes() as cluster:
    head, (first, second) = cluster.head(), cluster.workers(4, 4)
    second.kill()

A node is `ray start --block` and all that comes of it. It is found by a mark in its environment, so that it can be
killed as a machine is lost: every process of it at once.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.manifests.kuberay import DRAIN
from cluster.session import ENVIRONMENT
from tests.ports import free_port
from tests.processes import MARK, descendants
from tests.serving.redis_server import redis_server

ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
HEAD = "127.0.1.1"  # Ray takes the machine's own address instead of 127.0.0.1
OBJECT_STORE_BYTES = 150 * 2**20
STARTED_S = 600.0


@dataclass
class Node:
    """One node: its address, and the environment that its processes have in common."""

    address: str
    environment: dict[str, str]
    log: Path
    command: list[str]
    main: "subprocess.Popen[bytes] | None" = None

    @property
    def has_ended(self) -> bool:
        return self.main is None or self.main.poll() is not None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.main = subprocess.Popen(
                self.command, env=self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def processes(self, part: str = "") -> dict[int, str]:
        """Command lines by process id, of those in whose command line `part` stands."""
        return {pid: line for pid, line in descendants(self.environment).items() if part in line}

    def kill(self, part: str = "") -> tuple[float, float]:
        """SIGKILL to all its processes, or to those that `part` names, and to what they start meanwhile.

        Returns:
            When the first and when the last of those that lived was killed, in seconds of time.monotonic.
        """
        found = self.processes(part)
        began = time.monotonic()
        _kill(found)
        ended = time.monotonic()
        while not part and (found := self.processes()):
            _kill(found)
        return began, ended


@dataclass
class Nodes:
    """Starts nodes of one cluster."""

    folder: Path
    redis: str | None
    port: int
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{HEAD}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """That of a driver, too."""
        # A head that is away must not end the others: KubeRay sets the same number for its workers.
        return {
            **os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token,
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
            "RAY_agent_register_timeout_ms": "120000",
            "RAY_enable_worker_prestart": "0", "RAY_ADDRESS": self.address,
        }  # fmt: skip

    def head(self, *more: str, environment: Mapping[str, str] | None = None) -> Node:
        """On which nothing runs but Ray's own. Once more after the first was killed: the same cluster, from Redis."""
        redis = {"RAY_REDIS_ADDRESS": self.redis, "RAY_external_storage_namespace": "tandem"} if self.redis else {}
        options = [
            "--head", f"--port={self.port}", "--num-cpus=0", f"--temp-dir={self.folder}", "--include-dashboard=false",
            f"--ray-client-server-port={free_port()}", f"--dashboard-port={free_port()}",
        ]  # fmt: skip
        (self.folder / "ray_current_cluster").unlink(missing_ok=True)  # a head on a machine of its own finds none
        return self._waited_for([self._start(HEAD, [*options, *more], redis | dict(environment or {}))])[0]

    def workers(self, *num_cpus: int, prefix: Sequence[str] = ()) -> list[Node]:
        """A node for each number of logical CPUs; `prefix` is put before the command that starts one."""
        first = 2 + len([node for node in self.started if node.address != HEAD])
        return self._waited_for([
            self._start(f"127.0.0.{first + n}", [f"--address={self.address}", f"--num-cpus={cpus}"], {}, prefix)
            for n, cpus in enumerate(num_cpus)
        ])  # fmt: skip

    def drain(self, node: Node, deadline_s: float) -> None:
        """Tell Ray that the node is to go, as its pod does on Kubernetes."""
        ids = "print(next(n['NodeID'] for n in ray.nodes() if n['Alive'] and n['NodeManagerAddress'] == sys.argv[1]))"
        chosen = ["--address", self.address, "--node-id", self.run(ids, node.address).split()[-1]]
        command = [*RAY, *shlex.split(DRAIN)[3:], f"--deadline-remaining-seconds={deadline_s:.0f}", *chosen]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, code: str, *arguments: str, timeout_s: float = 300) -> str:
        """What a driver of its own prints, with Ray imported and joined."""
        joined = f"import ray, sys\nray.init('{self.address}', log_to_driver=False, logging_level='ERROR')\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", joined, *arguments],
            env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def _start(self, address: str, options: list[str], more: dict[str, str], prefix: Sequence[str] = ()) -> Node:
        environment = {**self.environment, **more, MARK: uuid.uuid4().hex}
        command = [
            *prefix, *RAY, "start", "--block", "--disable-usage-stats", f"--node-ip-address={address}", *options,
            f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false",
            "--min-worker-port=0", "--max-worker-port=0",
            f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}",
        ]  # fmt: skip
        node = Node(address, environment, self.folder.parent / f"{address}-{len(self.started)}.log", command)
        self.started.append(node)
        node.start()
        return node

    def _waited_for(self, nodes: list[Node]) -> list[Node]:
        """On a busy machine a node gives up (Ray waits 15 s for its agent, 30 s for all); it is started again then."""
        deadline = time.monotonic() + STARTED_S
        while any("--block" not in node.log.read_text() for node in nodes):
            for node in nodes:
                assert time.monotonic() < deadline, node.log.read_text()
                if node.has_ended:
                    node.kill()
                    node.start()
            time.sleep(0.1)
        return nodes


@contextlib.contextmanager
def several_nodes(with_redis: bool = False) -> Iterator[Nodes]:
    """Nodes that are gone at the end, with their Redis."""
    with contextlib.ExitStack() as held:
        # short: Ray keeps sockets below it, and a socket's path has 107 bytes at most
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True))
        redis = None
        if with_redis:
            port = free_port()
            held.enter_context(redis_server(port))
            redis = f"127.0.0.1:{port}"
        nodes = Nodes(Path(folder) / "ray", redis, free_port())
        try:
            yield nodes
        finally:
            for node in nodes.started:
                node.kill()


def _kill(processes: dict[int, str]) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
