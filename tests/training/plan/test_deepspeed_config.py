import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.plan.deepspeed_config import deepspeed_config, hierarchical_group, uses_deepspeeds_cpu_optimizer
from training.plan.placement import ON_CPU, Placement


def test_the_configuration_follows_from_the_settings() -> None:
    config = TrainingConfig(
        micro_batch_size=2, gradient_accumulation=3, workers=4, learning_rate=2e-3, epochs=5, zero_stage=2
    )
    plan = deepspeed_config(config, num_workers=4)
    assert plan["train_batch_size"] == 24
    assert plan["zero_optimization"] == {"stage": 2}
    assert plan["bf16"]["enabled"]
    assert plan["optimizer"]["params"] == {"lr": 2e-3, "weight_decay": 0.0, "torch_adam": True}


def test_the_users_section_is_merged_over_ours() -> None:
    section = {"zero_optimization": {"reduce_bucket_size": 1000, "stage": 2}, "wall_clock_breakdown": True}
    plan = deepspeed_config(TrainingConfig(deepspeed=section, zero_stage=2), 2)
    assert plan["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 1000}
    assert plan["wall_clock_breakdown"] is True


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"train_batch_size": 7}, "train_batch_size"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage"),
        ({"optimizer": {"params": {"lr": 1.0}}}, "optimizer.params.lr"),
        ({"optimizer": "AdamW"}, "optimizer"),
        ({"bf16": {"enabled": False}}, "bf16.enabled"),
        ({"bf16": {"enabled": {"much": True}}}, "bf16.enabled.much"),
        ({"scheduler": {"type": "WarmupLR"}}, "scheduler.type"),
    ],
)
def test_a_key_that_we_compute_cannot_be_set_to_something_else(section: dict, key: str) -> None:
    with pytest.raises(TandemError, match=f"training.deepspeed sets {key} to "):
        deepspeed_config(TrainingConfig(deepspeed=section), 2)


def gpus(workers_per_node: int = 8, num_nodes: int = 1) -> Placement:
    return Placement("gpu", 1, workers_per_node, num_nodes)


def test_on_a_cpu_nothing_is_added() -> None:
    for stage in (0, 1, 2, 3):
        plan = deepspeed_config(TrainingConfig(zero_stage=stage), 2, num_trained=1000)
        assert plan["zero_optimization"] == {"stage": stage}
        assert plan["optimizer"]["params"] == {"lr": 1e-3, "weight_decay": 0.0, "torch_adam": True}
        assert plan.keys() == {
            "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size", "gradient_clipping",
            "bf16", "fp16", "zero_optimization", "optimizer", "checkpoint",
        }  # fmt: skip


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gpus_take_the_fused_optimizer_and_overlap_what_they_exchange(stage: int) -> None:
    plan = deepspeed_config(TrainingConfig(zero_stage=stage, workers=8), 8, placement=gpus(), num_trained=42_000_000)
    assert plan["optimizer"]["params"]["fused"] is True
    assert plan["optimizer"]["params"]["torch_adam"] is True
    zero = plan["zero_optimization"]
    assert zero.get("overlap_comm") == (True if stage in (1, 2) else None)
    assert zero.get("reduce_bucket_size") == (42_000_000 if stage else None)
    assert zero.get("stage3_param_persistence_threshold") == (1_000_000 if stage == 3 else None)
    assert "zero_hpz_partition_size" not in zero


def test_one_gpu_overlaps_nothing() -> None:
    zero = deepspeed_config(TrainingConfig(zero_stage=1, workers=1), 1, placement=gpus(1))["zero_optimization"]
    assert zero == {"stage": 1}


def test_buckets_are_never_larger_than_deepspeeds_own() -> None:
    config = TrainingConfig(zero_stage=2, method="full")
    plan = deepspeed_config(config, 8, placement=gpus(), num_trained=8 * 10**9)
    assert plan["zero_optimization"]["reduce_bucket_size"] == 500_000_000


@pytest.mark.parametrize(
    ("workers", "placement", "group"),
    [
        (8, gpus(8, 1), None),  # one node
        (16, gpus(8, 2), 8),
        (32, gpus(8, 4), 8),
        (8, gpus(8, 2), None),  # as many as one node has are left
        (12, gpus(8, 2), None),  # a node and a half
        (12, gpus(4, 3), 4),
        (4, gpus(1, 4), None),  # nothing to copy within a node
        (4, gpus(0, 4), None),  # the nodes are not up yet
        (16, Placement("cpu", 1, 8, 2), None),
    ],
)
def test_weights_are_copied_within_a_node_where_there_are_several(
    workers: int, placement: Placement, group: int | None
) -> None:
    config = TrainingConfig(zero_stage=3, workers=workers)
    zero = deepspeed_config(config, workers, placement=placement)["zero_optimization"]
    assert zero.get("zero_hpz_partition_size") == group
    assert "zero_hpz_partition_size" not in deepspeed_config(
        config.model_copy(update={"zero_stage": 2}), workers, placement=placement
    )["zero_optimization"]  # fmt: skip
    offloaded = config.model_copy(update={"offload": "cpu"})
    assert (
        "zero_hpz_partition_size" not in deepspeed_config(offloaded, workers, placement=placement)["zero_optimization"]
    )


