"""A comparison in W&B and Trackio: its figures are there, and no trouble with a client costs anything."""

import importlib.util
import json
import sqlite3
from pathlib import Path

import pytest

from evaluation.config import FOUR_ARMS
from evaluation.reporting.report import write_reports
from evaluation.results import Report
from tandem.compare import tracked_results
from tandem.compare.mlflow_results import metrics_of
from tandem.compare.tracked_results import log_to_trackers
from tandem.console import Console
from tests.evaluation.reports import make_report
from tests.training.wandb_file import read_records
from training.config import TrainingConfig


@pytest.fixture
def report() -> Report:
    return make_report(40, FOUR_ARMS)


def test_nothing_is_started_where_no_tracker_is_set(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_trackers(TrainingConfig(), report, tmp_path, Console())
    assert capsys.readouterr().err == ""


def test_a_client_that_never_answers_is_not_waited_for(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked_results, "WAIT_S", 0.01)
    files = write_reports(report, tmp_path)
    log_to_trackers(TrainingConfig(wandb="helpdesk"), report, tmp_path, Console())
    assert "The comparison is not in the project helpdesk of W&B (it did not answer" in capsys.readouterr().err
    assert all(file.exists() for file in files)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
def test_wandb_has_the_figures_without_a_network(
    report: Report, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_to_trackers(TrainingConfig(wandb="helpdesk"), report, tmp_path, Console())
    captured = capfd.readouterr()
    assert f"The comparison is the run {report.run} of the project helpdesk of W&B." in captured.err
    assert captured.out == ""
    (run,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert summary_of(run).items() >= metrics_of(report).items()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="needs trackio")
def test_trackio_has_the_figures(
    report: Report, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    log_to_trackers(TrainingConfig(trackio="helpdesk"), report, tmp_path, Console())
    captured = capfd.readouterr()
    assert f"The comparison is the run {report.run} of the project helpdesk of Trackio." in captured.err
    assert captured.out == ""
    with sqlite3.connect(tmp_path / "trackio" / "helpdesk.db") as database:
        ((name, values),) = database.execute("SELECT run_name, metrics FROM metrics").fetchall()
    assert name == report.run
    assert json.loads(values).items() >= metrics_of(report).items()


def summary_of(path: Path) -> dict[str, object]:
    return {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for record in read_records(path)
        for item in record.summary.update
    }
