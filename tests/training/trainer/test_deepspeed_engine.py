from pathlib import Path

import pytest
import torch

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.plan.deepspeed_config import deepspeed_config
from training.plan.placement import Placement
from training.trainer.deepspeed_engine import open_engine
from training.trainer.loop import LearningRateSchedule


@pytest.mark.slow
def test_state_on_a_disk_needs_what_reads_it_asynchronously(tmp_path: Path) -> None:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if AsyncIOBuilder().is_compatible(verbose=False):
        pytest.skip("libaio is installed")
    config = TrainingConfig(zero_stage=2, offload="nvme", nvme_path=tmp_path)
    with pytest.raises(TandemError, match="libaio is missing"):
        open_engine(torch.nn.Linear(2, 2), deepspeed_config(config, 1), LearningRateSchedule("constant", 1, 0))


def test_offloaded_state_needs_a_compiler_on_gpu_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    config = TrainingConfig(zero_stage=2, offload="cpu")
    settings = deepspeed_config(config, 1, placement=Placement("gpu", 1, 1, 1))
    with pytest.raises(TandemError, match="this node has no no-such-compiler"):
        open_engine(torch.nn.Linear(2, 2), settings, LearningRateSchedule("constant", 1, 0))
