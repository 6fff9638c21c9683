"""A comparison in MLflow: what is logged, in MLflow's own file store, and that no trouble with it costs anything."""

import importlib.util
import socket
from pathlib import Path

import pytest

from evaluation.config import FOUR_ARMS
from evaluation.reporting.report import write_reports
from evaluation.results import Report
from tandem.compare import mlflow_results
from tandem.compare.mlflow_results import log_to_mlflow, metrics_of, tags_of
from tandem.console import Console
from tests.evaluation.reports import make_report


@pytest.fixture
def report() -> Report:
    return make_report(40, FOUR_ARMS)


def test_every_number_of_every_arm_and_slice_is_there(report: Report) -> None:
    metrics = metrics_of(report)
    for cell in report.cells:
        assert metrics[f"{cell.arm}/{cell.slice}/accuracy"] == cell.accuracy.share
        assert metrics[f"{cell.arm}/{cell.slice}/accuracy_low"] == cell.accuracy.low
        assert metrics[f"{cell.arm}/{cell.slice}/accuracy_n"] == cell.accuracy.n
        assert metrics[f"{cell.arm}/{cell.slice}/num_failed"] == cell.num_failed
        assert metrics[f"{cell.arm}/{cell.slice}/latency_p95_s"] == cell.latency_p95_s
    for cost in report.costs:
        assert metrics[f"{cost.arm}/cost/answer_money"] == cost.answer_money
    assert all(isinstance(value, float) for value in metrics.values())
    tags = tags_of(report)
    assert tags["tandem.questions_digest"] == report.questions_digest and tags["tandem.version.vllm"] == "0.29.0"


def test_trouble_is_a_note_and_the_files_stay(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not installed, or installed and nobody there."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    files = write_reports(report, tmp_path / "compare-1")
    log_to_mlflow("http://user:secret@127.0.0.1:9", report, tmp_path / "compare-1", Console())
    said = capsys.readouterr().err
    assert "is not in MLflow at http://127.0.0.1:9" in said and "secret" not in said
    assert all(file.exists() for file in files)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow-skinny")
def test_a_server_that_never_answers_is_not_waited_for(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_results, "WAIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        log_to_mlflow(f"http://127.0.0.1:{server.getsockname()[1]}", report, tmp_path, Console())
    assert "it did not answer in time" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow-skinny")
def test_metrics_tags_and_files_are_in_a_file_store(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    write_reports(report, tmp_path / "compare-1")
    log_to_mlflow(uri, report, tmp_path / "compare-1", Console())
    assert "is the run" in (said := capsys.readouterr().err), said
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tandem")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`tandem.run` = '{report.run}'")
    assert run.data.metrics == pytest.approx(metrics_of(report)) and len(run.data.metrics) > 300
    assert tags_of(report).items() <= run.data.tags.items()
    assert run.info.status == "FINISHED" and run.info.run_name == report.run
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"report.html", "report.md", "report.json"}
