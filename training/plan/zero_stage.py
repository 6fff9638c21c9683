"""The cheapest ZeRO stage and offload that fit the memory: each further step saves memory and costs time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cluster.errors import TandemError
from cluster.gpu_requirements import SHARE
from cluster.hardware import Hardware
from training.config import TrainingConfig, WorkerRange
from training.plan.deepspeed_config import deepspeed_config, num_forward_passes
from training.plan.memory import GIB, MemoryEstimate, estimate_memory, memory_setup
from training.plan.placement import ON_CPU, Placement, WorkerDevice, place_workers, workers_device
from training.plan.shapes import ModelShapes, read_model_shapes

_MANY_PASSES, _MANY_WORKERS = 4, 16
"""More forward passes per step, or more workers, than these are added up in fp32 on GPUs: bf16 has 8 bits of precision,
so that what is a 256th of a sum or less is lost from it."""


@dataclass(frozen=True)
class ZeroChoice:
    """A ZeRO stage, an offload, and what they take of each worker's memory."""

    zero_stage: int
    offload: str
    estimate: MemoryEstimate

    def fits(self, device: WorkerDevice) -> bool:
        """Whether a worker has room for it."""
        return not self.lacks(device)

    def lacks(self, device: WorkerDevice) -> list[str]:
        """Which memory a worker has too little of, in words with figures; nothing where it fits."""
        estimate = self.estimate
        if device.kind == "cpu":
            # What is published is put together once activations are freed.
            publishing = estimate.kept + estimate.publishing_share + estimate.allowance
            needed = max(estimate.total, publishing) + estimate.host
            needs = [("main memory", needed, device.memory_bytes)]
        else:
            host = max(estimate.loading, estimate.host + estimate.publishing_share)
            needs = [
                ("GPU memory", estimate.total, round(SHARE * device.memory_bytes)),
                ("main memory", host, device.host_bytes),
            ]
        return [
            f"{needed / GIB:.2f} GiB of {memory} (it has {available / GIB:.2f} GiB to plan with)"
            for memory, needed, available in needs
            if needed > available
        ]


def resolve_precision(config: TrainingConfig, device: WorkerDevice) -> TrainingConfig:
    """The settings with number formats instead of `auto`: the one that this device computes fastest, and of gradients.

    Raises:
        TandemError: gradients are to be added up in fp32 with a ZeRO stage that cannot do it.
    """
    if config.precision == "auto":
        config = config.model_copy(update={"precision": "bf16" if device.has_bf16 else "fp32"})
    if config.gradient_precision == "fp32" and config.precision == "bf16" and config.zero_stage in (0, 1):
        raise TandemError(
            f"`gradient_precision: fp32` with `zero_stage: {config.zero_stage}` cannot be run in bf16.",
            "ZeRO 2 or 3, which share the gradients out.",
            "Set `training.zero_stage: auto`, or `training.gradient_precision: bf16`.",
        )
    if config.gradient_precision != "auto":
        return config
    adds_up_many = num_forward_passes(config, config.workers.min) > _MANY_PASSES or config.workers.max > _MANY_WORKERS
    in_fp32 = config.precision == "bf16" and device.kind == "gpu" and adds_up_many and config.zero_stage not in (0, 1)
    return config.model_copy(update={"gradient_precision": "fp32" if in_fp32 else "bf16"})


