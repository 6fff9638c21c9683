from typing import Any

import pytest
from transformers import AutoConfig

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.plan.memory import GIB
from training.plan.placement import WorkerDevice
from training.plan.shapes import read_model_shapes
from training.plan.zero_stage import (
    ZeroChoice,
    choose_zero_stage,
    fits_with_workers,
    open_choices,
    resolve_precision,
)

# The shape of Llama-2-7B: 6.74e9 parameters.
LLAMA = AutoConfig.for_model(
    "llama", hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
)


def gpu(memory_gib: float, host_gib: float = 24) -> WorkerDevice:
    return WorkerDevice("gpu", "a GPU", round(memory_gib * GIB), round(host_gib * GIB))


def config(**settings: Any) -> TrainingConfig:
    return TrainingConfig(**{"method": "full", "workers": 8, "gradient_checkpointing": True, **settings})


@pytest.mark.parametrize(
    ("memory", "host", "stage", "offload"),
    [(90, 24, 1, "none"), (42, 24, 2, "none"), (28, 24, 3, "none"), (12, 64, 3, "cpu")],
)
def test_less_memory_takes_a_later_stage(memory: float, host: float, stage: int, offload: str) -> None:
    chosen = choose_zero_stage(config(), LLAMA, gpu(memory, host))
    assert (chosen.zero_stage, chosen.offload) == (stage, offload)
    assert chosen.fits(gpu(memory, host))


def test_the_precision_is_what_the_device_computes_in() -> None:
    without = WorkerDevice("cpu", "this machine", GIB, GIB, has_bf16=False)
    assert resolve_precision(TrainingConfig(), gpu(80)).precision == "bf16"
    assert resolve_precision(TrainingConfig(), without).precision == "fp32"
    assert resolve_precision(TrainingConfig(precision="bf16"), without).precision == "bf16"


def test_one_worker_has_nothing_to_share() -> None:
    assert choose_zero_stage(config(workers=1, method="lora", precision="fp32"), LLAMA, gpu(80)).zero_stage == 0
    assert choose_zero_stage(config(workers={"min": 1, "max": 2}, method="lora"), LLAMA, gpu(80)).zero_stage == 1


def test_a_disk_is_used_only_where_there_is_a_path(tmp_path: Any) -> None:
    with pytest.raises(TandemError):
        choose_zero_stage(config(), LLAMA, gpu(12, host_gib=24))
    assert choose_zero_stage(config(nvme_path=tmp_path), LLAMA, gpu(12, host_gib=24)).offload == "nvme"


def test_what_the_user_sets_is_kept() -> None:
    assert choose_zero_stage(config(zero_stage=3), LLAMA, gpu(500)).zero_stage == 3
    assert choose_zero_stage(config(offload="cpu"), LLAMA, gpu(500, 500)).offload == "cpu"
    chosen = choose_zero_stage(config(zero_stage=2, offload="cpu"), LLAMA, gpu(500, 500))
    assert (chosen.zero_stage, chosen.offload) == (2, "cpu")


def test_four_bit_weights_are_never_cut() -> None:
    tried = list(open_choices(config(method="qlora"), read_model_shapes(config(method="qlora"), LLAMA)))
    assert {each.zero_stage for each in tried} == {1, 2}


@pytest.mark.parametrize(
    "settings", [{"method": "qlora", "zero_stage": 3}, {"zero_stage": 0, "offload": "cpu"}], ids=str
)
def test_what_cannot_be_run_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TandemError, match="cannot be run"):
        choose_zero_stage(config(**settings), LLAMA, gpu(500, 500))


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    wanted = config(workers=1, method="lora", gradient_checkpointing=False, micro_batch_size=8, sequence_length=2048)
    with pytest.raises(TandemError) as refused:
        choose_zero_stage(wanted, LLAMA, gpu(24))
    assert "gradient_checkpointing: true" in str(refused.value)
    assert "workers: 16" not in str(refused.value)  # activations are each worker's own
    for change in refused.value.accepted.split("would: ")[1].rstrip(".").split("; "):
        settings = dict(each.split(": ") for each in change.split(" with "))
        changed = wanted.model_dump() | {k: {"true": True}.get(v, v) for k, v in settings.items()}
        assert choose_zero_stage(TrainingConfig(**changed), LLAMA, gpu(24))


def test_more_workers_are_named_where_they_would_do() -> None:
    with pytest.raises(TandemError, match="workers: 16"):
        choose_zero_stage(config(workers=2), LLAMA, gpu(24))


def test_fits_counts_the_workers_there_are() -> None:
    assert fits_with_workers(config(), LLAMA, gpu(28), 8)
    assert not fits_with_workers(config(), LLAMA, gpu(28), 2)


def test_offload_does_not_help_where_the_memory_is_the_same() -> None:
    cpu = WorkerDevice("cpu", "this machine", 60 * GIB, 60 * GIB)
    chosen = choose_zero_stage(config(offload="none"), LLAMA, cpu)
    assert chosen.offload == "none"
    moved = next(each for each in open_choices(config(offload="cpu"), read_model_shapes(config(), LLAMA)))
    small = WorkerDevice("cpu", "this machine", moved.estimate.total + moved.estimate.host - 1, 10**15)
    assert not ZeroChoice(moved.zero_stage, moved.offload, moved.estimate).fits(small)
