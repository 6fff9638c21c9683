"""`tandem doctor` on this machine: everything at once, each thing that is wrong with its remedy, and exit code 3."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.serving.served_app import MODEL

pytestmark = pytest.mark.slow


def doctor(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tandem", "doctor", *arguments],
        cwd=folder, env={**os.environ, "COLUMNS": "200", **environment}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip


def findings(done: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, Any]]:
    return {one["check"]: one for one in json.loads(done.stdout)["findings"]}


def test_a_machine_is_looked_at_without_a_project(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout and "tandem init" in done.stderr
    for check in ("versions", "gpu", "shared memory", "all-reduce"):
        assert check in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_wrong_is_told_at_once_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "file").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (tmp_path / "tandem.yaml").write_text(
            f"project: ill\nmodel: nobody/nothing\nstorage: ./file\nserving: {{port: {taken.getsockname()[1]}}}\n"
            f"retrieval: {{sources: [docs], uri: 'http://127.0.0.1:{free_port()}'}}\n"
        )
        done = doctor(tmp_path, "--json", HF_HUB_OFFLINE="1")
    found = findings(done)
    assert done.returncode == 3, done.stderr
    wrong = {check for check, one in found.items() if one["status"] == "failed"}
    assert wrong == {"storage", "port", "model", "milvus"}
    assert all(found[check]["remedy"] for check in wrong)
    assert found["versions"]["status"] == "ok" and found["all-reduce"]["values"]["ranks"] == 2
    assert "Next: do what stands" in done.stderr


def test_a_project_whose_parts_are_there_is_well(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "tandem.yaml").write_text(
        f"project: well\nmodel: {MODEL}\nserving: {{port: {free_port()}}}\nretrieval: {{sources: [docs]}}\n"
    )
    done = doctor(tmp_path, "--json")
    assert done.returncode == 0, done.stdout
    found = findings(done)
    assert found["milvus"]["values"]["bm25"] and found["storage"]["values"]["write_mib_s"] > 0


def test_a_project_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    done = doctor(tmp_path, "-c", "missing.yaml")
    assert done.returncode == 2 and "missing.yaml" in done.stderr


@pytest.mark.parametrize(
    ("address", "said"), [("http://127.0.0.1:1", "ray job submit"), ("127.0.0.1:1", "No Ray cluster answers")]
)
def test_a_cluster_that_cannot_be_looked_at_is_an_error(tmp_path: Path, address: str, said: str) -> None:
    (tmp_path / "tandem.yaml").write_text(f"project: away\nmodel: {MODEL}\ncluster: {{address: '{address}'}}\n")
    done = doctor(tmp_path, "--cluster")
    assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
