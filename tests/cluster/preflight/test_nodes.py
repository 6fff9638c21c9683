"""`tandem doctor --cluster` against a head and two workers: all well, storage that a node has for itself, a node that
dies while it is asked."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.nodes import Node, Nodes, several_nodes

pytestmark = [pytest.mark.slow, pytest.mark.matrix, pytest.mark.timeout(900)]
MODEL = Path(__file__).parents[3] / "examples" / "quickstart" / "model"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with several_nodes() as nodes:
        nodes.head()
        nodes.workers(1, 1)
        yield nodes


def project(folder: Path, cluster: Nodes, **settings: Any) -> Path:
    file = folder / "tandem.yaml"
    known = {"project": "nodes", "model": str(MODEL), "cluster": {"address": cluster.address}}
    file.write_text(yaml.safe_dump(known | settings))
    return file


def doctor(cluster: Nodes, file: Path) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and the findings."""
    done = subprocess.run(
        [sys.executable, "-m", "tandem", "doctor", "--cluster", "--json", "-c", str(file)],
        env=cluster.environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


def of(findings: list[dict[str, Any]], check: str) -> dict[str, dict[str, Any]]:
    """Those of a check, by node."""
    return {one["node"]: one for one in findings if one["check"] == check}


def test_every_node_is_looked_at_and_what_is_between_them(cluster: Nodes, tmp_path: Path) -> None:
    code, findings = doctor(cluster, project(tmp_path, cluster))
    failed = [one for one in findings if one["status"] == "failed"]
    assert code == 0, failed
    addresses = {node.address for node in cluster.started}
    for check in ("python", "versions", "gpu", "storage", "model", "port", "clock", "shared storage", "shared memory"):
        assert of(findings, check).keys() == addresses, check
    (reduced,) = of(findings, "all-reduce").values()
    assert reduced["values"]["ranks"] == 2, "the head takes no work, so it has no part"
    assert abs(of(findings, "clock")["127.0.0.2"]["values"]["ahead_s"]) < 1
    assert not [path for path in (tmp_path / "runs").iterdir() if path.name.startswith(".doctor")]


def test_a_folder_that_a_node_has_for_itself_is_found(cluster: Nodes, tmp_path: Path) -> None:
    """A node in a mount namespace of its own, where something else is mounted at the storage's path."""
    storage = tmp_path / "runs"
    storage.mkdir()
    prefix = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(storage)]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    (apart,) = cluster.workers(1, prefix=prefix)
    try:
        code, findings = doctor(cluster, project(tmp_path, cluster))
        shared = of(findings, "shared storage")
        assert code == 3 and {one["status"] for one in shared.values()} == {"failed"}
        assert (
            apart.address.replace(".", "-") in shared["127.0.0.2"]["seen"]
            or apart.address in shared["127.0.0.2"]["seen"]
        )
        assert "ReadWriteMany" in shared[apart.address]["remedy"]
        assert of(findings, "storage")[apart.address]["status"] != "failed", "it can be written, but only there"
    finally:
        gone(cluster, apart)


def test_a_node_that_dies_while_it_is_asked_is_named_and_the_others_are_told(cluster: Nodes, tmp_path: Path) -> None:
    (dying,) = cluster.workers(1)

    def kill_it() -> None:
        deadline = time.monotonic() + 300
        while not dying.processes("ray::Probe") and time.monotonic() < deadline:
            time.sleep(0.05)
        dying.kill()

    killing = threading.Thread(target=kill_it)
    killing.start()
    code, findings = doctor(cluster, project(tmp_path, cluster))
    killing.join()
    lost = [one for one in findings if one["node"] == dying.address and one["status"] == "failed"]
    assert code == 3 and "ray status" in lost[0]["remedy"]
    assert of(findings, "versions")["127.0.0.2"]["status"] == "ok"
    assert of(findings, "all-reduce")[""]["values"]["ranks"] == 2


def gone(cluster: Nodes, node: Node) -> None:
    """The cluster knows that the node is no more."""
    node.kill()
    alive = f"print([node['Alive'] for node in ray.nodes() if node['NodeManagerAddress'] == '{node.address}'])"
    deadline = time.monotonic() + 120
    while "True" in cluster.run(alive):
        assert time.monotonic() < deadline
        time.sleep(0.5)
