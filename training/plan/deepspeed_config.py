"""Our settings as DeepSpeed's configuration. Pure functions, so that they can be tested without DeepSpeed.

The keys are those of https://www.deepspeed.ai/docs/config-json/.
"""

from collections.abc import Iterator
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.plan.placement import ON_CPU, Placement

# DeepSpeed's default of reduce_bucket_size (https://www.deepspeed.ai/docs/config-json/), in parameters.
REDUCE_BUCKET = 500_000_000
# Arguments of torch's AdamW that DeepSpeedCPUAdam does not take; it takes `amsgrad` and refuses it where it is set.
_ONLY_TORCH = frozenset({"foreach", "fused", "maximize", "capturable", "differentiable"})
PERSISTENT_PARAMETER = 1_000_000
"""Parameters of up to this size stay whole on every worker with ZeRO-3 and an adapter."""


def deepspeed_config(
    config: TrainingConfig,
    num_workers: int,
    converted: bool = False,
    placement: Placement = ON_CPU,
    num_trained: int | None = None,
) -> dict[str, Any]:
    """The DeepSpeed configuration, with the user's `deepspeed:` section merged over it.

    Args:
        num_workers: how many there are now; with fewer than `workers.max` each makes more forward passes per step.
        converted: the state comes from a universal checkpoint, written by another number of workers.
        num_trained: parameters with a gradient, for buffers that are no larger than they need be.

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
        "optimizer": _optimizer_section(config, placement),
        "checkpoint": {"load_universal": converted},
    }
    if config.offload in ("cpu", "nvme") and not uses_deepspeeds_cpu_optimizer(config, placement.kind):
        computed["zero_force_ds_cpu_optimizer"] = False
    _refuse_conflicts({**computed, "scheduler": "training.schedule"}, config.deepspeed)
    defaults = _defaults(config, num_workers, placement, num_trained)
    return _merge(_merge(computed, defaults), config.deepspeed)


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


def _optimizer_section(config: TrainingConfig, placement: Placement) -> dict[str, Any]:
    params: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if uses_deepspeeds_cpu_optimizer(config, placement.kind):
        # DeepSpeed's CPU Adam: 5 to 7 times faster than torch's by its tutorial on ZeRO-Offload, and compiled at first
        # use by g++ alone (its builder for CUDA machines is that of CPU machines).
        return {"type": "AdamW", "params": params}
    # torch's AdamW: DeepSpeed's own kernels are compiled at first use, which takes about a minute.
    return {"type": "AdamW", "params": {**params, "torch_adam": True}}


def _defaults(
    config: TrainingConfig, num_workers: int, placement: Placement, num_trained: int | None
) -> dict[str, Any]:
    """What Tandem sets and a user may set otherwise: it changes speed or rounding alone, and most of it is for GPUs."""
    defaults: dict[str, Any] = {"zero_optimization": {}, "optimizer": {"params": {}}}
    if config.precision != "fp32" and config.gradient_precision == "fp32":
        defaults |= {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"}
    if placement.kind == "cpu":
        return defaults
    zero = defaults["zero_optimization"]
    if uses_fused_optimizer(config, placement.kind):
        defaults["optimizer"]["params"]["fused"] = True
    if num_trained and config.zero_stage in (1, 2, 3):
        # DeepSpeed allocates all of it in every step, however little is reduced.
        zero["reduce_bucket_size"] = min(num_trained, REDUCE_BUCKET)
    if config.zero_stage in (1, 2) and num_workers > 1:
        zero["overlap_comm"] = True  # ZeRO-3 does without being asked
    if config.zero_stage == 3:
        if config.method != "full":
            # Matrices of an adapter are larger than the default of 1e5, and would be gathered one by one.
            zero["stage3_param_persistence_threshold"] = PERSISTENT_PARAMETER
        group = hierarchical_group(config, num_workers, placement)
        if group > 1:
            zero["zero_hpz_partition_size"] = group
    return defaults


def uses_fused_optimizer(config: TrainingConfig, kind: str) -> bool:
    """Whether torch's AdamW makes its step in one kernel, without temporary copies of the moments: on GPUs.

    On a CPU it stays as it was: the fused kernel there rounds in another order.
    """
    user = _user_params(config)
    is_left_open = not {"foreach", "fused"} & user.keys()
    return user.get("fused") is True or (kind == "gpu" and config.offload not in ("cpu", "nvme") and is_left_open)


def uses_deepspeeds_cpu_optimizer(config: TrainingConfig, kind: str) -> bool:
    """Whether offloaded state is stepped by DeepSpeed's CPU Adam: on GPU machines, unless the user asks for torch's,
    by name or by an argument that only torch's has."""
    user = _user_params(config)
    wants_torch = user.get("torch_adam") or user.get("amsgrad") or not _ONLY_TORCH.isdisjoint(user)
    return kind == "gpu" and config.offload in ("cpu", "nvme") and not wants_torch


def hierarchical_group(config: TrainingConfig, num_workers: int, placement: Placement) -> int:
    """Over how many GPUs each copy of all weights is spread for ZeRO-3's backward pass; 1 for no copy within a node.

    Trained weights then cross the slow network between nodes once in a forward and backward pass instead of twice
    (arXiv:2306.10209, section 3.2), and frozen ones once in a training: DeepSpeed drops the copy of what has changed.
    """
    user = config.deepspeed.get("zero_optimization")
    if isinstance(user, dict) and "zero_hpz_partition_size" in user:
        return _group_size(user["zero_hpz_partition_size"])
    per_node = placement.workers_per_node
    fits = placement.kind == "gpu" and placement.num_nodes > 1 and per_node > 1 and num_workers % per_node == 0
    # Weights that lie in main memory have no share on the GPU that a copy could be made of.
    return per_node if fits and config.offload not in ("cpu", "nvme") and num_workers > per_node else 1


def _user_params(config: TrainingConfig) -> dict[str, Any]:
    """The user's arguments of the optimizer.

    Raises:
        TandemError: there is something else in the place of a mapping.
    """
    optimizer = config.deepspeed.get("optimizer", {})
    params = optimizer.get("params", {}) if isinstance(optimizer, dict) else optimizer
    if not isinstance(params, dict):
        key = "optimizer.params" if isinstance(optimizer, dict) else "optimizer"
        raise TandemError(
            f"training.deepspeed sets {key} to {params!r}, which is no mapping.",
            "A mapping of the arguments that Tandem does not compute, such as `{optimizer: {params: {eps: 1e-6}}}`.",
            f"Leave {key} out of `training.deepspeed`, or give it such arguments.",
        )
    return dict(params)


def _group_size(value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdecimal():
        raise TandemError(
            f"training.deepspeed sets zero_optimization.zero_hpz_partition_size to {value!r}.",
            "A whole number: the GPUs of a node that share a copy of all weights; 1 for no copy.",
            "Set such a number, or leave the key out: Tandem then chooses it.",
        )
    return int(value)


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
