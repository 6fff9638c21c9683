"""What is said of a cluster that cannot be used: unreachable, another version, a certificate that is not valid."""

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pytest

from cluster.errors import TandemError
from cluster.jobs.dashboard import Dashboard, DashboardUnreachable
from cluster.jobs.demand import ClusterCapacity, Phase, capacity_at, check_capacity
from cluster.jobs.job_log import LogFollower
from cluster.jobs.jobs import Job, Jobs, Submission, connect_jobs
from cluster.jobs.wheel import Wheel
from tests.ports import free_port

HERE = {"/api/version": {"ray_version": version("ray")}}


@contextmanager
def answering(answers: Mapping[str, object], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a stand-in for a dashboard of another version, which cannot be installed beside this one.

    A text is answered as it is, a number is a status, and what is not named is 404.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0], 404)
            self.send_response(answer if isinstance(answer, int) else 200)
            self.end_headers()
            self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused(url: str) -> TandemError:
    with pytest.raises(TandemError) as error:
        Dashboard(url).check_versions()
    assert error.value.accepted and error.value.remedy
    return error.value


def test_an_address_where_nobody_listens() -> None:
    error = refused(f"http://127.0.0.1:{free_port()}")
    assert isinstance(error, DashboardUnreachable)
    assert "No Ray cluster answers at http://127.0.0.1:" in error.seen


@pytest.mark.parametrize("address", ["http://no-such-host.invalid:8265", "http://[::1", "http://127.0.0.1:99999"])
def test_an_address_that_is_none(address: str) -> None:
    assert "No Ray cluster answers at" in refused(address).seen


def test_a_cluster_that_accepts_and_says_nothing() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DashboardUnreachable, match="timed out"):
            Dashboard(url, answer_s=0.3).check_versions()


@pytest.mark.parametrize("answer", ["<html>a web page</html>", "[]", '{"status": "ok"}', 404])
def test_something_else_that_answers(answer: object) -> None:
    with answering({"/api/version": answer}) as url:
        assert "is no Ray dashboard" in refused(url).seen


def test_a_dashboard_that_cannot_answer_now() -> None:
    with answering({"/api/version": 503}) as url:
        assert isinstance(refused(url), DashboardUnreachable)


def test_another_ray() -> None:
    with answering({"/api/version": {"ray_version": "2.9.3"}}) as url:
        assert f"runs Ray 2.9.3, and this machine {version('ray')}" in refused(url).seen


def test_another_python() -> None:
    metadata = {"/api/v0/cluster_metadata": {"data": {"pythonVersion": "3.9.18"}}}
    with answering({**HERE, **metadata}) as url:
        assert "runs Python 3.9, and this machine 3." in refused(url).seen


@pytest.mark.parametrize("metadata", [{}, {"/api/v0/cluster_metadata": {"data": {"pythonVersion": python_version()}}}])
def test_the_same_versions(metadata: dict[str, object]) -> None:
    with answering({**HERE, **metadata}) as url:
        Dashboard(url).check_versions()


