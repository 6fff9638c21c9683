"""What a training will take: memory of each worker, parameters, disk, tokens, time, and the form of its result."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from cluster.errors import TandemError
from cluster.hardware import Gpu, Hardware, Node, read_hardware
from training.config import TrainingConfig, WorkerRange
from training.data.batches import OptimizerSteps, max_pass_tokens
from training.data.examples import Examples
from training.data.progress import Report
from training.data.rows import check_rows
from training.data.templates.template_check import TemplateCheck, TemplateWarning
from training.data.tokenize import encode_rows, load_tokenizer, max_row_tokens, split_places
from training.plan.flops import peak_flops, step_flops
from training.plan.memory import GIB, MEMORY_ALLOWANCE, checkpoint_bytes, published_error_range
from training.plan.placement import Placement, WorkerDevice, place_workers, resolve_workers, workers_device
from training.plan.shapes import ModelShapes, adapter_notes, read_model_shapes
from training.plan.zero_stage import ZeroChoice, all_choices, choose_zero_stage, resolve_precision

_METHODS = ("full", "lora", "dora", "qlora")
_ASSUMED_MFU = 0.4
_EXAMPLES = 3
"""Rows that a warning names; `tandem data check` names more."""


@dataclass(frozen=True)
class Work:
    """What there is to train on."""

    num_rows: int
    tokens_per_epoch: int
    answers_per_epoch: int
    """Tokens of answers: the only ones whose logits are computed."""

    steps_per_epoch: int
    num_steps: int


@dataclass(frozen=True)
class TrainingPlan:
    """A training as it will be, before anything is loaded."""

    config: TrainingConfig
    shapes: ModelShapes
    device: WorkerDevice
    tried: tuple[ZeroChoice, ...]
    """Every stage and offload of the project's method."""

    others: dict[str, tuple[ZeroChoice, ...]]
    """The same for every method."""

    chosen: ZeroChoice | None
    refusal: TandemError | None
    checkpoint_bytes: int
    work: Work | None
    no_work: str | None
    """Why there is no `work`."""

    hours: float | None
    """Where the device's peak is known."""

    warnings: tuple[TemplateWarning, ...] = ()
    """What the chat template makes of the rows that is not expected."""


def plan_training(
    config: TrainingConfig,
    model: str,
    memory_gib: float | None,
    host_gib: float | None,
    workers: int | None,
    progress: Report | None = None,
) -> TrainingPlan:
    """Plan a training for this machine, or for one with `memory_gib` on each worker's GPU.

    Args:
        host_gib: main memory for each worker's offloaded state; taken as enough where only `memory_gib` is given.
        workers: another number of workers than the project's.
        progress: gets a line from time to time where reading or encoding rows takes long.

    Raises:
        TandemError: the model has no configuration that can be read.
    """
    if workers is not None:
        config = config.model_copy(update={"workers": WorkerRange(min=workers, max=workers)})
    hardware = read_hardware() if memory_gib is None else _described(memory_gib, host_gib, config.workers.max)
    config = resolve_workers(config, hardware)
    placement = place_workers(config, hardware)
    device = workers_device(config, placement, hardware)
    config = resolve_precision(config, device)
    shapes = read_model_shapes(config, model)
    # A preference training needs its base model as the reference, and full fine-tuning changes that.
    methods = [method for method in _METHODS if method != "full" or config.objective not in ("dpo", "kto")]
    by_method = {
        method: _choices_of(config.model_copy(update={"method": method}), model, placement) for method in methods
    }
    chosen, refusal = None, None
    try:
        chosen = choose_zero_stage(config, model, device, placement, hardware)
    except TandemError as error:
        refusal = error
    work, no_work, warnings = _work(config, model, progress)
    return TrainingPlan(
        config, shapes, device, by_method[config.method], by_method, chosen, refusal, checkpoint_bytes(shapes, config),
        work, no_work, _hours(config, shapes, device, work), warnings,
    )  # fmt: skip


