"""Real processes are killed, checkpoints damaged, workers taken away: the training goes on as if nothing had been."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.config import TrainingConfig
from training.trainer.checkpoint_store import list_checkpoints
from training.trainer.job import TrainingJob

pytestmark = pytest.mark.slow
MakeJob = Callable[..., TrainingJob]
STATES = [pytest.param(stage, method, marks=pytest.mark.matrix) for stage in (1, 2, 3) for method in ("lora", "full")]


@pytest.fixture(scope="module")
def make_job(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeJob:
    """Prepares a job of twelve steps over rows of different lengths."""
    from training.run import prepare_run

    data = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = [{"prompt": f"Count {n}" + " and on" * (n % 5), "completion": "x" * (3 + n % 7)} for n in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**settings: object) -> TrainingJob:
        config = TrainingConfig.model_validate({
            "data": data, "precision": "fp32", "rank": 4, "epochs": 6, "learning_rate": 1e-2, "micro_batch_size": 1,
            "gradient_accumulation": 2, "sequence_length": 128, "held_out": 0.1, "checkpoint_steps": 3,
            "dropout": 0.1, "workers": {"min": 1, "max": 3}, **settings,
        })  # fmt: skip
        return prepare_run(config, str(model_folder), tmp_path_factory.mktemp("run"))

    return make


@pytest.fixture(scope="module")
def undisturbed(make_job: MakeJob) -> TrainingJob:
    from tests.training import gang

    job = make_job(zero_stage=2)
    assert gang.run(job, 3)
    assert len(gang.losses(job)) == job.num_steps >= 9
    return job


@pytest.mark.parametrize(
    ("when", "step", "going_on_from"),
    [
        ("step", 5, 3),
        pytest.param("step", 1, 0, marks=pytest.mark.matrix),
        pytest.param("step", 3, 0, marks=pytest.mark.matrix),
        pytest.param("step", 8, 6, marks=pytest.mark.matrix),
        pytest.param("save", 6, 6, marks=pytest.mark.matrix),
        pytest.param("upload", 6, 3, marks=pytest.mark.matrix),
    ],
)
def test_a_killed_worker_costs_nothing_but_time(
    make_job: MakeJob, undisturbed: TrainingJob, when: str, step: int, going_on_from: int
) -> None:
    from tests.training import gang

    job = make_job(zero_stage=2)
    assert not gang.run(job, 3, gang.Death(when, step, rank=1 if when != "save" else 2))
    assert gang.run(job, 3)
    assert gang.losses(job) == pytest.approx(gang.losses(undisturbed), abs=1e-6)
    assert gang.rows_taken(job) == gang.rows_taken(undisturbed)
    if going_on_from:
        assert gang.notes(job)[-1].startswith(f"going on from step {going_on_from} of {job.num_steps} with 3 workers")
    adapters = [each.folder / "adapter" / "adapter_model.safetensors" for each in (job, undisturbed)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


@pytest.mark.parametrize(("stage", "method"), STATES)
def test_three_workers_become_two_and_three_again(make_job: MakeJob, stage: int, method: str) -> None:
    from tests.training import gang

    settings = {"zero_stage": stage, "method": method, **({"dropout": 0.0} if method == "full" else {})}
    single, steady, job = (make_job(**settings) for _ in range(3))
    assert gang.run(single, 1)
    assert gang.run(steady, 3)
    assert not gang.run(job, 3, gang.Death("step", 4))
    assert not gang.run(job, 2, gang.Death("step", 7))
    assert gang.run(job, 3)
    told = gang.notes(job)
    assert "with 2 workers" in told[0] and "of 3 workers" in told[0]
    assert "with 3 workers" in told[1] and "of 2 workers" in told[1]
    assert gang.rows_taken(job) == gang.rows_taken(steady)
    assert gang.losses(job) == pytest.approx(gang.losses(steady), abs=1e-5)
    assert gang.losses(steady) == pytest.approx(gang.losses(single), abs=1e-4)
    assert len(gang.frozen_digests(job)) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("stage", [2, 3])
def test_state_in_main_memory_trains_the_same_and_is_gone_on_with(make_job: MakeJob, stage: int) -> None:
    from tests.training import gang

    steady = make_job(zero_stage=stage)
    job = make_job(zero_stage=stage, offload="cpu")
    assert gang.run(steady, 2)
    assert not gang.run(job, 2, gang.Death("step", 5))
    assert gang.run(job, 2)
    assert gang.losses(job) == pytest.approx(gang.losses(steady), abs=1e-5)


@pytest.mark.matrix
def test_a_damaged_checkpoint_is_passed_over_and_named(make_job: MakeJob, undisturbed: TrainingJob) -> None:
    from pyarrow.fs import LocalFileSystem

    from tests.training import gang

    job = make_job(zero_stage=2)
    assert not gang.run(job, 3, gang.Death("step", 7))
    latest, before = list_checkpoints(LocalFileSystem(), str(job.folder / "checkpoints"))
    shard = Path(latest.path) / next(name for name in latest.files if "rank_1" in name)
    shard.write_bytes(shard.read_bytes()[:-100])
    assert gang.run(job, 3)
    told = gang.notes(job)
    assert latest.name in told[0] and "bytes" in told[0] and shard.name in told[0]
    assert told[1].endswith(f"from the checkpoint {before.name}")
    assert gang.losses(job) == pytest.approx(gang.losses(undisturbed), abs=1e-6)
