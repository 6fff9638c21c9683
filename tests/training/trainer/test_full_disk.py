"""A disk becomes full at every stage of a training: one message, no restart, nothing half published, and a resume."""

import errno
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.config import ClusterConfig
from cluster.errors import TandemError
from cluster.full_disk import DiskFull
from cluster.registry.registry import Registry
from cluster.session import ray_session
from tests.training.test_train import CITIES, Training
from training.run import resume_training
from training.trainer.fit import TrainingReporter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(f'{{"prompt": "City {n}?", "completion": "{city}"}}\n' for n, city in enumerate(CITIES)))
    return path


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session(ClusterConfig()):
        yield


def fill(disk: Path) -> None:
    """Take what is free, to the last byte."""
    with (disk / "ballast").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def make_room(disk: Path) -> None:
    (disk / "ballast").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def fill_when(disk: Path, is_time: Callable[[], bool]) -> threading.Thread:
    def watch() -> None:
        while not is_time():
            time.sleep(0.002)
        fill(disk)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def num_lines(path: Path, text: str) -> int:
    return path.read_text().count(text) if path.exists() else 0


def last_time(line: str) -> float:
    """When a step was done; 0 of another line."""
    return float(json.loads(line).get("time", 0)) if line.endswith("}") else 0.0


@pytest.mark.parametrize(
    "stage",
    ["checkpoint", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("prepare", "metrics", "publish"))],
)
def test_a_full_disk_is_one_message_at_every_stage(
    session: None, small_disk: Path, model_folder: Path, data: Path, stage: str
) -> None:
    settings = {"method": "full", "checkpoint_steps": 2} if stage == "checkpoint" else {"checkpoint_steps": 10_000}
    if stage != "checkpoint":
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    epochs = 400 if stage == "metrics" else 20
    training = Training(small_disk, model_folder, data, max_failures=3, epochs=epochs, **settings)
    metrics = training.run.path / "metrics.jsonl"
    if stage == "prepare":
        fill(small_disk)
    elif stage == "metrics":
        fill_when(small_disk, lambda: num_lines(metrics, '"loss"') > 4)
    elif stage == "publish":
        fill_when(small_disk, lambda: (training.run.path / "summary.json").exists())
    with pytest.raises(DiskFull) as raised:
        training.start()
    if metrics.exists():
        print(
            f"{stage}: {time.time() - max(map(last_time, metrics.read_text().splitlines())):.1f} s after the last step"
        )
    assert raised.value.seen.startswith(f"A disk is full: {small_disk} on ")
    assert num_lines(metrics, '"step": 1, "epoch": 0,') == (stage != "prepare"), "no worker was started again"
    assert Registry(training.storage.adapters).names() == []
    assert not list(training.storage.adapters.glob("*/v*")), "no file of a version is left"
    make_room(small_disk)
    if stage == "prepare":
        assert "run `tandem train` again" in raised.value.remedy
        return
    assert "tandem train --resume" in raised.value.remedy
    steps = training.num_steps_done
    version = resume_training(
        training.config, str(model_folder), "cities", training.storage, training.run, TrainingReporter()
    )
    assert version.version == 1
    assert training.num_steps_done == steps if stage == "publish" else training.num_steps_done > steps
    assert json.loads((training.run.path / "summary.json").read_text())["num_steps_done"] == max(training.losses)


@pytest.mark.matrix
def test_a_full_disk_ends_a_tuning_before_its_other_trials(
    session: None, small_disk: Path, model_folder: Path, data: Path
) -> None:
    space = {"learning_rate": [1e-2, 1e-3, 1e-4]}
    training = Training(
        small_disk, model_folder, data, method="full", checkpoint_steps=2, max_failures=3, tune={"space": space}
    )
    with pytest.raises(TandemError, match="A disk is full") as raised:
        training.start()
    assert isinstance(raised.value, DiskFull) and "start the tuning again" in raised.value.remedy
    assert len(list(small_disk.rglob("metrics.jsonl"))) == 1
