"""The cheapest ZeRO stage and offload that fit the memory: each further step saves memory and costs time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig, WorkerRange
from training.plan.memory import GIB, MemoryEstimate, estimate_memory, memory_setup
from training.plan.placement import WorkerDevice
from training.plan.shapes import ModelShapes, read_model_shapes

_USABLE_SHARE = 0.9
"""Share of a GPU's memory that is planned with: an allocator holds more than is in use (benchmarks/plan_memory.py)."""


@dataclass(frozen=True)
class ZeroChoice:
    """A ZeRO stage, an offload, and what they take of each worker's memory."""

    zero_stage: int
    offload: str
    estimate: MemoryEstimate

    def fits(self, device: WorkerDevice) -> bool:
        """Whether a worker has room for it."""
        if device.kind == "cpu":
            return self.estimate.total + self.estimate.host <= device.memory_bytes
        return self.estimate.total <= _USABLE_SHARE * device.memory_bytes and self.estimate.host <= device.host_bytes


def resolve_precision(config: TrainingConfig, device: WorkerDevice) -> TrainingConfig:
    """The settings with the number format that this device computes fastest instead of `precision: auto`."""
    if config.precision != "auto":
        return config
    return config.model_copy(update={"precision": "bf16" if device.has_bf16 else "fp32"})


def choose_zero_stage(config: TrainingConfig, model: Any, device: WorkerDevice) -> ZeroChoice:
    """The first of `open_choices` that fits; a stage and an offload that the user has set are kept.

    Args:
        model: a folder or hub id, or a transformers configuration.

    Raises:
        TandemError: nothing fits; says what would.
    """
    shapes = read_model_shapes(config, model)
    candidates = list(open_choices(config, shapes))
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
    smallest = min(candidates, key=lambda choice: choice.estimate.total)
    changes = [text for text, changed in _cheaper_settings(config, device) if _any_fits(changed, model, device)]
    raise TandemError(
        f"Each worker needs at least {smallest.estimate.total / GIB:.2f} GiB, and {device.name} has "
        f"{device.memory_bytes / GIB:.2f} GiB for it.",
        f"Settings that fit; each of these would: {'; '.join(changes)}."
        if changes
        else "A smaller model, or more memory.",
        "Change `training` in the project file; `tandem plan` shows what it takes."
        if changes
        else "None of `gradient_checkpointing`, a smaller micro batch, another method or more workers would do alone.",
    )


def open_choices(config: TrainingConfig, shapes: ModelShapes) -> Iterator[ZeroChoice]:
    """Every stage and offload that the settings leave open, the cheapest in time first."""
    for stage, offload in _stages_and_offloads(config):
        if config.zero_stage in ("auto", stage) and config.offload in ("auto", offload):
            yield ZeroChoice(stage, offload, estimate_memory(shapes, memory_setup(config, stage, offload)))


def all_choices(config: TrainingConfig, shapes: ModelShapes) -> Iterator[ZeroChoice]:
    """Every stage and offload of the method, whatever the settings say; to disk only where there is a path."""
    places = ("none", "cpu") if config.nvme_path is None else ("none", "cpu", "nvme")
    for stage in range(3 if config.method == "qlora" else 4):
        for offload in places if stage else ("none",):
            yield ZeroChoice(stage, offload, estimate_memory(shapes, memory_setup(config, stage, offload)))


def fits_with_workers(config: TrainingConfig, model: Any, device: WorkerDevice, num_workers: int) -> bool:
    """Whether any stage and offload that the settings leave open fits on this number of workers."""
    workers = WorkerRange(min=num_workers, max=max(num_workers, config.workers.max))
    return _any_fits(config.model_copy(update={"workers": workers}), model, device)


def _stages_and_offloads(config: TrainingConfig) -> Iterator[tuple[int, str]]:
    first = 0 if config.workers.max == 1 else 1
    stages = [first, 2, 3]
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


def _any_fits(config: TrainingConfig, model: Any, device: WorkerDevice) -> bool:
    return any(choice.fits(device) for choice in open_choices(config, read_model_shapes(config, model)))


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
    if device.kind == "gpu":
        for factor in (2, 4, 8, 16):
            number = config.workers.min * factor
            workers = {"workers": WorkerRange(min=number, max=number)}
            yield f"workers: {number}", config.model_copy(update=workers)
