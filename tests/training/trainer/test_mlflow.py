"""MLflow's own client against a server that speaks as much of MLflow's REST API as a training uses."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.ports import free_port
from training.config import TrainingConfig
from training.trainer import background, metrics
from training.trainer.job import METRICS_FILE
from training.trainer.metrics import MetricsRecorder, read_metrics

pytest.importorskip("mlflow", reason="needs mlflow-skinny")


class Tracking(ThreadingHTTPServer):
    """What was logged, by run; `num_requests` by endpoint."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.logged: list[tuple[str, float, int]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.num_requests: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        self.num_requests[endpoint] = self.num_requests.get(endpoint, 0) + 1
        if endpoint == "experiments/get-by-name":
            return {"experiment": {"experiment_id": "7", "name": "tandem"}}
        if endpoint == "runs/search":
            return {"runs": [run for run in self.runs.values() if run["info"]["run_name"] in body["filter"]]}
        if endpoint == "runs/create":
            name = f"id-{len(self.runs)}"
            info = {"run_id": name, "run_uuid": name, "run_name": body["run_name"], "status": "RUNNING",
                    "experiment_id": "7", "artifact_uri": "", "lifecycle_stage": "active"}  # fmt: skip
            self.runs[name] = {"info": info, "data": {}}
            return {"run": self.runs[name]}
        if endpoint == "runs/log-batch":
            self.logged += [(each["key"], each["value"], int(each.get("step", 0))) for each in body["metrics"]]
            return {}
        if endpoint == "runs/update":
            self.runs[body["run_id"]]["info"]["status"] = body["status"]
            return {"run_info": self.runs[body["run_id"]]["info"]}
        return {"run": next(iter(self.runs.values()))}


class _Handler(BaseHTTPRequestHandler):
    server: Tracking

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        endpoint = urlsplit(self.path).path.partition("/mlflow/")[2]
        content = json.dumps(self.server.answer(endpoint, body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815  # the name that http.server looks for

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def tracking() -> Iterator[Tracking]:
    server = Tracking()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_every_value_of_every_step_is_logged_in_few_requests(tmp_path: Path, tracking: Tracking) -> None:
    recorder = MetricsRecorder(tmp_path / "run-1", TrainingConfig(mlflow=tracking.url))
    for step in range(1, 401):
        recorder.record_step(step, {"loss": 1 / step, "learning_rate": 1e-3, "tokens": 512.0})
    recorder.close()
    names = ("loss", "learning_rate", "tokens")
    assert [(name, step) for name, _, step in tracking.logged] == [
        (name, step) for step in range(1, 401) for name in names
    ]
    assert tracking.num_requests["runs/log-batch"] < 100
    assert [run["info"]["status"] for run in tracking.runs.values()] == ["FINISHED"]


def test_a_run_that_was_interrupted_is_found_again(tmp_path: Path, tracking: Tracking) -> None:
    for first in (1, 4):
        recorder = MetricsRecorder(tmp_path / "run-1", TrainingConfig(mlflow=tracking.url), first_step=first)
        for step in range(first, first + 3):
            recorder.record_step(step, {"loss": float(step)})
        recorder.close()
        assert recorder.mlflow_run == "id-0"
    assert [step for _, _, step in tracking.logged] == [1, 2, 3, 4, 5, 6]


def test_a_server_that_is_not_there_is_said_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(background, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(metrics, "CLOSE_S", 2.0)
    recorder = MetricsRecorder(tmp_path, TrainingConfig(mlflow=f"http://127.0.0.1:{free_port()}"))
    for step in range(1, 101):
        recorder.record_step(step, {"loss": 1.0})
    recorder.close()
    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert len([line for line in lines if "loss" in line]) == 100
    notes = [line["note"] for line in lines if "note" in line]
    assert len(notes) == 2
    assert "does not take the curves" in notes[0]
    assert notes[1].endswith("did not take the values of 100 steps; metrics.jsonl has every value.")
    assert len(read_metrics(tmp_path / METRICS_FILE)) == 100
