import pytest

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.plan.deepspeed_config import deepspeed_config


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
