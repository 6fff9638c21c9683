"""DPO through the whole command: pairs to an adapter that vLLM serves as it was trained, and that is then asked."""

import json
from pathlib import Path

import pytest

from cluster.registry.registry import Registry
from tests.tandem.test_resume import start
from tests.training.conftest import write_model

pytestmark = [pytest.mark.slow, pytest.mark.matrix, pytest.mark.timeout(900)]

PROJECT = """
name: cities
model: ./model
training: {data: rows.jsonl, objective: dpo, rank: 4, epochs: 3, learning_rate: 1.0e-3, micro_batch_size: 2,
           sequence_length: 128, precision: fp32}
serving: {max_model_len: 256, max_lora_rank: 8}
"""


def test_a_preference_training_is_served_as_it_was_trained(tmp_path: Path) -> None:
    write_model(tmp_path / "model", head_dim=32)
    rows = [{"prompt": f"City {n}?", "chosen": "x" * (n % 5 + 1), "rejected": f"no {n}"} for n in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tandem.yaml").write_text(PROJECT)
    command = start(tmp_path, "train")
    _, said = command.communicate(timeout=600)
    assert command.returncode == 0, said
    registry = Registry(tmp_path / "runs" / "adapters")
    version = registry.resolve("cities")
    check = registry.check_of("cities", version.version)
    assert check is not None and check.passed and check.mean_difference <= check.tolerance
    metrics = version.manifest.metrics
    assert metrics["held_out_step"] == metrics["num_steps"] == metrics["num_steps_done"]
    (lines,) = tmp_path.glob("runs/cities/train-*/metrics.jsonl")
    losses = [line["loss"] for line in map(json.loads, lines.read_text().splitlines()) if "loss" in line]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3), "ln 2: the adapter begins as the base"
    assert losses[-1] < losses[0]
    asked = start(tmp_path, "ask", "--model", "base:cities", "City 3?")
    answer, said = asked.communicate(timeout=600)
    assert asked.returncode == 0 and answer.strip(), said
