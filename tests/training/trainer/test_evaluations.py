"""Held-out losses: counted before anything starts, recorded where they were measured, and of what is published."""

import math
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from tests.training.trainer.test_recovery import MakeJob, make_job
from training.config import TrainingConfig
from training.trainer.job import TrainingJob, check_evaluations

__all__ = ["make_job"]


class Steps:
    """The steps of a training whose epochs have all the same number."""

    def __init__(self, per_epoch: int, epochs: int) -> None:
        self._per_epoch, self._num_steps = per_epoch, per_epoch * epochs

    def __len__(self) -> int:
        return self._num_steps

    def is_last_of_epoch(self, step: int) -> bool:
        return (step + 1) % self._per_epoch == 0


def check(per_epoch: int, epochs: int, num_held_out: int = 3, **settings: Any) -> int:
    """The number of held-out losses of a training that is not refused."""
    steps: Any = Steps(per_epoch, epochs)
    job = TrainingJob(TrainingConfig.model_validate(settings), "model", Path("run"), len(steps))
    check_evaluations(job, steps, num_held_out)
    return job.num_evaluations(steps)


@pytest.mark.parametrize(
    ("per_epoch", "epochs", "settings", "number"),
    [
        (10, 3, {}, 3),
        (10, 3, {"eval_steps": 4}, 8),  # 4, 8, ..., 28 and the last step
        (10, 3, {"eval_steps": 5}, 6),
        (10, 3, {"eval_steps": 1000}, 1),
        (10, 1, {"eval_steps": 1}, 10),
        (10, 3, {"keep_by": "held_out_loss", "checkpoint_steps": 7}, 7),  # 7, 10, 14, 20, 21, 28 and 30
        (1, 1, {}, 1),
    ],
)
def test_held_out_losses_are_counted(per_epoch: int, epochs: int, settings: dict[str, Any], number: int) -> None:
    assert check(per_epoch, epochs, **settings) == number


@pytest.mark.parametrize("patience", [1, 2, 3, 10])
@pytest.mark.parametrize("eval_steps", [None, 1, 3, 29, 30, 31, 1000])
def test_early_stopping_that_cannot_act_is_refused_and_the_remedy_works(patience: int, eval_steps: int | None) -> None:
    number = check(10, 3, eval_steps=eval_steps)
    settings = {"eval_steps": eval_steps, "early_stopping": patience}
    if number > patience:
        assert check(10, 3, **settings) == number
        return
    with pytest.raises(
        TandemError, match=f"needs {patience + 1} held-out losses.* this training of 30 steps has {number}"
    ):
        check(10, 3, **settings)
    with pytest.raises(TandemError) as raised:
        check(10, 3, **settings)
    advised = int(raised.value.remedy.removeprefix("Set `training.eval_steps` to ").split()[0])
    assert check(10, 3, eval_steps=advised, early_stopping=patience) > patience


def test_a_training_that_is_too_short_for_any_setting_is_told_so() -> None:
    with pytest.raises(TandemError, match="Train for more epochs"):
        check(1, 2, early_stopping=2, eval_steps=1)


@pytest.mark.parametrize("settings", [{"early_stopping": 1}, {"keep_by": "held_out_loss"}])
def test_what_decides_by_held_out_rows_needs_one(settings: dict[str, Any]) -> None:
    with pytest.raises(TandemError, match="no row is held out"):
        check(10, 3, num_held_out=0, **settings)
    check(10, 3, num_held_out=0)


@pytest.mark.slow
def test_a_figure_stands_where_it_was_measured_and_what_is_published_was_measured(
    make_job: MakeJob, model_folder: Path
) -> None:
    """Every fourth step and the last one are measured, and no other; the last figure is that of the published files."""
    from tests.training import gang

    job = make_job(workers=1, zero_stage=0, eval_steps=4, epochs=3)
    assert job.num_steps % 4
    assert gang.run(job, 1)
    lines = gang.lines_of(job, "metrics.jsonl")
    measured = [(line["step"], line["held_out_loss"]) for line in lines if "held_out_loss" in line]
    assert [step for step, _ in measured] == [*range(4, job.num_steps, 4), job.num_steps]
    assert len({loss for _, loss in measured}) == len(measured)
    assert all(line["grad_norm"] > 0 for line in lines if "loss" in line)
    assert published_loss(job, model_folder) == pytest.approx(measured[-1][1], abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, pytest.param(3, marks=pytest.mark.matrix)])
def test_early_stopping_publishes_the_weights_that_it_names(make_job: MakeJob, model_folder: Path, stage: int) -> None:
    from tests.training import gang

    job = make_job(workers=2, zero_stage=stage, early_stopping=1, eval_steps=1, learning_rate=0.1, epochs=9)
    assert gang.run(job, 2, place=gang.Place(own_folders=True))
    losses = {
        line["step"]: line["held_out_loss"] for line in gang.lines_of(job, "metrics.jsonl") if "held_out_loss" in line
    }
    (summary,) = gang.lines_of(job, "finished.jsonl")
    assert summary["held_out_step"] == min(losses, key=losses.__getitem__) < max(losses)
    assert summary["held_out_loss"] == min(losses.values())
    assert published_loss(job, model_folder) == pytest.approx(summary["held_out_loss"], abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [0.1, pytest.param(0.0, marks=pytest.mark.matrix)])
def test_weights_that_diverge_in_the_last_step_are_not_published(make_job: MakeJob, held_out: float) -> None:
    """Its loss is that of the weights before it: only the held-out loss or the parity rows show what it did."""
    from tests.training import gang

    job = make_job(
        workers=1, zero_stage=0, epochs=1, gradient_accumulation=64, learning_rate=1e37, max_grad_norm=1e30,
        held_out=held_out, dropout=0.0,
    )  # fmt: skip
    assert job.num_steps == 1
    assert not gang.run(job, 1)
    (line,) = [line for line in gang.lines_of(job, "metrics.jsonl") if "loss" in line]
    assert math.isfinite(line["loss"])
    assert not (job.folder / "adapter").exists()


def published_loss(job: TrainingJob, model_folder: Path) -> float:
    """The held-out loss of the published files, computed by PEFT and transformers row by row."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from training.data.examples import Examples
    from training.trainer.job import HELD_OUT_ROWS_FILE

    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, job.folder / "adapter", autocast_adapter_dtype=False).eval()
    rows, loss_sum, num_learnt = Examples.load(job.folder / HELD_OUT_ROWS_FILE), 0.0, 0
    for row in range(len(rows)):
        token_ids, is_learnt = (torch.from_numpy(values) for values in rows.sequence(row))
        with torch.no_grad():
            logits = model(input_ids=token_ids.long()[None]).logits[0, :-1]
        logprobs = torch.log_softmax(logits, -1).gather(1, token_ids[1:, None].long())[:, 0]
        loss_sum -= float(logprobs[is_learnt[1:]].sum())
        num_learnt += int(is_learnt[1:].sum())
    return loss_sum / num_learnt
