"""Our settings as DeepSpeed's configuration. Pure functions, so that they can be tested without DeepSpeed.

The keys are those of https://www.deepspeed.ai/docs/config-json/.
"""

from collections.abc import Iterator
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig


def deepspeed_config(config: TrainingConfig, num_workers: int, converted: bool = False) -> dict[str, Any]:
    """The DeepSpeed configuration, with the user's `deepspeed:` section merged over it.

    Args:
        num_workers: how many there are now; with fewer than `workers.max` each makes more forward passes per step.
        converted: the state comes from a universal checkpoint, written by another number of workers.

    Raises:
        TandemError: the user's section sets a key that is computed here to another value.
    """
    accumulation = num_forward_passes(config, num_workers)
    computed = {
        "train_micro_batch_size_per_gpu": config.micro_batch_size,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": config.micro_batch_size * accumulation * num_workers,
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": config.precision != "fp32"},
        "fp16": {"enabled": False},
        "zero_optimization": _zero_section(config),
        "optimizer": _optimizer_section(config),
        "checkpoint": {"load_universal": converted},
    }
    if config.offload in ("cpu", "nvme"):
        computed["zero_force_ds_cpu_optimizer"] = False
    _refuse_conflicts({**computed, "scheduler": "training.schedule"}, config.deepspeed)
    return _merge(computed, config.deepspeed)


def num_forward_passes(config: TrainingConfig, num_workers: int) -> int:
    """Forward passes of each worker in one optimizer step: those of `workers.max`, divided among `num_workers`."""
    return -(-config.workers.max * config.gradient_accumulation // num_workers)


def check_elastic_workers(config: TrainingConfig) -> None:
    """Refuse a number of workers that may change where the state could not be carried over.

    Raises:
        TandemError: the optimizer's state lies on disks that a lost node takes with it.
    """
    if config.workers.min < config.workers.max and config.offload == "nvme":
        raise TandemError(
            f"training.workers may fall from {config.workers.max} to {config.workers.min} with training.offload nvme.",
            "A fixed number of workers, or another `offload`: what lies on a disk is saved as swap files, which "
            "cannot be converted for another number of workers.",
            "Set `training.workers` to a number, or `training.offload: cpu`.",
        )


def _zero_section(config: TrainingConfig) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.offload in ("cpu", "nvme"):
        place: dict[str, str] = {"device": config.offload}
        if config.offload == "nvme":
            place["nvme_path"] = str(config.nvme_path)
        zero["offload_optimizer"] = place
        if config.zero_stage == 3:
            zero["offload_param"] = dict(place)
    return zero


def _optimizer_section(config: TrainingConfig) -> dict[str, Any]:
    # torch's AdamW: DeepSpeed's own CPU and fused kernels are compiled at first use, which takes about a minute.
    params = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "torch_adam": True}
    return {"type": "AdamW", "params": params}


def _refuse_conflicts(computed: dict[str, Any], user_section: dict[str, Any]) -> None:
    computed_values = dict(_flatten(computed))
    for key, value in _flatten(user_section):
        overlapping = [other for other in computed_values if other.startswith(f"{key}.") or key.startswith(f"{other}.")]
        if overlapping or (key in computed_values and computed_values[key] != value):
            computed_value = computed_values[overlapping[0]] if overlapping else computed_values[key]
            raise TandemError(
                f"training.deepspeed sets {key} to {value!r}, and Tandem computes {computed_value!r} for it.",
                "Keys that Tandem does not compute from the other training settings.",
                f"Leave {key} out of `training.deepspeed` and change the training setting that it follows from.",
            )


def _flatten(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    merged = dict(ours)
    for key, value in theirs.items():
        both = isinstance(value, dict) and isinstance(ours.get(key), dict)
        merged[key] = _merge(ours[key], value) if both else value
    return merged
