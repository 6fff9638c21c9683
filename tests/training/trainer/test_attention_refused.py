"""Two real ranks and a model that cannot be packed: both end before the first step, and the remedy trains."""

import json
from pathlib import Path

import pytest

from tests.training.conftest import byte_tokenizer
from tests.training.every_model import write_small
from training.config import TrainingConfig
from training.run import prepare_run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stage", [2, pytest.param(3, marks=pytest.mark.matrix)])
def test_all_ranks_refuse_and_the_remedy_trains(tmp_path: Path, stage: int) -> None:
    from tests.training import gang

    model = write_small("bloom", tmp_path / "bloom")
    byte_tokenizer().save_pretrained(model)
    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Count {n}", "completion": "x" * (3 + n % 7)} for n in range(8)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(packing: bool) -> tuple[bool, int]:
        config = TrainingConfig.model_validate({
            "data": data, "precision": "fp32", "rank": 4, "epochs": 1, "sequence_length": 64, "micro_batch_size": 2,
            "held_out": 0.25, "workers": 2, "zero_stage": stage, "packing": packing,
        })  # fmt: skip
        folder = tmp_path / f"run-{packing}"
        folder.mkdir()
        job = prepare_run(config, str(model), folder)
        return gang.run(job, 2), gang.num_steps_done(job)

    assert run(packing=True) == (False, 0)
    ended, num_steps = run(packing=False)
    assert ended and num_steps > 0