def choose_zero_stage(
    config: TrainingConfig,
    model: Any,
    device: WorkerDevice,
    placement: Placement = ON_CPU,
    hardware: Hardware | None = None,
) -> ZeroChoice:
    """The first of `open_choices` that fits; a stage and an offload that the user has set are kept.

    Args:
        model: a folder or hub id, or a transformers configuration.
        hardware: where more workers might have room; without it a refusal names more GPUs only as other hardware.

    Raises:
        TandemError: nothing fits; says what would. Or the user's `deepspeed` section conflicts with every choice.
    """
    shapes = read_model_shapes(config, model)
    _refuse_conflicts_with_all(config, device.kind, placement)
    candidates = list(open_choices(config, shapes, device.kind, placement))
    for choice in candidates:
        if choice.fits(device):
            return choice
    if not candidates:
        raise TandemError(
            f"`zero_stage: {config.zero_stage}` with `offload: {config.offload}` and `method: {config.method}` cannot "
            "be run.",
            "An offload with ZeRO 1 to 3; `qlora` with ZeRO 0 to 2.",
            "Set `training.zero_stage: auto`.",
        )
    changes = [
        text for text, changed in _cheaper_settings(config, device) if _any_fits(changed, model, device, placement)
    ]
    others: list[str] = []
    if device.kind == "gpu":
        more, others = _more_workers(config, model, device, placement, hardware)
        changes += more
    accepted = [f"Settings that fit; each of these would: {'; '.join(changes)}."] if changes else []
    accepted += [f"Other hardware that fits: {each}." for each in others]
    raise TandemError(
        _what_lacks(candidates, device),
        " ".join(accepted) or "A smaller model, or more of the memory that is named.",
        "Change `training` in the project file; `tandem plan` shows what it takes."
        if changes
        else "None of `gradient_checkpointing`, a smaller micro batch or another method would do alone."
        if others
        else "None of `gradient_checkpointing`, a smaller micro batch, another method or more workers would do alone.",
    )


