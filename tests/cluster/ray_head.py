"""A Ray cluster of one node with a token, started as an operator starts it, whose dashboard can be killed."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.ports import free_port
from tests.processes import descendants, left_after, marked_environment

BIN = Path(sys.executable).parent
ATTEMPTS = 6
"""Ray gives a node 30 seconds to start, whatever else the machine does."""


@dataclass
class Head:
    """The cluster: its dashboard's URL, its token, and the environment of its processes."""

    url: str
    token: str
    environment: dict[str, str]

    def kill_dashboard(self) -> list[str]:
        """Kill the dashboard as a crash does, with the processes that it started; the command that starts it again."""
        found = [pid for pid, line in descendants(self.environment).items() if "dashboard/dashboard.py" in line]
        command = Path(f"/proc/{found[0]}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        # Its modules are processes of their own that end with it, or that a new one could not bind beside.
        for pid, line in descendants(self.environment).items():
            if pid in found or line.startswith("ray-dashboard-"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert not self.answers()
        return command

    def start_dashboard(self, command: list[str]) -> None:
        subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_until_ready(120)

    def answers(self) -> bool:
        """Whether the dashboard is there and has a node that takes jobs."""
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            nodes = httpx.get(f"{self.url}/api/v0/nodes?detail=true", headers=headers, timeout=20)
            return nodes.status_code == 200 and nodes.json()["data"]["result"]["total"] > 0
        except (httpx.HTTPError, KeyError, TypeError):
            return False

    def wait_until_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.answers():
            assert time.monotonic() < deadline, f"no dashboard at {self.url} after {seconds} s"
            time.sleep(0.2)


@contextmanager
def ray_head(num_cpus: int = 6) -> Iterator[Head]:
    """The cluster; it is killed with all that it started, jobs too."""
    token = secrets.token_hex(16)
    environment = {
        **marked_environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_agent_register_timeout_ms": "240000",
    }  # fmt: skip
    # The cluster must not find this checkout by itself: what jobs run has to come with them.
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets need a short path
    try:
        yield _started(folder, num_cpus, token, environment)
    finally:
        _kill(environment)
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, num_cpus: int, token: str, environment: dict[str, str]) -> Head:
    for attempt in range(ATTEMPTS):
        head = Head(f"http://127.0.0.1:{free_port()}", token, environment)
        # Without --block: that would end the cluster as soon as its dashboard dies.
        done = subprocess.run(
            [
                BIN / "ray", "start", "--head", "--node-ip-address=127.0.0.1", f"--port={free_port()}",
                f"--dashboard-port={head.url.rpartition(':')[2]}", f"--ray-client-server-port={free_port()}",
                f"--dashboard-agent-listen-port={free_port()}", f"--num-cpus={num_cpus}", "--disable-usage-stats",
                f"--temp-dir={folder / str(attempt)}",
            ],
            env=environment, cwd="/", capture_output=True, text=True, start_new_session=True, timeout=400,
        )  # fmt: skip
        if done.returncode == 0:
            head.wait_until_ready(120)
            return head
        _kill(environment)
    raise AssertionError(done.stdout + done.stderr)


def _kill(environment: dict[str, str]) -> None:
    while alive := descendants(environment):
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left_after(environment, 0.5)
