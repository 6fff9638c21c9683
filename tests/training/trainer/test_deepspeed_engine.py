import os
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.plan.deepspeed_config import deepspeed_config
from training.plan.placement import Placement
from training.plan.schedule import LearningRateSchedule
from training.trainer.deepspeed_engine import (
    convert_to_universal,
    load_state,
    open_engine,
    own_steps,
    save_state,
    trained_weights,
)


@pytest.mark.slow
def test_state_on_a_disk_needs_what_reads_it_asynchronously(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")  # with which no program links libaio, installed or not
    config = TrainingConfig(zero_stage=2, offload="nvme", nvme_path=tmp_path)
    with pytest.raises(TandemError, match="libaio is missing"):
        open_engine(torch.nn.Linear(2, 2), deepspeed_config(config, 1), LearningRateSchedule("constant", 1, 0))


def test_offloaded_state_needs_a_compiler_on_gpu_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    config = TrainingConfig(zero_stage=2, offload="cpu")
    settings = deepspeed_config(config, 1, placement=Placement("gpu", 1, 1, 1))
    with pytest.raises(TandemError, match="this node has no no-such-compiler"):
        open_engine(torch.nn.Linear(2, 2), settings, LearningRateSchedule("constant", 1, 0))


def with_shared_step(**flags: bool) -> torch.optim.AdamW:
    """An optimizer after three steps, with one step count for all its parameters, as a universal checkpoint leaves."""
    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(4)]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, foreach=False)
    for _ in range(3):
        one_step(optimizer)
    shared = optimizer.state[parameters[0]]["step"]
    for state in optimizer.state.values():
        state["step"] = shared
    optimizer.param_groups[0].update(flags)
    return optimizer


def one_step(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.linspace(0.1, 1, 3)
    optimizer.step()
    return torch.stack([parameter.detach() for parameter in parameters])


def test_each_parameter_counts_its_own_steps() -> None:
    shared, own = with_shared_step(), with_shared_step()
    own_steps(own)
    moved = one_step(own)
    assert {float(state["step"]) for state in own.state.values()} == {4.0}
    assert (moved == moved[0]).all()
    wrong = one_step(shared)
    assert not (wrong == wrong[0]).all()


@pytest.mark.parametrize(("flag", "device"), [("fused", "meta"), ("capturable", "meta"), ("foreach", "cpu")])
def test_step_counts_lie_where_the_kernel_reads_them(flag: str, device: str) -> None:
    optimizer = with_shared_step(**{flag: True})
    on_meta = torch.nn.Parameter(torch.ones(3, device="meta"))
    optimizer.state[on_meta] = {"step": torch.tensor(3.0)}
    own_steps(optimizer)
    assert optimizer.state.pop(on_meta)["step"].device.type == device
    assert {state["step"].device.type for state in optimizer.state.values()} == {"cpu"}


def test_step_counts_that_are_numbers_stay() -> None:
    optimizer = with_shared_step()
    for state in optimizer.state.values():
        state["step"] = 3
    own_steps(optimizer)
    assert [state["step"] for state in optimizer.state.values()] == [3] * 4


@pytest.mark.slow
def test_a_converted_state_of_several_sub_groups_goes_on_as_it_was(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train_convert_and_resume, (tmp_path,), nprocs=1)
    resumed, unbroken, steps = torch.load(tmp_path / "result.pt")
    assert steps == [4.0] * 6
    for name, weight in unbroken.items():
        assert torch.equal(resumed[name], weight), name


def train_convert_and_resume(_: int, folder: Path) -> None:
    """One gloo rank with ZeRO-3, each trained weight in a sub-group of its own: three steps, then one more twice."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", DS_ACCELERATOR="cpu")
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=0, world_size=1)
    engine = tiny_engine(converted=False)
    for _step in range(3):
        engine_step(engine)
    save_state(engine, folder / "saved", {"step": 3}, budget_bytes=0)
    unbroken = engine_step(engine)
    engine.destroy()
    convert_to_universal(folder / "saved", folder / "converted")
    engine = tiny_engine(converted=True)
    assert load_state(engine, folder / "converted") == {"step": 3}
    resumed = engine_step(engine)
    steps = [float(state["step"]) for state in engine.basic_optimizer.state.values()]
    torch.save((resumed, unbroken, steps), folder / "result.pt")
    torch.distributed.destroy_process_group()


def tiny_engine(converted: bool) -> Any:
    torch.manual_seed(0)
    section = {"zero_optimization": {"sub_group_size": 1, "stage3_param_persistence_threshold": 0}}
    config = TrainingConfig(zero_stage=3, workers=1, precision="fp32", learning_rate=0.1, deepspeed=section)
    model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3)))
    model.get_output_embeddings = lambda: None  # type: ignore[assignment]
    settings = deepspeed_config(config, 1, converted)
    return open_engine(model, settings, LearningRateSchedule("constant", 4, 0))


def engine_step(engine: Any) -> dict[str, torch.Tensor]:
    engine.backward(engine(torch.linspace(-1, 1, 16).view(2, 8)).square().sum())
    engine.step()
    return trained_weights(engine)
