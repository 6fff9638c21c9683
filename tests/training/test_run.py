"""Which run is gone on with; that it ends the same is in tests/tandem/test_resume.py."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from tests.machines import MACHINES
from training.config import TrainingConfig, WorkerRange
from training.plan.placement import Placement
from training.publish.publish import fingerprint
from training.run import _place_again, find_interrupted
from training.trainer.job import TrainingJob

MODEL, DIGEST = "model", "digest"


@pytest.fixture
def config(tmp_path: Path) -> TrainingConfig:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "One?", "completion": "1"}\n')
    return TrainingConfig.model_validate({"data": tmp_path / "rows.jsonl"})


def begun(storage: Storage, config: TrainingConfig, status: str | None) -> Run:
    """A run that has prepared its rows, and ended with a status or not at all."""
    run = Run.start(storage, "project", "train", {})
    (run.path / "job.json").write_text(json.dumps({"fingerprint": fingerprint(config, MODEL, DIGEST)}))
    if status:
        run.finish(status)
    return run


def find(storage: Storage, config: TrainingConfig, **changed: Any) -> Run:
    return find_interrupted(storage.runs("project"), config.model_copy(update=changed), MODEL, DIGEST)


def test_the_newest_that_did_not_end_well_is_gone_on_with(tmp_path: Path, config: TrainingConfig) -> None:
    storage = Storage(tmp_path / "runs")
    begun(storage, config, "failed")
    killed = begun(storage, config, None)
    begun(storage, config, "done")
    Run.start(storage, "project", "compare", {})  # not prepared: there is nothing to go on with
    assert find(storage, config).path == killed.path


def test_there_may_be_none(tmp_path: Path, config: TrainingConfig) -> None:
    storage = Storage(tmp_path / "runs")
    begun(storage, config, "done")
    with pytest.raises(TandemError, match="There is no training below"):
        find(storage, config)


def test_changed_settings_are_refused_and_those_without_effect_are_not(tmp_path: Path, config: TrainingConfig) -> None:
    storage = Storage(tmp_path / "runs")
    begun(storage, config, "interrupted")
    with pytest.raises(TandemError, match="was started with other data, settings"):
        find(storage, config, rank=8)
    find(storage, config, max_failures=9, keep_checkpoints=5)


def test_a_run_that_was_prepared_before_search_was_called_tune_is_resumed(
    tmp_path: Path, config: TrainingConfig
) -> None:
    settings = config.model_dump(mode="json")
    settings["search"] = settings.pop("tune")
    values = {"config": settings, "model": MODEL, "folder": str(tmp_path), "num_steps": 7, "store": None}
    resolved = config.model_copy(update={"workers": WorkerRange(min=2, max=2)})
    assert TrainingJob.from_dict(values) == TrainingJob(resolved, MODEL, tmp_path, num_steps=7)


def test_a_tuning_cannot_be_resumed(tmp_path: Path, config: TrainingConfig) -> None:
    begun(Storage(tmp_path / "runs"), config, "failed")
    with pytest.raises(TandemError, match="a tuning cannot be resumed"):
        find(Storage(tmp_path / "runs"), config, tune={"space": {"rank": [4]}})


def test_the_steps_of_a_training_are_imported_without_what_is_heavy() -> None:
    """Commands import them at their top, before a Ray session is open and before they know that they need PyTorch."""
    heavy = "{'torch', 'ray', 'transformers', 'deepspeed', 'peft', 'pyarrow'}"
    code = f"import sys, training.run, training.data.data_check; print({heavy} & sys.modules.keys() or '')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_training_on_gpus_is_not_resumed_on_cpus_or_with_fewer_gpus(tmp_path: Path, config: TrainingConfig) -> None:
    eight = config.model_copy(update={"workers": WorkerRange(min=8, max=8)})
    job = TrainingJob(eight, MODEL, tmp_path, num_steps=7, placement=Placement("gpu", 1, 8, 1))
    assert _place_again(job, MACHINES["2 x 8 x H100"]).kind == "gpu"
    with pytest.raises(TandemError, match="there are none now"):
        _place_again(job, MACHINES["no GPU"])
    with pytest.raises(TandemError, match="started with 8 workers on GPUs"):
        _place_again(job, MACHINES["1 x H200"])
