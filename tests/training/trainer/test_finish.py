"""The end of a training: a publish that fails costs no step, and the best weights reach every rank."""

import json
from pathlib import Path

import pytest

from tests.training.trainer.test_recovery import MakeJob, make_job
from training.trainer.job import TrainingJob

__all__ = ["make_job"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sharded(make_job: MakeJob) -> TrainingJob:
    from tests.training import gang

    job = make_job(zero_stage=3, workers=2)
    assert gang.run(job, 2)
    return job


@pytest.mark.parametrize("fault", ["no folder", pytest.param("killed", marks=pytest.mark.matrix)])
def test_a_publish_that_fails_is_tried_again_without_a_step(
    make_job: MakeJob, sharded: TrainingJob, fault: str
) -> None:
    from tests.training import gang

    job = make_job(zero_stage=3, workers=2)
    if fault == "killed":
        assert not gang.run(job, 2, gang.Death("publish", job.num_steps))
    else:
        (job.folder / "adapter").write_text("in the way")
        assert not gang.run(job, 2)
        (job.folder / "adapter").unlink()
    assert gang.num_steps_done(job) == job.num_steps
    assert gang.run(job, 2)
    assert gang.num_steps_done(job) == job.num_steps
    (note,) = gang.notes(job)
    assert note.startswith(f"going on from step {job.num_steps} of {job.num_steps} with 2 workers")
    for name in ("adapter_model.safetensors", "parity.jsonl"):
        assert published(job, name).read_bytes() == published(sharded, name).read_bytes()


def test_the_log_probabilities_are_those_of_the_files_and_of_the_base(sharded: TrainingJob, model_folder: Path) -> None:
    """Computed by two ranks that each hold half of the weights; loaded from the files they are the same."""
    import torch

    from tests.training.served import load_served, served_logprobs

    tuned = load_served(str(model_folder), sharded.folder / "adapter").float()
    lines = [json.loads(line) for line in published(sharded, "parity.jsonl").read_text().splitlines()]
    assert lines
    for line in lines:
        torch.testing.assert_close(torch.tensor(line["logprobs"]), served_logprobs(tuned, line), atol=0.02, rtol=0.01)
        with tuned.disable_adapter():
            base = served_logprobs(tuned, line)
        torch.testing.assert_close(torch.tensor(line["base_logprobs"]), base, atol=0.02, rtol=0.01)
        assert abs(sum(line["logprobs"]) - sum(line["base_logprobs"])) > 1


@pytest.mark.parametrize(
    ("stage", "precision"),
    [(3, "fp32"), *(pytest.param(2, each, marks=pytest.mark.matrix) for each in ("bf16", "fp32"))],
)
def test_the_best_weights_that_one_rank_has_reach_all_of_them(make_job: MakeJob, stage: int, precision: str) -> None:
    from safetensors.torch import load_file

    from tests.training import gang

    job = make_job(
        zero_stage=stage, precision=precision, workers=2, early_stopping=1, eval_steps=1, learning_rate=0.1, epochs=9
    )  # fmt: skip
    assert gang.run(job, 2, place=gang.Place(own_folders=True))
    best = load_file(job.folder / "best.safetensors")
    assert not list(job.folder.glob("copy-*/*/best.safetensors"))
    kept = load_file(published(job, "adapter_model.safetensors"))
    assert sorted(weight.float().sum().item() for weight in best.values()) == pytest.approx(
        sorted(weight.float().sum().item() for weight in kept.values())
    )
    losses = {
        line["step"]: line["held_out_loss"] for line in gang.lines_of(job, "metrics.jsonl") if "held_out_loss" in line
    }
    assert min(losses, key=losses.__getitem__) < max(losses)


def published(job: TrainingJob, name: str) -> Path:
    return job.folder / "adapter" / name
