"""W&B and Trackio get what metrics.jsonl has, without a network; a package that is missing is said first."""

import importlib.util
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.errors import TandemError
from tests.training.wandb_file import read_records
from training.config import TrainingConfig
from training.trainer.job import METRICS_FILE
from training.trainer.metrics import MetricsRecorder
from training.trainer.trackers import check_trackers_installed


def is_missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


@pytest.mark.parametrize("setting", ["mlflow", "wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TandemError, match=f"the package {setting} is not installed"):
        check_trackers_installed(TrainingConfig.model_validate({setting: "helpdesk"}))
    check_trackers_installed(TrainingConfig())


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(TandemError, match="the package wandb is not installed"):
        check_trackers_installed(TrainingConfig(wandb="helpdesk"))


@pytest.mark.slow
@pytest.mark.skipif(is_missing("wandb"), reason="needs wandb")
def test_wandb_without_a_network_keeps_every_step_of_a_resumed_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    record_in_a_process(tmp_path / "train-1", "wandb")
    runs = sorted((tmp_path / "train-1" / "wandb").glob("offline-run-*-train-1/run-train-1.wandb"))
    assert [wandb_steps(run) for run in runs] == [[1, 2, 3], [3, 4, 5]]


@pytest.mark.slow
@pytest.mark.skipif(is_missing("trackio"), reason="needs trackio")
def test_trackio_keeps_every_step_of_a_resumed_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    record_in_a_process(tmp_path / "train-1", "trackio")
    with sqlite3.connect(tmp_path / "trackio" / "helpdesk.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert [(name, step, json.loads(values)["loss"]) for name, step, values in rows] == [
        ("train-1", step, 1 / step) for step in (1, 2, 3, 3, 4, 5)
    ]


def record_in_a_process(folder: Path, setting: str) -> None:
    """Trackio reads its folder when it is imported, and W&B writes its files out when the process has ended."""
    code = "import sys; from tests.training.trainer import test_trackers; test_trackers.record_twice(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, str(folder), setting], check=True, capture_output=True)


def record_twice(path: str, setting: str) -> None:
    """Three steps, and a resumed training that does the last of them again."""
    folder, config = Path(path), TrainingConfig.model_validate({setting: "helpdesk"})
    for first in (1, 3):
        recorder = MetricsRecorder(folder, config, first_step=first)
        for step in range(first, first + 3):
            recorder.record_step(step, {"loss": 1 / step})
        recorder.close()
    lines = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    assert not [line for line in lines if "note" in line]


def wandb_steps(path: Path) -> list[int]:
    return [
        int(json.loads(item.value_json))
        for record in read_records(path)
        for item in record.history.item
        if "step" in (item.key, *item.nested_key)
    ]
