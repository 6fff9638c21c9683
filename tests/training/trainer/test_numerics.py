"""Losses and gradient norms of whole trainings equal those of a computation that shares no code with ours."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from training.config import TrainingConfig
from training.data.batches import OptimizerSteps
from training.data.examples import Examples
from training.trainer.job import TRAINING_ROWS_FILE

pytestmark = pytest.mark.slow
WORDS = ("iron", "copper", "river", "lake", "seven", "red", "north", "apple")


@dataclass(frozen=True)
class Tolerance:
    """The largest differences of a loss (nats per token) and of a gradient norm (relative)."""

    loss: float
    grad_norm: float


# float32 has 24 bits, and sums are taken in another order. bfloat16 has 8 bits (a relative step of 0.004): ours rounds
# activations to it and, with `gradient_precision: bf16`, every sum of gradients; weights are rounded on both sides.
FP32, BF16 = Tolerance(1e-5, 1e-4), Tolerance(0.02, 0.02)
# Without what lets ZeRO-3 keep small weights whole.
SHARED_OUT = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}

CASES: dict[str, tuple[dict[str, Any], Tolerance]] = {
    "ZeRO-3, 2 workers, LoRA": ({"zero_stage": 3, "workers": 2, "deepspeed": SHARED_OUT}, FP32),
    "ZeRO-3, 2 workers, full, padded, accumulated": (
        {"zero_stage": 3, "workers": 2, "deepspeed": SHARED_OUT, "method": "full", "packing": False,
         "gradient_accumulation": 2}, FP32,
    ),
    "ZeRO-3, 1 worker, full": ({"zero_stage": 3, "workers": 1, "deepspeed": SHARED_OUT, "method": "full"}, FP32),
    "ZeRO 0, 1 worker": ({"zero_stage": 0, "workers": 1}, FP32),
    "bf16 sums of 8 passes": (
        {"zero_stage": 2, "workers": 2, "precision": "bf16", "gradient_precision": "bf16",
         "gradient_accumulation": 4, "epochs": 8, "method": "full"}, BF16,
    ),
    "bf16, fp32 sums of 8 passes": (
        {"zero_stage": 2, "workers": 2, "precision": "bf16", "gradient_precision": "fp32",
         "gradient_accumulation": 4, "epochs": 8, "method": "full"}, BF16,
    ),
    "ZeRO-3 in bf16, fp32 sums": (
        {"zero_stage": 3, "workers": 2, "deepspeed": SHARED_OUT, "precision": "bf16", "gradient_precision": "fp32",
         "gradient_accumulation": 2, "epochs": 4, "method": "full"}, BF16,
    ),
}  # fmt: skip


def make_rows() -> list[list[dict[str, str]]]:
    """Short and long answers, several turns, system messages."""
    draw, rows = Random(5), []
    for number in range(24):
        row = [{"role": "system", "content": text(draw, 4)}] * (number % 3 == 0)
        for _ in range(1 + (number % 4 == 0)):
            row += [
                {"role": "user", "content": text(draw, draw.randint(1, 6))},
                {"role": "assistant", "content": text(draw, draw.choice((1, 2, 12)))},
            ]
        rows.append(row)
    return rows


def text(draw: Random, num_words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(num_words))


@pytest.mark.parametrize(
    "case", [case if number == 0 else pytest.param(case, marks=pytest.mark.matrix) for number, case in enumerate(CASES)]
)
def test_losses_and_gradients_are_those_of_plain_pytorch(
    case: str, tmp_path: Path, model_folder: Path, record_property: Callable[[str, object], None]
) -> None:
    from tests.training import gang, independent
    from training.run import prepare_run

    settings, tolerance = CASES[case]
    rows = make_rows()
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    config = TrainingConfig.model_validate({
        "data": data, "held_out": 0, "epochs": 2, "learning_rate": 2e-3, "sequence_length": 256, "precision": "fp32",
        "offload": "none", "warmup_ratio": 0.2, "weight_decay": 0.01, "checkpoint_steps": 1000, "rank": 4,
        "micro_batch_size": 1, "parity_tolerance": None, **settings,
    })  # fmt: skip
    job = prepare_run(config, str(model_folder), tmp_path)
    assert gang.run(job, config.workers.max)
    steps = OptimizerSteps(Examples.load(job.folder / TRAINING_ROWS_FILE), job.config)
    plan = [[row for pack in steps[step] for row in pack] for step in range(len(steps))]
    assert sorted(row for batch in plan for row in batch) == sorted([*range(len(rows))] * config.epochs)
    expected = independent.train(str(model_folder), rows, plan, job.config)
    lines = {line["step"]: line for line in gang.lines_of(job, "metrics.jsonl") if "loss" in line}
    assert len(lines) == len(expected)
    pairs = [(lines[step], figures) for step, figures in enumerate(expected, 1)]
    loss = max(abs(line["loss"] - figures.loss) for line, figures in pairs)
    norm = max(abs(line["grad_norm"] / figures.grad_norm - 1) for line, figures in pairs)
    record_property("differences", (loss, norm))
    print(
        f"{case}: {len(pairs)} steps, loss {expected[0].loss:.4f} to {expected[-1].loss:.4f}, {loss=:.1e}, {norm=:.1e}"
    )
    assert [line["learning_rate"] for line, _ in pairs] == pytest.approx([each.learning_rate for each in expected])
    assert loss <= tolerance.loss
    assert norm <= tolerance.grad_norm