def certificate(folder: Path, days: int) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate for 127.0.0.1 that signs itself, and the certificate."""
    key, request, made, names = (folder / name for name in ("key.pem", "request.pem", "server.pem", "names"))
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    new = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    sign = ["openssl", "x509", "-req", "-days", str(days), "-extfile", names]  # a day before today is taken here only
    subprocess.run([*new, "-keyout", key, "-out", request], check=True, capture_output=True)
    subprocess.run([*sign, "-in", request, "-signkey", key, "-out", made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context, made


def test_a_certificate_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, trusted = certificate(tmp_path, days=-1)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with answering(HERE, tls) as url:
        error = refused(url)
    assert "is not accepted: certificate has expired." in error.seen
    assert "Renew it" in error.remedy
    assert not isinstance(error, DashboardUnreachable), "asking again does not help"


def test_a_certificate_of_an_authority_that_is_not_trusted_until_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, trusted = certificate(tmp_path, days=2)
    with answering(HERE, tls) as url:
        assert "self-signed certificate" in refused(url).seen
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        Dashboard(url).check_versions()


@pytest.mark.parametrize("address", ["local", "auto", "ray://head:10001", "head:6379"])
def test_an_address_that_takes_no_jobs(address: str) -> None:
    with pytest.raises(TandemError, match="takes no jobs"):
        connect_jobs(address)


def test_one_who_follows_says_that_the_cluster_is_away_and_gives_up() -> None:
    notes: list[str] = []
    jobs = Jobs(Dashboard(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(DashboardUnreachable):
        LogFollower(jobs, "some", lambda text: None, notes.append, give_up_s=0.1).follow()
    assert len(notes) == 1, "said once, not at each try"


@pytest.mark.parametrize("arrived", [True, False])
def test_a_submission_whose_answer_is_lost_is_not_made_twice(tmp_path: Path, arrived: bool) -> None:
    (tmp_path / "project.zip").write_bytes(b"")
    there = {"type": "SUBMISSION", "submission_id": "a-train-1", "job_id": None, "status": "PENDING", "entrypoint": "x"}
    wheel = Wheel("0+1", b"")
    empty = f"/api/packages/gcs/_ray_pkg_{sha1(b'').hexdigest()}.zip"
    answers = {empty: "{}", f"/api/packages/gcs/{wheel.name}": "{}", "/api/jobs/": [there] if arrived else []}
    with answering(answers) as url:
        ask = partial(Jobs(Dashboard(url)).submit, Submission("a-train-1", "x", {}), tmp_path / "project.zip", wheel)
        if arrived:
            assert ask() == "a-train-1"
        else:
            with pytest.raises(DashboardUnreachable):
                ask()


def job(status: str, code: int | None) -> Job:
    return Job("id", status, "true", "", {}, None, None, code, is_submitted=True)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("RUNNING", None, None), ("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", 4, 4), ("FAILED", -15, 143),
        ("FAILED", None, 1), ("STOPPED", None, 130),
    ],
)  # fmt: skip
def test_exit_codes(status: str, code: int | None, expected: int | None) -> None:
    assert job(status, code).exit_code == expected


NODES = ({"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 4.0})


@pytest.mark.parametrize(
    ("bundles", "lacks"),
    [
        (({"GPU": 1.0},) * 8, None),
        (({"GPU": 1.0},) * 9, "takes 9 times 1 GPU on one node, and there is room for 8"),
        (({"GPU": 8.0},), "takes 1 times 8 GPU on one node, and there is room for 0"),  # eight in all, but not together
        (({"CPU": 1.0, "GPU": 1.0},) * 8, None),
        (({"CPU": 4.0, "GPU": 1.0},) * 5, "takes 5 times 4 CPU and 1 GPU on one node, and there is room for 4"),
        (({"CPU": 8.0}, {"CPU": 8.0}, {"CPU": 5.0}), "takes 21 CPU in all, and there are 20"),
        (({"CPU": 8.0}, {"CPU": 8.0}, *({"CPU": 1.0},) * 5), "takes 21 CPU in all, and there are 20"),
        (({"TPU": 1.0},), "room for 0"),
        ((), None),
    ],
)
def test_what_fits_on_nodes(bundles: tuple[dict[str, float], ...], lacks: str | None) -> None:
    phase = Phase("training", bundles)
    found = check_capacity([phase], ClusterCapacity(NODES, may_grow=True))
    assert (found == []) if lacks is None else (lacks in found[0])
    if lacks:
        told = "It has 2 nodes with 8 CPU and 4 GPU, 1 node with 4 CPU and 0 GPU"
        with pytest.raises(TandemError, match=told):
            check_capacity([phase], ClusterCapacity(NODES, may_grow=False))


@pytest.mark.parametrize(
    ("types", "may_grow"), [({"ab12": "node_ab12"}, False), ({"ab12": "gpu-workers"}, True), (None, True)]
)
def test_an_autoscaler_is_known_by_its_kinds_of_nodes(types: dict[str, str] | None, may_grow: bool) -> None:
    """As KubeRay's reports them; there is none here, so that this is what Ray's own code writes, not a run of it."""
    node = {"state": "ALIVE", "resources_total": {"CPU": 4.0}}
    answers = {
        "/api/v0/nodes": {"data": {"result": {"result": [node, {"state": "DEAD", "resources_total": {"CPU": 9.0}}]}}},
        "/api/cluster_status": {"data": {"clusterStatus": {"autoscalerReport": {"nodeTypeMapping": types}}}},
    }
    with answering(answers) as url:
        assert capacity_at(Dashboard(url)) == ClusterCapacity(({"CPU": 4.0},), may_grow)
