"""`tandem train` with a full disk, beside another training, with elastic workers, and with trials that diverge."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tandem.test_resume import start
from tests.training.conftest import write_model

pytestmark = [pytest.mark.slow, pytest.mark.matrix]

PROJECT = """
model: ./model
storage: {storage}
training: {{data: rows.jsonl, rank: 4, epochs: 4, learning_rate: 1.0e-2, micro_batch_size: 1, sequence_length: 128,
           precision: fp32, parity_tolerance: null, {settings}}}
"""


def make_project(folder: Path, settings: str, storage: str = "./runs") -> Path:
    folder.mkdir(exist_ok=True)
    write_model(folder / "model")
    rows = [{"prompt": f"City {n}?", "completion": "x" * (n % 5 + 1)} for n in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tandem.yaml").write_text(PROJECT.format(settings=settings, storage=storage))
    return folder


def train(project: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of the command, and what it wrote on standard error."""
    process = start(project, "train", *arguments)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def test_a_full_disk_is_one_paragraph_and_resumed_after_room_was_made(tmp_path: Path, small_disk: Path) -> None:
    project = make_project(tmp_path / "project", "method: full, checkpoint_steps: 2", str(small_disk / "runs"))
    code, said = train(project)
    assert code == 2, said
    assert "Traceback" not in said
    assert "Error: A disk is full: " in said and "tandem train --resume" in " ".join(said.split())
    assert said.count("going on from step") == 0, "the workers were not started again"
    assert not list(small_disk.rglob("adapters/*/v*"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    code, said = train(project, "--resume")
    assert code == 0, said
    assert len(list(small_disk.rglob("adapters/*/v1/manifest.json"))) == 1


def test_two_trainings_at_once_in_one_storage_publish_two_versions(tmp_path: Path) -> None:
    projects = [
        make_project(tmp_path / f"project-{number}", f"adapter: cities, seed: {number}", str(tmp_path / "runs"))
        for number in (1, 2)
    ]
    commands = [start(project, "train") for project in projects]
    said = [command.communicate(timeout=400)[1] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    versions = sorted((tmp_path / "runs" / "adapters" / "cities").glob("v*/manifest.json"))
    assert [path.parent.name for path in versions] == ["v1", "v2"]
    manifests = [json.loads(path.read_text()) for path in versions]
    assert manifests[0]["fingerprint"] != manifests[1]["fingerprint"]
    assert all(manifest["metrics"]["held_out_step"] == manifest["metrics"]["num_steps"] for manifest in manifests)


def test_elastic_workers_train_with_as_many_as_there_are(tmp_path: Path) -> None:
    """One core for two workers at most: the global batch is that of two, and one worker makes twice the passes."""
    results = {}
    for number, cores in ((1, 1), (2, 2)):
        project = make_project(tmp_path / f"project-{number}", "workers: {min: 1, max: 2}, epochs: 2")
        with (project / "tandem.yaml").open("a") as file:
            file.write(f"cluster: {{num_cpus: {cores}}}\n")
        code, said = train(project)
        assert code == 0, said
        (metrics,) = project.glob("runs/*/train-*/metrics.jsonl")
        results[number] = [line for line in map(json.loads, metrics.read_text().splitlines()) if "loss" in line]
        assert {line["num_workers"] for line in results[number]} == {number}
    losses = [[line["loss"] for line in results[number]] for number in (1, 2)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_tuning_leaves_diverged_trials_out(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "tune: {space: {learning_rate: [1.0e+38, 1.0e-2]}}")
    code, said = train(project)
    assert code == 0, said
    assert "trial 1 of 2 (learning_rate 1e+38): failed. The training diverged: " in said
    assert "best of 2: trial 2 of 2 (learning_rate 0.01)" in said
    (manifest,) = project.glob("runs/adapters/*/v1/manifest.json")
    (trials,) = project.glob("runs/*/train-*/search/search.json")
    assert (
        json.loads(manifest.read_text())["metrics"]["held_out_loss"]
        == json.loads(trials.read_text())[1]["held_out_loss"]
    )


def test_a_tuning_whose_trials_all_diverge_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "tune: {space: {learning_rate: [1.0e+38]}}")
    code, said = train(project)
    words = " ".join(said.split())
    assert code == 2 and "Traceback" not in said, said
    assert (
        "Error: None of the trials ran to its end: trial 1 of 1 (learning_rate 1e+38): failed. The training diverged"
        in words
    )
    assert not list(project.glob("runs/adapters/*/v*"))
    code, said = train(project, "--resume")
    assert code == 2 and "a tuning cannot be resumed" in " ".join(said.split())


def test_a_missing_tracker_is_said_before_anything_starts(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "wandb: helpdesk")
    code = (
        "import importlib.util as util; found = util.find_spec; "
        "util.find_spec = lambda name, *more: None if name == 'wandb' else found(name, *more); "
        "from tandem.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, "train"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "the package wandb is not installed" in " ".join(done.stderr.split())
    assert not list(project.glob("runs/*/train-*"))
