"""KTO, plain texts and weights of tokens in real processes: the same losses whatever shares the work out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from training.config import TrainingConfig
from training.data.batches import OptimizerSteps
from training.data.examples import Examples
from training.run import prepare_run
from training.trainer.job import TRAINING_ROWS_FILE, TrainingJob

pytestmark = pytest.mark.slow
MakeJob = Callable[..., TrainingJob]
ROWS: dict[str, list[dict[str, Any]]] = {
    "kto": [
        {"prompt": f"Count {n}" + " and on" * (n % 5), "completion": "xy"[n % 2] * (3 + n % 7), "label": n % 3 > 0}
        for n in range(30)
    ],
    "sft": [
        {
            "prompt": f"Count {n}" + " and on" * (n % 5),
            "completion": "xy"[n % 2] * (3 + n % 7),
            "weight": 0.5 + n % 2 / 2,
        }
        for n in range(30)
    ],
    "text": [{"text": f"Text {n}. " + "All of it is learnt. " * (n % 12)} for n in range(30)],
}


@pytest.fixture(scope="module")
def make_job(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeJob:
    """Prepares a job over rows of different lengths."""

    def make(objective: str, **settings: object) -> TrainingJob:
        data = tmp_path_factory.mktemp("data") / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in ROWS[objective]))
        config = TrainingConfig.model_validate({
            "data": data, "objective": objective, "precision": "fp32", "rank": 4, "epochs": 3, "learning_rate": 1e-2,
            "micro_batch_size": 2, "gradient_accumulation": 2, "sequence_length": 64, "held_out": 0.2, "zero_stage": 2,
            "checkpoint_steps": 2, "workers": {"min": 1, "max": 3}, "kto_beta": 0.5, **settings,
        })  # fmt: skip
        return prepare_run(config, str(model_folder), tmp_path_factory.mktemp("run"))

    return make


def held_out(job: TrainingJob) -> list[float]:
    from tests.training import gang

    return [line["held_out_loss"] for line in gang.lines_of(job, "metrics.jsonl") if "held_out_loss" in line]


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "kto"},
        pytest.param({"objective": "text"}, marks=pytest.mark.matrix),
        pytest.param({"objective": "sft"}, marks=pytest.mark.matrix),
        pytest.param({"objective": "kto", "packing": False, "micro_batch_size": 3}, marks=pytest.mark.matrix),
        pytest.param({"objective": "kto", "zero_stage": 3, "dropout": 0.1}, marks=pytest.mark.matrix),
        pytest.param({"objective": "kto", "method": "dora"}, marks=pytest.mark.matrix),
        pytest.param({"objective": "text", "method": "full", "zero_stage": 3}, marks=pytest.mark.matrix),
    ],
)
def test_any_number_of_workers_and_a_restart_give_the_same_losses(make_job: MakeJob, settings: dict) -> None:
    from tests.training import gang

    single, steady, job = (make_job(**settings) for _ in range(3))
    assert gang.run(single, 1)
    assert gang.run(steady, 3)
    assert not gang.run(job, 3, gang.Death("step", 3))
    assert gang.run(job, 2)
    assert len(gang.losses(steady)) == steady.num_steps >= 6
    assert gang.rows_taken(job) == gang.rows_taken(steady)
    for other in (single, job):
        assert gang.losses(other) == pytest.approx(gang.losses(steady), abs=1e-4)
        assert held_out(other) == pytest.approx(held_out(steady), abs=1e-4)
    if settings["objective"] == "kto":
        labels = [note for note in gang.notes(steady) if "desired answers" in note]
        assert labels and "count" in labels[0]


def test_the_first_loss_of_texts_is_the_mean_over_all_their_tokens(make_job: MakeJob, model_folder: Path) -> None:
    from tests.training import gang

    job = make_job("text", epochs=1)
    assert gang.run(job, 2)
    rows = Examples.load(job.folder / TRAINING_ROWS_FILE)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    total, number = 0.0, 0
    for row in (row for pack in OptimizerSteps(rows, job.config)[0] for row in pack):
        tokens = torch.from_numpy(rows.sequence(row)[0]).long()
        with torch.no_grad():
            logprobs = model(tokens[None]).logits[0].log_softmax(-1)
        total -= float(logprobs[:-1].gather(1, tokens[1:, None]).sum())
        number += len(tokens) - 1
    assert gang.losses(job)[1] == pytest.approx(total / number, abs=1e-5)
    parity = [json.loads(line) for line in (job.folder / "adapter" / "parity.jsonl").read_text().splitlines()]
    assert parity and all(len(line["prompt_token_ids"]) == 1 for line in parity)
    assert all(len(line["answer_token_ids"]) == len(line["logprobs"]) == len(line["base_logprobs"]) for line in parity)