def _more_workers(
    config: TrainingConfig, model: Any, device: WorkerDevice, placement: Placement, hardware: Hardware | None
) -> tuple[list[str], list[str]]:
    """The smallest number of workers that fits on this hardware, and else the number of such GPUs that would do."""
    more = [config.workers.min * factor for factor in (2, 4, 8, 16)]
    changed = {number: config.model_copy(update={"workers": WorkerRange(min=number, max=number)}) for number in more}
    if hardware is not None:
        for number in more:
            try:
                where = place_workers(changed[number], hardware)
            except TandemError:  # no room
                break
            if _fits_in_any_format(changed[number], model, workers_device(changed[number], where, hardware), where):
                return [f"workers: {number}"], []
    for number in more:
        # More nodes like those that are taken; as many more GPUs in one node where the nodes are not known.
        per_node = placement.workers_per_node or number
        where = replace(placement, num_nodes=-(-number // per_node))
        if _fits_in_any_format(changed[number], model, device, where):
            num_gpus = number * max(1, placement.gpus_per_worker)
            memory = f"{device.host_bytes / GIB:.2f} GiB of main memory for each worker"
            return [], [f"{num_gpus} GPUs like {device.name}, with `workers: {number}` and {memory}"]
    return [], []


def _fits_in_any_format(config: TrainingConfig, model: Any, device: WorkerDevice, placement: Placement) -> bool:
    """Whether it fits as it is set, and with the format of gradients that so many workers would take by default."""
    by_default = resolve_precision(config.model_copy(update={"gradient_precision": "auto"}), device)
    return all(_any_fits(each, model, device, placement) for each in (config, by_default))


def _what_lacks(candidates: list[ZeroChoice], device: WorkerDevice) -> str:
    """What the choice that is nearest to fitting lacks, and the one nearest to it that keeps its state elsewhere."""
    parts = []
    for is_offloading in (False, True):
        group = [choice for choice in candidates if (choice.offload != "none") == is_offloading]
        if group:
            # Fewest memories that lack, then the least of the device's own.
            least = min(group, key=lambda choice: (len(choice.lacks(device)), choice.estimate.total))
            offload = "" if least.offload == "none" else f" and offload to {least.offload}"
            parts.append(f"{' and '.join(least.lacks(device))} with ZeRO {least.zero_stage}{offload}")
    return f"Each worker on {device.name} needs at least {'; or '.join(parts)}."


def open_choices(
    config: TrainingConfig, shapes: ModelShapes, kind: str = "cpu", placement: Placement = ON_CPU
) -> Iterator[ZeroChoice]:
    """Every stage and offload that the settings leave open, the cheapest in time first."""
    for stage, offload in _open_stages_and_offloads(config, kind):
        yield ZeroChoice(stage, offload, estimate_memory(shapes, memory_setup(config, stage, offload, kind, placement)))


def all_choices(
    config: TrainingConfig, shapes: ModelShapes, kind: str = "cpu", placement: Placement = ON_CPU
) -> Iterator[ZeroChoice]:
    """Every stage and offload of the method, whatever the settings say; to disk only where there is a path."""
    places = ("none", "cpu") if config.nvme_path is None else ("none", "cpu", "nvme")
    for stage in range(3 if config.method == "qlora" else 4):
        for offload in places if stage else ("none",):
            setup = memory_setup(config, stage, offload, kind, placement)
            yield ZeroChoice(stage, offload, estimate_memory(shapes, setup))


def _refuse_conflicts_with_all(config: TrainingConfig, kind: str, placement: Placement) -> None:
    """Refuse a `deepspeed` section that no stage and offload goes with, before anything is planned."""
    conflict = None
    for stage, offload in _open_stages_and_offloads(config, kind):
        try:
            chosen = config.model_copy(update={"zero_stage": stage, "offload": offload})
            deepspeed_config(chosen, config.workers.max, placement=placement)
        except TandemError as error:
            conflict = conflict or error
        else:
            return
    if conflict is not None:
        raise conflict


def _open_stages_and_offloads(config: TrainingConfig, kind: str) -> Iterator[tuple[int, str]]:
    for stage, offload in _stages_and_offloads(config, kind):
        if config.zero_stage in ("auto", stage) and config.offload in ("auto", offload):
            yield stage, offload


def _stages_and_offloads(config: TrainingConfig, kind: str) -> Iterator[tuple[int, str]]:
    # In bf16 without ZeRO DeepSpeed looks at every gradient by itself for an overflow, and waits for a GPU each time.
    first = 0 if config.workers.max == 1 and (kind == "cpu" or config.precision == "fp32") else 1
    stages = [first, 2, 3]
    if config.gradient_precision == "fp32" and config.precision == "bf16":
        stages = [2, 3]
    if config.zero_stage not in ("auto", *stages):
        stages = [int(config.zero_stage)]
    if config.method == "qlora":
        # Weights in 4 bits cannot be cut into the workers' shares.
        stages = [stage for stage in stages if stage < 3]
    yield from ((stage, "none") for stage in stages)
    # Where the stage is open, the last is the one with an offload: it moves the most.
    last = stages[-1]
    offloading = [last] if config.zero_stage == "auto" else [stage for stage in stages if stage == config.zero_stage]
    for stage in filter(None, offloading):  # without ZeRO there is nothing that could be moved
        yield stage, "cpu"
        if config.nvme_path is not None:
            yield stage, "nvme"


def _any_fits(config: TrainingConfig, model: Any, device: WorkerDevice, placement: Placement = ON_CPU) -> bool:
    try:
        shapes = read_model_shapes(config, model)
    except TandemError:  # such as an adapter on experts, which not every method can have
        return False
    return any(choice.fits(device) for choice in open_choices(config, shapes, device.kind, placement))


def _cheaper_settings(config: TrainingConfig, device: WorkerDevice) -> Iterator[tuple[str, TrainingConfig]]:
    """Single changes that take less memory, in words and as settings."""
    if not config.gradient_checkpointing:
        yield "gradient_checkpointing: true", config.model_copy(update={"gradient_checkpointing": True})
    if config.micro_batch_size > 1:
        yield "micro_batch_size: 1", config.model_copy(update={"micro_batch_size": 1})
        both = {"gradient_checkpointing": True, "micro_batch_size": 1}
        yield "gradient_checkpointing: true with micro_batch_size: 1", config.model_copy(update=both)
    if config.method == "full":
        yield "method: lora", config.model_copy(update={"method": "lora"})
    if config.method != "qlora" and device.kind == "gpu" and config.zero_stage != 3:
        yield "method: qlora", config.model_copy(update={"method": "qlora", "modules_to_save": []})
    if config.zero_stage != "auto" or config.offload != "auto":
        yield "zero_stage: auto with offload: auto", config.model_copy(update={"zero_stage": "auto", "offload": "auto"})
