"""`--submit` and `tandem jobs` on a real cluster with a token, as they are typed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from retrieval.store.milvus_lite import local_server
from tests.cluster.ray_head import BIN, Head, ray_head
from tests.processes import descendants
from tests.tandem.test_command import MODEL, refused, replace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
QUICKSTART = MODEL.parent


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A document store that jobs reach over the network."""
    with local_server(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


@pytest.fixture
def project(tmp_path: Path, head: Head) -> Path:
    """A project in a folder full of names of ours, with its storage beside it."""
    folder = tmp_path / "small"
    (folder / "docs").mkdir(parents=True)
    (folder / "serving").mkdir()
    for name in ("training.py", "cluster.py", "tandem.py", "serving/__init__.py"):
        (folder / name).write_text("raise SystemExit('the user\\'s file was imported')\n")
    shutil.copy(QUICKSTART / "docs" / "elements" / "iron.md", folder / "docs")
    rows = (QUICKSTART / "data" / "train.jsonl").read_text().splitlines()[:40]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "tandem.yaml").write_text(
        f"model: {MODEL}\nstorage: {tmp_path}/shared\ncluster: {{address: '{head.url}'}}\n"
        "training: {data: train.jsonl, epochs: 1}\nretrieval: {sources: [docs], top_k: 3}\n"
    )
    return folder


def command(head: Head) -> dict[str, str]:
    environment = {**os.environ, "COLUMNS": "200", "RAY_AUTH_TOKEN": head.token}
    return {**environment, "PYTHONPATH": str(Path(__file__).parents[3])}


def tandem(project: Path, head: Head, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "tandem", *arguments], cwd=project, env={**command(head), **environment},
        capture_output=True, text=True, timeout=1500,
    )  # fmt: skip


def by_hand(project: Path, head: Head) -> "subprocess.CompletedProcess[str]":
    """What `--write job` wrote, run without our command."""
    ray = {"RAY_API_SERVER_ADDRESS": head.url, "RAY_AUTH_MODE": "token", "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        [project / "job" / "submit.sh"], env={**command(head), **ray}, capture_output=True, text=True, timeout=600
    )


