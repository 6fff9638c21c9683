"""`tandem train` is killed with everything around it, and `tandem train --resume` ends what it began."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.conftest import write_model

pytestmark = [pytest.mark.slow, pytest.mark.matrix]

PROJECT = """
model: ./model
training: {data: rows.jsonl, rank: 4, epochs: 12, learning_rate: 1.0e-2, micro_batch_size: 1, sequence_length: 128,
           precision: fp32, checkpoint_steps: 10, parity_tolerance: null}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_model(folder / "model", head_dim=32)
    rows = [{"prompt": f"City {n}?", "completion": "x" * (n % 5 + 1)} for n in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tandem.yaml").write_text(PROJECT)
    return folder


def test_a_training_whose_command_was_killed_is_gone_on_with(project: Path) -> None:
    command = start(project, "train")
    metrics = wait_for_steps(project, 25)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    before = metrics.read_text()

    resumed = start(project, "train", "--resume")
    _, told = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, told
    assert "going on from step" in told
    text = metrics.read_text()
    assert text.startswith(before), "the same run goes on"
    steps = {json.loads(line)["step"] for line in text.splitlines()}
    assert steps >= set(range(1, max(steps) + 1))
    published = project / "runs" / "adapters" / project_name(project)
    assert (published / "v1" / "manifest.json").is_file()
    assert json.loads((published / "aliases" / "live.json").read_text()) == {"version": 1}


def project_name(project: Path) -> str:
    return next((project / "runs" / "adapters").iterdir()).name


def start(project: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tandem", *arguments], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def wait_for_steps(project: Path, number: int) -> Path:
    deadline = time.monotonic() + 180
    while True:
        found = list(project.glob("runs/*/train-*/metrics.jsonl"))
        if found and found[0].read_text().count('"loss"') >= number:
            return found[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
