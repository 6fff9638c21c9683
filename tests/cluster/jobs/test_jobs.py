"""The client of Ray's Jobs API against a real cluster with a token: jobs end well, badly, are stopped, and followed."""

import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.jobs.dashboard import Dashboard, DashboardUnreachable, NotFound
from cluster.jobs.demand import Phase, capacity_at, check_capacity
from cluster.jobs.job_archive import UPLOAD_LIMIT, UserFile, pack_files
from cluster.jobs.job_log import LogFollower
from cluster.jobs.jobs import Job, Jobs, Submission, new_job_id
from cluster.jobs.wheel import build_wheel
from tests.cluster.ray_head import Head, ray_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHADOWS = ("training.py", "cluster.py", "tandem.py", "serving/__init__.py", "ray.py")
WHERE = """
import importlib.metadata, json, os, ray, sys
from cluster.session import ray_session
from cluster.config import ClusterConfig
def where():
    import cluster, serving, tandem, training
    paths = [module.__file__ for module in (cluster, serving, tandem, training)]
    return [*paths, os.path.exists("project/training.py")]
with ray_session(ClusterConfig(address="http://nowhere:1")):
    print("VARIABLE", os.environ["SECRET"])
    found = {"driver": where(), "worker": ray.get(ray.remote(where).remote()), "nodes": len(ray.nodes())}
    print("FOUND", json.dumps({**found, "version": importlib.metadata.version("tandem")}))
"""
SERVED = """
from ray import serve
from cluster.session import ray_session
from cluster.config import ClusterConfig
@serve.deployment(ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": {"OURS": "1"}}})
class Where:
    def __call__(self):
        import serving
        return serving.__file__
with ray_session(ClusterConfig()):
    serve.start(proxy_location="Disabled")
    print("FOUND", serve.run(Where.bind(), name="where", route_prefix=None).remote().result())
    serve.shutdown()
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.fixture
def jobs(head: Head, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("RAY_ADDRESS", "http://192.0.2.1:1")  # Ray's own client would go there
    return Jobs(Dashboard(head.url))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder that is full of names of ours, packed."""
    folder = tmp_path_factory.mktemp("user")
    for name in SHADOWS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise SystemExit('the user\\'s file was imported')\n")
    to = tmp_path_factory.mktemp("packed") / "project.zip"
    pack_files([UserFile(folder, "project", "retrieval.sources.0")], None).write_zip(to)
    return to


def submit(jobs: Jobs, package: Path, code: str, shell: str = "", **env_vars: str) -> str:
    entrypoint = shell or shlex.join(["python", "-P", "-c", code])
    submission = Submission(new_job_id("small", "train"), entrypoint, {"tandem": "0", "project": "small"}, env_vars)
    return jobs.submit(submission, package, build_wheel())


def followed(jobs: Jobs, id: str) -> tuple[Job, str]:
    written: list[str] = []
    job = LogFollower(jobs, id, written.append, lambda text: None).follow()
    return job, "".join(written)


def wait_for(condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_job_runs_our_code_on_its_cluster_whatever_the_user_calls_files(jobs: Jobs, package: Path) -> None:
    """Driver and workers import from the wheel, not from the user's folder and not from what the nodes have."""
    job, log = followed(jobs, submit(jobs, package, WHERE, SECRET="sesame"))
    assert (job.status, job.exit_code) == ("SUCCEEDED", 0), log
    found = json.loads(log.partition("FOUND ")[2].splitlines()[0])
    assert found["version"] == build_wheel().version
    assert found["nodes"] == 1
    assert "VARIABLE sesame\n" in log
    for process in ("driver", "worker"):
        assert found[process][-1], "the user's files are there"
        assert all("py_modules_files" in path for path in found[process][:-1]), found


@pytest.mark.matrix
def test_what_a_job_serves_is_of_its_wheel_too(jobs: Jobs, package: Path) -> None:
    """Serve hands a deployment with an environment of its own, as ours have, the working directory and not the code."""
    job, log = followed(jobs, submit(jobs, package, SERVED))
    assert job.status == "SUCCEEDED", log
    assert "py_modules_files" in log.rpartition("FOUND ")[2].splitlines()[0]


def test_a_failure_has_its_exit_code_and_its_last_lines(jobs: Jobs, package: Path) -> None:
    job, log = followed(jobs, submit(jobs, package, "print('bad', 'luck'); import sys; sys.exit(3)"))
    assert (job.status, job.exit_code) == ("FAILED", 3)
    assert log.endswith("bad luck\n")


def test_a_driver_that_is_killed_ends_as_a_shell_says_it(jobs: Jobs, package: Path) -> None:
    job, _ = followed(jobs, submit(jobs, package, "", shell="kill -9 $$"))
    assert (job.status, job.exit_code) == ("FAILED", 137)


def test_a_stopped_job_has_the_time_to_clean_up(jobs: Jobs, package: Path, tmp_path: Path) -> None:
    """Ray's own three seconds would not be enough."""
    code = f"""
import time, pathlib
try:
    print("be" + "gan", flush=True); time.sleep(600)  # the log begins with this command
except KeyboardInterrupt:
    time.sleep(5); pathlib.Path({str(tmp_path)!r}, "cleaned").touch()
"""
    code = "import signal; signal.signal(signal.SIGTERM, signal.default_int_handler)\n" + code
    id = submit(jobs, package, code)
    wait_for(lambda: "began" in jobs.log(id))
    assert jobs.stop(id)
    job, _ = followed(jobs, id)
    assert (job.status, job.exit_code) == ("STOPPED", 130)
    assert (tmp_path / "cleaned").exists()
    assert not jobs.stop(id)


def test_a_log_is_whole_when_the_dashboard_dies_and_comes_back(jobs: Jobs, head: Head, package: Path) -> None:
    """The dashboard is killed with SIGKILL while lines come, is away for a while, and is started again."""
    code = "import time\nfor n in range(300): print('line', n, '\\u00e4', flush=True); time.sleep(0.05)\nprint('end')"
    id = submit(jobs, package, code, PYTHONIOENCODING="utf-8")
    written: list[str] = []
    notes: list[str] = []
    result: list[Job] = []
    follower = LogFollower(jobs, id, written.append, notes.append)
    thread = threading.Thread(target=lambda: result.append(follower.follow()))
    thread.start()
    wait_for(lambda: "line 20" in "".join(written))
    command = head.kill_dashboard()
    wait_for(lambda: notes)
    head.start_dashboard(command)
    thread.join(200)
    assert result and result[0].status == "SUCCEEDED", notes
    # Ray writes the entrypoint into the log unflushed, so that it may come behind the first lines of the job.
    lines = [line for line in "".join(written).splitlines() if line.startswith("line ") or line == "end"]
    assert lines == [*(f"line {n} ä" for n in range(300)), "end"]
    assert "Trying again; the job goes on" in notes[0]
    assert notes[-1] == "the cluster answers again"


@pytest.mark.matrix
def test_one_who_follows_gives_up_in_the_end(head: Head, jobs: Jobs, package: Path) -> None:
    id = submit(jobs, package, "import time; print('be' + 'gan', flush=True); time.sleep(600)")
    wait_for(lambda: "began" in jobs.log(id))
    frozen = [pid for pid, line in processes(head).items() if "dashboard/dashboard.py" in line]
    os.kill(frozen[0], signal.SIGSTOP)  # answers nothing and refuses nothing
    try:
        follower = LogFollower(
            Jobs(Dashboard(head.url, answer_s=2)), id, lambda text: None, lambda text: None, give_up_s=1
        )
        with pytest.raises(DashboardUnreachable, match="No Ray cluster answers"):
            follower.follow()
    finally:
        os.kill(frozen[0], signal.SIGCONT)
        head.wait_until_ready(60)
    assert jobs.stop(id)
    assert followed(jobs, id)[0].status == "STOPPED"


def processes(head: Head) -> dict[int, str]:
    from tests.processes import descendants

    return descendants(head.environment)


def test_jobs_of_ours_and_of_others_are_listed(jobs: Jobs, package: Path) -> None:
    ours = submit(jobs, package, "print('ours')")
    asked = {"entrypoint": "echo theirs", "submission_id": "theirs"}
    jobs.dashboard.call("POST", "/api/jobs/", json=asked)
    found = {job.id: job for job in jobs.all()}
    assert found[ours].is_ours and not found["theirs"].is_ours
    assert found[ours].metadata["project"] == "small"
    assert followed(jobs, "theirs")[1].endswith("theirs\n")


def test_an_unknown_job(jobs: Jobs) -> None:
    for asks in (jobs.get, jobs.log, jobs.stop, lambda id: followed(jobs, id)):
        with pytest.raises(NotFound, match="has no job 'nobody'"):
            asks("nobody")


def test_a_runtime_environment_that_cannot_be_made_says_why(jobs: Jobs) -> None:
    """Such a job never starts: there is no log, only the cluster's word."""
    asked = {"entrypoint": "true", "runtime_env": {"py_modules": ["gcs://no-such-1.0-py3-none-any.whl"]}}
    id = jobs.dashboard.call("POST", "/api/jobs/", json=asked)["submission_id"]
    job, _ = followed(jobs, id)
    assert (job.status, job.exit_code) == ("FAILED", 1)
    assert "no-such-1.0" in job.message


@pytest.mark.matrix
def test_the_dashboard_refuses_what_is_over_the_limit(jobs: Jobs) -> None:
    """The limit that packages are held to is the real one: one byte more is not taken."""
    with pytest.raises(TandemError, match="413"):
        jobs.dashboard.call("PUT", "/api/packages/gcs/_ray_pkg_large.zip", content=bytes(UPLOAD_LIMIT + 1))
    jobs.dashboard.call("PUT", "/api/packages/gcs/_ray_pkg_fits.zip", content=bytes(UPLOAD_LIMIT))


def test_what_the_cluster_can_never_satisfy(jobs: Jobs) -> None:
    room = capacity_at(jobs.dashboard)
    assert (room.told(), room.may_grow, room.num_gpus) == ("1 node with 6 CPU and 0 GPU", False, 0)
    assert check_capacity([Phase("training", ({"CPU": 1},) * 6)], room) == []
    with pytest.raises(
        TandemError, match=r"can never run this: training takes 7 times 1 CPU .* It has 1 node with 6 CPU"
    ):
        check_capacity([Phase("training", ({"CPU": 1},) * 7)], room)


def test_the_versions_agree(jobs: Jobs) -> None:
    jobs.dashboard.check_versions()


@pytest.mark.parametrize(
    ("token", "told"), [("", "asks for a token, and none was sent"), ("wrong", "does not know the token")]
)
def test_a_missing_and_a_wrong_token(
    head: Head, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, told: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray keeps a token
    with pytest.raises(TandemError, match=told):
        Jobs(Dashboard(head.url)).all()


def test_a_token_from_a_file(head: Head, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(head.token + "\n")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert Jobs(Dashboard(head.url)).all()