def make_tables(plan: TrainingPlan) -> Iterator[Table]:
    """The stages and offloads of the project's method part by part, and the totals of every method, in GiB."""
    parts = ("weights", "gradients", "optimizer", "activations", "logits", "temporary", "step")
    title = f"GiB of each of {plan.config.workers.min} workers, method {plan.config.method}"
    columns = ("ZeRO", "offload", *parts, "total", "host", "fits", "to published")
    table = Table(*columns, title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    for choice in plan.tried:
        fits = "chosen" if _is_chosen(choice, plan) else "yes" if choice.fits(plan.device) else "no"
        table.add_row(
            str(choice.zero_stage), choice.offload, *(_gib(getattr(choice.estimate, part)) for part in parts),
            _gib(choice.estimate.total), _gib(choice.estimate.host), fits, _checked(plan, choice),
            style="bold green" if fits == "chosen" else None,
        )  # fmt: skip
    yield table
    every = chain.from_iterable(plan.others.values())
    places = list(dict.fromkeys((choice.zero_stage, choice.offload) for choice in every))
    names = [f"ZeRO {stage}" + ("" if offload == "none" else f" {offload}") for stage, offload in places]
    table = Table("method", *names, title="GiB in all, by method", box=SIMPLE, padding=(0, 1, 0, 0))
    for method, choices in plan.others.items():
        totals = {(choice.zero_stage, choice.offload): choice.estimate.total for choice in choices}
        table.add_row(method, *(_gib(totals[place]) if place in totals else "" for place in places))
    yield table


def as_text(plan: TrainingPlan) -> str:
    """What the tables do not say, one line each."""
    return "\n".join(_lines(plan))


def to_json(plan: TrainingPlan) -> dict[str, Any]:
    """The plan as one JSON value; bytes throughout."""
    return {
        "parameters": {
            "total": plan.shapes.total, "trained": plan.shapes.trained, "frozen": plan.shapes.frozen,
        },
        "device": asdict(plan.device),
        "workers": plan.config.workers.model_dump(),
        "chosen": _choice_json(plan, plan.config.method, plan.chosen) if plan.chosen else None,
        "refusal": str(plan.refusal) if plan.refusal else None,
        "methods": {
            method: [_choice_json(plan, method, choice) for choice in choices]
            for method, choices in plan.others.items()
        },
        "checkpoint_bytes": plan.checkpoint_bytes,
        "data": asdict(plan.work) if plan.work else None,
        "hours": plan.hours,
        "warnings": [asdict(warning) for warning in plan.warnings],
        "published": published_as(plan.config),
    }  # fmt: skip


def published_as(config: TrainingConfig) -> str:
    """In which form the result will be published."""
    what = config.method if config.method in ("full", "dora") else "modules_to_save" if config.modules_to_save else None
    if what is None:
        return "an adapter in PEFT's format, which vLLM loads beside the base"
    return f"merged into a model of its own, because vLLM cannot load the result of {what} as an adapter"


def _lines(plan: TrainingPlan) -> Iterator[str]:
    shapes = plan.shapes
    yield (
        "Total: weights, gradients, optimizer, the larger of (activations, logits, temporary) and step, and "
        f"{_gib(MEMORY_ALLOWANCE)} GiB for what is not computed. To published: the estimate over measured peaks of "
        "others"
    )
    yield f"Parameters: {shapes.total:,} in all, {shapes.trained:,} trained, {shapes.frozen:,} frozen"
    yield from (f"Adapter: {note}" for note in adapter_notes(shapes))
    yield f"Device: {plan.device.name}, {_gib(plan.device.memory_bytes)} GiB for each worker"
    if plan.chosen:
        estimate = plan.chosen.estimate
        yield (
            f"Chosen: ZeRO {plan.chosen.zero_stage}, offload {plan.chosen.offload}; {_gib(estimate.total)} GiB of "
            "each worker, the cheapest that fits"
        )
        yield (
            f"Main memory: {_gib(estimate.loading)} GiB of each worker to load the base to its GPU, and "
            f"{_gib(estimate.publishing)} GiB of the first worker to publish the result"
        )
    yield f"Disk: {plan.checkpoint_bytes / 1e9:,.3g} GB for each checkpoint, {plan.config.keep_checkpoints} are kept"
    if plan.work:
        yield (
            f"Data: {plan.work.num_rows:,} rows, {plan.work.tokens_per_epoch:,} tokens and "
            f"{plan.work.steps_per_epoch:,} steps an epoch; {plan.work.num_steps:,} steps in all"
        )
    else:
        yield f"Data: {plan.no_work}"
    if plan.hours is not None:
        yield f"Time: about {plan.hours:.1f} hours, at {_ASSUMED_MFU:.0%} of the peak (assumed, not measured)"
    else:
        yield "Time: not estimated; it takes data, and a GPU whose peak is known"
    yield f"Published: {published_as(plan.config)}"
    yield from (f"Warning: {warning.shown(_EXAMPLES)}" for warning in plan.warnings)


def _described(memory_gib: float, host_gib: float | None, workers: int) -> Hardware:
    """A node with such a GPU for each worker."""
    host = round(host_gib * GIB) * workers if host_gib is not None else 2**62
    return Hardware((Node(workers, host, (Gpu("a GPU", round(memory_gib * GIB)),) * workers),))


def _choices_of(config: TrainingConfig, model: str, placement: Placement) -> tuple[ZeroChoice, ...]:
    """Every stage and offload of a method; none where the project's layers cannot be trained by it."""
    try:
        return tuple(all_choices(config, read_model_shapes(config, model), placement.kind, placement))
    except TandemError:
        return ()


def _work(
    config: TrainingConfig, model: str, progress: Report | None
) -> tuple[Work | None, str | None, tuple[TemplateWarning, ...]]:
    if not config.data:
        return None, "the project names none, so tokens and steps are not known", ()
    try:
        tokenizer = load_tokenizer(model, config.objective != "text")
    except TandemError as error:
        return None, f"not counted, because lengths are those of the model's tokenizer: {error.seen}", ()
    check = TemplateCheck(tokenizer, model, config.control_tokens)
    try:
        data = encode_rows(
            check_rows(config, progress), tokenizer, max_row_tokens(config, model), config.max_bad_rows, check,
            max_pass_tokens=max_pass_tokens(config), progress=progress,
        )  # fmt: skip
        data.check_draws(config)
        rows = Examples.from_rows(data.split(config)[0])
        steps = OptimizerSteps(rows, config)
    except TandemError as error:
        return None, f"cannot be used: {error.seen}", ()
    tokens, answers = (
        round(float(sum(count * weight for count, weight in zip(counts, rows.weights, strict=True))))
        for counts in (rows.row_lengths, rows.row_answers)
    )
    num_rows = len(split_places(config, len(data.rows))[0])
    work = Work(num_rows, tokens, answers, len(steps.steps_of_epoch(0)), len(steps))
    return work, None, check.warnings()


def _hours(config: TrainingConfig, shapes: ModelShapes, device: WorkerDevice, work: Work | None) -> float | None:
    peak = peak_flops(device.name, config.precision)
    if work is None or peak is None:
        return None
    arithmetic = step_flops(shapes, work.tokens_per_epoch, work.answers_per_epoch, config.objective)
    return arithmetic * config.epochs / (peak * _ASSUMED_MFU * config.workers.max) / 3600


def _choice_json(plan: TrainingPlan, method: str, choice: ZeroChoice) -> dict[str, Any]:
    errors = published_error_range(method, choice.zero_stage, choice.offload, plan.config.precision, plan.device.kind)
    return {
        "zero_stage": choice.zero_stage, "offload": choice.offload,
        **asdict(choice.estimate), "total": choice.estimate.total, "fits": choice.fits(plan.device),
        "estimate_to_published": errors,
    }  # fmt: skip


def _checked(plan: TrainingPlan, choice: ZeroChoice) -> str:
    config = plan.config
    errors = published_error_range(config.method, choice.zero_stage, choice.offload, config.precision, plan.device.kind)
    return f"{errors[0]:.2f} to {errors[1]:.2f}×" if errors else "unchecked"


def _is_chosen(choice: ZeroChoice, plan: TrainingPlan) -> bool:
    return plan.chosen is not None and (choice.zero_stage, choice.offload) == (
        plan.chosen.zero_stage, plan.chosen.offload,
    )  # fmt: skip


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f}"