def test_offload_takes_deepspeeds_optimizer_on_gpu_machines_and_torchs_on_cpus() -> None:
    config = TrainingConfig(zero_stage=2, offload="cpu")
    on_gpus, on_cpus = (deepspeed_config(config, 2, placement=where) for where in (gpus(2), ON_CPU))
    assert on_gpus["optimizer"]["params"] == {"lr": 1e-3, "weight_decay": 0.0}
    assert "zero_force_ds_cpu_optimizer" not in on_gpus
    assert on_cpus["optimizer"]["params"]["torch_adam"] is True
    assert on_cpus["zero_force_ds_cpu_optimizer"] is False
    wanted = config.model_copy(update={"deepspeed": {"optimizer": {"params": {"torch_adam": True}}}})
    assert deepspeed_config(wanted, 2, placement=gpus(2))["zero_force_ds_cpu_optimizer"] is False


@pytest.mark.parametrize(
    ("params", "is_deepspeeds"),
    [
        ({"eps": 1e-6}, True),
        ({"betas": [0.9, 0.95]}, True),
        ({"fp32_optimizer_states": False}, True),
        ({"amsgrad": False}, True),
        ({"amsgrad": True}, False),
        *(({key: value}, False) for value in (True, False)
          for key in ("foreach", "fused", "maximize", "capturable", "differentiable")),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("offload", ["cpu", "nvme"])
def test_what_only_torchs_optimizer_takes_is_given_to_it(
    params: dict, is_deepspeeds: bool, offload: Any, tmp_path: Path
) -> None:
    section = {"optimizer": {"params": params}}
    config = TrainingConfig(zero_stage=2, offload=offload, nvme_path=tmp_path, deepspeed=section)
    assert uses_deepspeeds_cpu_optimizer(config, "gpu") is is_deepspeeds
    plan = deepspeed_config(config, 2, placement=gpus(2))
    assert plan["optimizer"]["params"] == (
        {"lr": 1e-3, "weight_decay": 0.0, **params} | ({} if is_deepspeeds else {"torch_adam": True})
    )
    assert plan.get("zero_force_ds_cpu_optimizer") is (None if is_deepspeeds else False)


def test_the_lists_of_arguments_are_those_of_the_optimizers() -> None:
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    ours, theirs = (set(inspect.signature(each).parameters) for each in (DeepSpeedCPUAdam, torch.optim.AdamW))
    assert theirs - ours - {"params"} == {"foreach", "fused", "maximize", "capturable", "differentiable"}


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"optimizer": {"params": None}}, "optimizer.params to None"),
        ({"optimizer": {"params": "fused"}}, "optimizer.params to 'fused'"),
        ({"optimizer": None}, "optimizer to None"),
        *(
            ({"zero_optimization": {"zero_hpz_partition_size": value}}, "zero_optimization.zero_hpz_partition_size to ")
            for value in ("auto", None, True, -1, 1.5, [8], "")
        ),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_refused_in_words(section: dict, key: str) -> None:
    config = TrainingConfig(zero_stage=3, workers=16, deepspeed=section)
    with pytest.raises(TandemError, match=f"training.deepspeed sets {key}"):
        deepspeed_config(config, 16, placement=gpus(8, 2))


@pytest.mark.parametrize("value", [0, 1, 8, "8"])
def test_the_users_group_is_taken(value: object) -> None:
    section = {"zero_optimization": {"zero_hpz_partition_size": value}}
    assert hierarchical_group(TrainingConfig(deepspeed=section), 16, gpus(8, 2)) == int(str(value))


@pytest.mark.parametrize(
    "section",
    [
        {"zero_optimization": {"overlap_comm": False}},
        {"zero_optimization": {"reduce_bucket_size": 5}},
        {"zero_optimization": {"stage3_param_persistence_threshold": 7}},
        {"zero_optimization": {"zero_hpz_partition_size": 1}},
        {"optimizer": {"params": {"fused": False}}},
        {"optimizer": {"params": {"betas": [0.9, 0.95]}}},
        {"data_types": {"grad_accum_dtype": "bf16"}},
        {"communication_data_type": "bf16"},
        {"zero_force_ds_cpu_optimizer": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("stage", [2, 3])
def test_what_is_set_for_gpus_gives_way_to_the_user(section: dict, stage: int) -> None:
    config = TrainingConfig(
        zero_stage=stage, workers=16, deepspeed=section, gradient_precision="fp32", precision="bf16"
    )
    plan = deepspeed_config(config, 16, placement=gpus(8, 2), num_trained=1000)
    assert _has(plan, section)


def _has(plan: dict, section: dict) -> bool:
    return all(
        _has(plan[key], value) if isinstance(value, dict) else plan[key] == value for key, value in section.items()
    )


def test_foreach_and_fused_are_not_set_together() -> None:
    config = TrainingConfig(zero_stage=1, deepspeed={"optimizer": {"params": {"foreach": True}}})
    assert "fused" not in deepspeed_config(config, 2, placement=gpus())["optimizer"]["params"]


def test_gradients_are_added_up_in_fp32_where_that_is_set() -> None:
    config = TrainingConfig(zero_stage=2, precision="bf16", gradient_precision="fp32")
    for placement in (ON_CPU, gpus()):
        plan = deepspeed_config(config, 2, placement=placement)
        assert plan["data_types"] == {"grad_accum_dtype": "fp32"}
        assert plan["communication_data_type"] == "fp32"
    in_fp32 = config.model_copy(update={"precision": "fp32"})
    assert "data_types" not in deepspeed_config(in_fp32, 2, placement=gpus())