def value(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_an_index_runs_on_the_cluster(project: Path, head: Head, milvus: str) -> None:
    replace(project, "top_k: 3", f"uri: '{milvus}'")
    done = tandem(project, head, "index", "--submit", "--json")
    assert done.returncode == 0, done.stderr
    told = value(done)
    assert (told["status"], told["exit_code"]) == ("SUCCEEDED", 0)
    assert told["metadata"] | {"tandem": ""} == {"tandem": "", "project": "small", "verb": "index"}
    assert told["id"].startswith("small-index-")
    assert "small is up to date" in done.stderr, "the job's own words"
    found = subprocess.run(
        [sys.executable, "-P", "-m", "tandem", "search", "iron", "--json"], cwd=project, env=command(head),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "atomic number of Iron" in found.stdout, found.stderr


@pytest.mark.matrix
def test_bad_input_ends_the_command_as_it_would_here(project: Path, head: Head) -> None:
    (project / "train.jsonl").write_text("{not json\n")
    done = tandem(project, head, "train", "--submit")
    assert done.returncode == 2, done.stderr
    assert "train.jsonl:1" in done.stdout, "its last lines"
    assert "failed with exit code 2" in done.stdout
    assert "project/train.jsonl" in done.stdout, "what was sent"


@pytest.mark.matrix
def test_plain_ray_job_submit_does_the_same_with_what_is_written(project: Path, head: Head) -> None:
    (project / "train.jsonl").write_text("{not json\n")
    tandem(project, head, "train", "--submit", "--write", "job")
    done = by_hand(project, head)
    assert "train.jsonl:1" in done.stdout + done.stderr
    jobs = value(tandem(project, head, "jobs", "list", "--json"))
    assert jobs[0]["submitted_by_tandem"] and jobs[0]["exit_code"] == 2


@pytest.mark.matrix
def test_what_is_written_ends_well_too(project: Path, head: Head, milvus: str) -> None:
    replace(project, "top_k: 3", f"uri: '{milvus}', collection: by-hand")
    tandem(project, head, "index", "--submit", "--write", "job")
    done = by_hand(project, head)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "by-hand is up to date" in done.stdout + done.stderr
    jobs = value(tandem(project, head, "jobs", "list", "--json"))
    assert (jobs[0]["status"], jobs[0]["exit_code"]) == ("SUCCEEDED", 0)


@pytest.mark.matrix
def test_every_node_is_looked_at_by_a_job(project: Path, head: Head) -> None:
    """The project file has the address that jobs are sent to, as docs/preflight.md says it."""
    doctor = [sys.executable, "-P", "-m", "tandem", "doctor", "--cluster", "-c", str(project / "tandem.yaml")]
    done = subprocess.run(
        [BIN / "ray", "job", "submit", "--address", head.url, "--", *doctor],
        env={**command(head), "RAY_AUTH_MODE": "token"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert "versions" in done.stdout and "all-reduce" in done.stdout, done.stdout + done.stderr


def test_detached_then_listed_shown_followed_and_stopped(project: Path, head: Head) -> None:
    """A training that would take an hour."""
    replace(project, "epochs: 1", "epochs: 100000, workers: 1")
    id = value(tandem(project, head, "train", "--submit", "--detach", "--json"))["id"]
    listed = {job["id"]: job for job in value(tandem(project, head, "jobs", "list", "--json"))}
    assert listed[id]["status"] in ("PENDING", "RUNNING")
    follower = subprocess.Popen(
        [sys.executable, "-P", "-m", "tandem", "jobs", "logs", "-f", id], cwd=project, env=command(head), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert follower.stdout and "Runtime env is setting up" in follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    _, told = follower.communicate(timeout=60)
    assert follower.returncode == 130
    assert f"{id} goes on" in told and f"tandem jobs stop {id}" in told
    assert "RUNNING" in tandem(project, head, "jobs", "show", id).stdout
    assert value(tandem(project, head, "jobs", "stop", id, "--json")) == {"id": id, "stopped": True}
    assert tandem(project, head, "jobs", "logs", "-f", id).returncode == 130
    shown = value(tandem(project, head, "jobs", "show", id, "--json"))
    assert shown["status"] == "STOPPED"
    run = next((project.parent / "shared" / "small").glob("train-*/manifest.json"))
    assert json.loads(run.read_text())["status"] == "interrupted", "it ended what it had started"


def test_a_package_over_the_limit_is_not_sent(project: Path, head: Head) -> None:
    before = value(tandem(project, head, "jobs", "list", "--json"))
    (project / "large.jsonl").write_bytes(os.urandom(101 * 2**20))
    replace(project, "data: train.jsonl", "data: [train.jsonl, large.jsonl]")
    error = refused(tandem(project, head, "train", "--submit"))
    assert "project/large.jsonl (101.0 MiB)" in error
    assert "At most 100.0 MiB" in error and "shared folder" in error
    assert value(tandem(project, head, "jobs", "list", "--json")) == before


def test_what_the_cluster_can_never_give(project: Path, head: Head) -> None:
    replace(project, "epochs: 1", "epochs: 1, workers: 50")
    error = refused(tandem(project, head, "train", "--submit"))
    assert "training takes 51 times 1 CPU" in error and "It has 1 node with 6 CPU and 0 GPU" in error


def test_an_unknown_job_and_a_wrong_token(project: Path, head: Head) -> None:
    for verb in (["show"], ["logs"], ["logs", "-f"], ["stop"]):
        assert "has no job 'nobody'" in refused(tandem(project, head, "jobs", *verb, "nobody"))
    assert "does not know the token" in refused(tandem(project, head, "jobs", "list", RAY_AUTH_TOKEN="wrong"))


def watch(head: Head, paths: dict[str, str], ended: threading.Event) -> None:
    """Take down where each process of Ray's, by its title, imports from."""
    while not ended.wait(0.5):
        for pid, title in descendants(head.environment).items():
            if title.startswith("ray::"):
                with suppress(OSError):
                    variables = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
                    path = next((each for each in variables if each.startswith("PYTHONPATH=")), "=")
                    paths[title.split()[0]] = path.partition("=")[2]


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_a_training_runs_on_the_cluster_and_is_served_as_it_was_trained(project: Path, head: Head) -> None:
    """Ray Train, DeepSpeed, Ray Serve and vLLM, all from the wheel; the version lies in the shared storage."""
    paths: dict[str, str] = {}
    ended = threading.Event()
    watching = threading.Thread(target=watch, args=(head, paths, ended))
    watching.start()
    done = tandem(project, head, "train", "--submit")
    ended.set()
    watching.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small@1 at" in done.stdout
    for kind in ("ServeReplica:tandem:engine", "ServeReplica:tandem:gateway", "RayTrainWorker"):
        found = [path for name, path in paths.items() if kind in name]
        assert found and all("py_modules_files" in path.split(":")[0] for path in found), paths
    versions = json.loads((project.parent / "shared" / "adapters" / "small" / "v1" / "manifest.json").read_text())
    assert "+" in versions["versions"]["tandem"], "made by the wheel"


@pytest.mark.matrix
@pytest.mark.timeout(1800)
def test_a_comparison_runs_on_the_cluster(project: Path, head: Head, milvus: str) -> None:
    """Every arm is answered there, and the report lies in the shared storage."""
    questions = [json.loads(line) for line in (QUICKSTART / "data" / "questions.jsonl").read_text().splitlines()]
    seen = [question for question in questions if question["slice"] == "seen"][:4]
    (project / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in seen))
    shutil.copytree(QUICKSTART / "docs" / "elements", project / "docs" / "elements", dirs_exist_ok=True)
    replace(
        project, "top_k: 3}", f"uri: '{milvus}', collection: compared}}\nevaluation: {{questions: questions.jsonl}}"
    )
    done = tandem(project, head, "compare", "--all", "--submit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Recommendation:" in done.stdout
    (report,) = (project.parent / "shared" / "small").glob("compare-*/report.json")
    cells = json.loads(report.read_text())["cells"]
    measured = {cell["arm"]: (cell["accuracy"]["n"], cell["num_failed"]) for cell in cells if cell["slice"] == "seen"}
    assert measured == dict.fromkeys(("base", "tuned", "retrieval", "tuned_retrieval"), (4, 0))
