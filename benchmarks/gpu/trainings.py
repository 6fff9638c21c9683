"""The steps that train: each method and stage with its speed, its memory beside the plan, and what it saves."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import baselines
from benchmarks.gpu.bench import GIB, Bench, attention_that_ran, liger_kernels, operators_of
from benchmarks.gpu.core_loop import PLAIN, LoopRun, engine_name, free_memory, train, write_job
from benchmarks.gpu.kernels import require
from benchmarks.gpu.models import LlamaShape, mixed_lengths, random_pairs, random_rows, window_architecture
from benchmarks.gpu.steps import Figure, Note, Reports, StepFailed, StepSkipped
from training.config import TrainingConfig
from training.data.batches import OptimizerSteps
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model import objective
from training.model.model import load_model
from training.plan.memory import MemoryEstimate, estimate_memory, memory_setup
from training.plan.placement import WorkerDevice
from training.plan.shapes import read_model_shapes
from training.plan.zero_stage import open_choices
from training.trainer.job import ADAPTER_FOLDER

PLAN_TARGETS = (">= 1.0", "<= 1.1")
"""The plan is never below what was measured, and at most a tenth above it."""


def lora_stages(bench: Bench) -> Reports:
    """A4: LoRA with ZeRO 0, 1 and 3 on one rank: the loss falls and agrees, and the plan's memory is true."""
    yield Note(f"engine: {engine_name()}")
    model, _ = bench.model("small", bench.small.architecture())
    losses: dict[int, list[float]] = {}
    for stage in (0, 1, 3) if engine_name() != PLAIN else (0,):
        config = settings(bench, zero_stage=stage)
        with training(bench, model, config, _full_rows(bench, 15), f"lora-{stage}") as run:
            losses[stage] = list(run.losses.values())
            yield from _speed(f"LoRA, ZeRO-{stage}", run)
            yield from _memory_figures(bench, f"LoRA, ZeRO-{stage}", run, config, model)
            if stage == 0:
                yield from _check_fast_paths(bench, run)
        if not losses[stage][-1] < losses[stage][0]:
            raise StepFailed(f"the loss does not fall with ZeRO-{stage}: {losses[stage]}")
    for stage, found in losses.items():
        if stage:
            apart = max(abs(one - other) / other for one, other in zip(found, losses[0], strict=True))
            yield Figure(f"largest difference of a step's loss, ZeRO-{stage} from ZeRO-0", "1", apart, "<= 0.02")


def full_and_checkpoint(bench: Bench) -> Reports:
    """A5: every weight trained; the optimizer's step by torch's two ways; a checkpoint, and the training after it."""
    yield Note(f"engine: {engine_name()}")
    yield from _optimizer_steps(bench)
    model, _ = bench.model("small", bench.small.architecture())
    rows, config = _full_rows(bench, 6), settings(bench, method="full", learning_rate=1e-4, checkpoint_steps=3)
    with training(bench, model, config, rows, "full") as run:
        job, unbroken = run.loop.job, run.losses
        yield from _speed("full", run)
        yield from _memory_figures(bench, "full", run, config, model)
        saved_s = [line["checkpoint_stall_s"] for line in run.lines if "checkpoint_stall_s" in line]
    stored = sum(path.stat().st_size for path in (job.folder / "checkpoints").rglob("*") if path.is_file())
    yield Figure("checkpoint, full: written in", "s", saved_s[0])
    yield Figure("checkpoint, full: size", "GiB", stored / GIB)
    with train(job, bench.device) as resumed:
        if min(resumed.losses) != 4:
            raise StepFailed(f"the training did not continue after step 3 but with step {min(resumed.losses)}")
        yield Figure("checkpoint, full: model and state loaded in", "s", resumed.load_s)
        apart = max(abs(loss - unbroken[step]) / unbroken[step] for step, loss in resumed.losses.items())
    yield Figure("largest difference of a step's loss after a checkpoint", "1", apart, "<= 0.02")


def qlora(bench: Bench) -> Reports:
    """A6: QLoRA: weights in 4 bits load, and the loss falls."""
    if not bench.is_cuda:
        raise StepSkipped("needs CUDA")
    require("bitsandbytes")
    model, _ = bench.model("small", bench.small.architecture())
    config = settings(bench, method="qlora", zero_stage=0)
    with training(bench, model, config, _full_rows(bench, 10), "qlora") as run:
        found = list(run.losses.values())
        yield from _speed("QLoRA", run)
        yield from _memory_figures(bench, "QLoRA", run, config, model)
    if not found[-1] < found[0]:
        raise StepFailed(f"the loss does not fall: {found}")


def large_lora(bench: Bench) -> Reports:
    """A7: LoRA of the 8B model at 4 x 4,096 tokens with checkpointing, then its publish while the engine lives."""
    yield Note(f"engine: {engine_name()}")
    model, write_s = bench.model("large", bench.large.architecture())
    yield Figure("8B: made and written in", "s", write_s)
    config = settings(bench, gradient_checkpointing=True, zero_stage=0)
    with training(bench, model, config, _full_rows(bench, 8), "large") as run:
        yield Figure("8B LoRA: loaded in", "s", run.load_s)
        yield from _speed("8B LoRA", run, bench.target(">= 0.40"))
        yield from _memory_figures(bench, "8B LoRA", run, config, model)
        if bench.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        run.loop.finish()
        yield Figure("8B LoRA: published in", "s", time.perf_counter() - began)
        if bench.is_cuda:
            peak = torch.cuda.max_memory_allocated()
            yield Figure(
                "8B LoRA: peak of the publish", "GiB", peak / GIB, bench.target("<= 1.0"), run.peak_allocated / GIB,
                "peak of the training",
            )  # fmt: skip
        if not (run.loop.job.folder / ADAPTER_FOLDER / "adapter_model.safetensors").exists():
            raise StepFailed("no adapter was written")


def preference_and_window(bench: Bench) -> Reports:
    """A8: steps of DPO with its reference, and the losses of a model with windows against fp32 without packing."""
    model, _ = bench.model("small", bench.small.architecture())
    rows = random_pairs([bench.longest // 2] * 16)
    config = settings(bench, objective="dpo", learning_rate=1e-4, zero_stage=0)
    with training(bench, model, config, rows, "dpo") as run:
        found = list(run.losses.values())
        yield from _speed("DPO", run)
    # Before the first step the adapter changes nothing, so no answer is preferred: -log(1/2) (arXiv:2305.18290).
    yield Figure("DPO: loss of the first step from log 2", "nats", abs(found[0] - 0.693147), "<= 0.001")
    yield from _window(bench)


def baselines_beside(bench: Bench) -> Reports:
    """A9: useful tokens per second beside a padded trainer and beside the engine without the loop around it."""
    yield Note(f"engine: {engine_name()}")
    model, _ = bench.model("small", bench.small.architecture())
    num_rows = 100 if bench.is_tiny else 480
    rows = random_rows(mixed_lengths(num_rows, bench.longest), answer_share=0.5)
    config = settings(bench, zero_stage=0)
    with training(bench, model, config, rows, "ours") as run:
        ours, job = run.tokens_per_s, run.loop.job
        yield Note(f"{num_rows} rows of {sum(rows.row_lengths)} tokens; attention: {_attention_of(bench, run)}")
    bare = baselines.engine_alone(job, bench.device)
    name = "plain DeepSpeed" if engine_name() != PLAIN else "torch AdamW in a bare loop"
    yield Figure("useful tokens/s, LoRA", "tokens/s", ours, bench.target(">= 0.98"), bare, name)
    padded = baselines.padded_trainer(model, config, rows, bench)
    name = "a padded trainer as TRL's is by default (transformers, PEFT, torch AdamW)"
    yield Figure("useful tokens/s, LoRA", "tokens/s", ours, bench.target(">= 1.5"), padded, name)


def large_full(bench: Bench) -> Reports:
    """A10: every weight of the 8B model trained, or of as many of its layers as the plan says fit."""
    yield Note(f"engine: {engine_name()}")
    config = settings(bench, method="full", learning_rate=1e-5, gradient_checkpointing=True)
    stage, shape = _deepest(bench, config)
    yield Note(f"{shape.layers} of the {bench.large.layers} layers, ZeRO-{stage}: the most that the plan fits")
    name = "large" if shape == bench.large else "cut"
    model, write_s = bench.model(name, shape.architecture())
    yield Figure("8B's widths: made and written in", "s", write_s)
    config = config.model_copy(update={"zero_stage": stage})
    with training(bench, model, config, _full_rows(bench, 6), "large-full") as run:
        yield from _speed("full, 8B's widths", run, bench.target(">= 0.45"))
        yield from _memory_figures(bench, "full, 8B's widths", run, config, model)


def settings(bench: Bench, **changed: Any) -> TrainingConfig:
    """The settings of a training on one worker."""
    return TrainingConfig.model_validate({
        "rank": 4 if bench.is_tiny else 16, "alpha": 32, "epochs": 1, "held_out": 0, "precision": bench.precision,
        "sequence_length": bench.longest, "micro_batch_size": 4, "workers": 1, "zero_stage": 1, "offload": "none",
        "learning_rate": 1e-3, "checkpoint_steps": 100_000, **changed,
    })  # fmt: skip


@contextmanager
def training(bench: Bench, model: Path, config: TrainingConfig, rows: Examples, name: str) -> Iterator[LoopRun]:
    """Train to the end; the loop is open inside.

    Raises:
        StepSkipped: the plan needs more memory than this GPU has.
    """
    if bench.is_cuda:
        needed, there = _estimate(config, str(model)).total, torch.cuda.get_device_properties(0).total_memory
        if needed > there:
            raise StepSkipped(f"the plan needs {needed / GIB:.1f} GiB, and this GPU has {there / GIB:.1f} GiB")
    # Checkpoints of earlier runs: there is no disk for all of them.
    shutil.rmtree(bench.scratch / "runs", ignore_errors=True)
    job = write_job(bench.run_folder(name), model, config, rows, len(OptimizerSteps(rows, config)), bench.device)
    with train(job, bench.device) as run:
        yield run


def _full_rows(bench: Bench, num_steps: int) -> Examples:
    """Rows of the greatest length, nearly all of it learnt, so that every token has logits as the plan counts them."""
    return random_rows([bench.longest] * (4 * num_steps), answer_share=1.0)


def _speed(name: str, run: LoopRun, target: str | None = None) -> Reports:
    yield Figure(f"useful tokens/s: {name}", "tokens/s", run.tokens_per_s)
    if run.mfu is not None:
        yield Figure(f"MFU: {name}", "1", run.mfu, target)
    elif target:
        yield Note(f"MFU: {name}: this GPU's peak is not known")


def _memory_figures(bench: Bench, name: str, run: LoopRun, config: TrainingConfig, model: Path) -> Reports:
    """The plan's memory beside what the training took of the GPU."""
    if not bench.is_cuda:
        return
    plan = _estimate(config, str(model))
    taken = run.peak_reserved + run.outside_torch
    for target in PLAN_TARGETS:
        yield Figure(
            f"plan over measured: {name}", "GiB", plan.total / GIB, bench.target(target), taken / GIB,
            "reserved peak and what torch does not count",
        )  # fmt: skip
    yield Figure(
        f"computed part of the plan: {name}", "GiB", plan.computed / GIB, None, run.peak_allocated / GIB,
        "allocated peak",
    )  # fmt: skip


def _estimate(config: TrainingConfig, model: str) -> MemoryEstimate:
    stage = int(config.zero_stage) if config.zero_stage != "auto" else 0
    return estimate_memory(read_model_shapes(config, model), memory_setup(config, stage, "none"))


def _check_fast_paths(bench: Bench, run: LoopRun) -> Reports:
    """Fail where a slower attention or no Liger kernel ran though the faster one is there."""
    operators = _operators(bench, run)
    found = attention_that_ran(operators)
    yield Note(f"attention: {found}")
    if bench.is_cuda and found not in ("torch varlen", "flash-attn"):
        raise StepFailed(f"the attention over packed rows was {found}, not a variable-length kernel")
    if bench.is_cuda and _is_installed("liger_kernel"):
        kernels = liger_kernels(operators)
        yield Note(f"Liger: {', '.join(kernels)}")
        if not kernels:
            raise StepFailed("liger_kernel is installed, and none of its kernels ran")


def _attention_of(bench: Bench, run: LoopRun) -> str:
    return attention_that_ran(_operators(bench, run))


def _operators(bench: Bench, run: LoopRun) -> set[str]:
    loop = run.loop
    batch = make_micro_batch(loop.rows, (0, 1)).to(bench.device)

    def forward() -> None:
        with torch.no_grad():
            loop.objective.loss_sum(loop.engine, batch)

    return operators_of(forward, bench.device)


def _is_installed(package: str) -> bool:
    try:
        require(package)
    except StepSkipped:
        return False
    return True


def _optimizer_steps(bench: Bench) -> Reports:
    """A step of torch's AdamW over the model's trained weights in fp32, with and without the fused kernel."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        shapes = [each.shape for each in AutoModelForCausalLM.from_config(bench.small.architecture()).parameters()]
    for way in ("foreach", "fused"):
        weights = [torch.zeros(shape, device=bench.device, requires_grad=True) for shape in shapes]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer = torch.optim.AdamW(weights, **{way: True})
        optimizer.step()  # makes its state
        yield Figure(f"AdamW step, {way}", "ms", bench.milliseconds(optimizer.step, repeats=3))
        peak = bench.peak_bytes(optimizer.step)
        if bench.is_cuda:
            yield Figure(f"AdamW step, {way}: temporary memory", "GiB", peak / GIB)
        del weights, optimizer, weight
        free_memory(bench.device)


def _window(bench: Bench) -> Reports:
    """A model whose layers look back `window` tokens only: packed losses against each row alone in fp32."""
    window = bench.longest // 8
    shape = replace(bench.small, layers=4)
    model, _ = bench.model("window", window_architecture(shape, window))
    rows = random_rows([window // 2, window * 2, window * 4, bench.longest])
    pack = make_micro_batch(rows, (0, 1, 2, 3)).to(bench.device)
    config = settings(bench)
    with torch.no_grad():
        packed_model = load_model(str(model), config, bench.device)
        operators = operators_of(partial(objective.answer_losses, packed_model, pack), bench.device)
        packed = objective.answer_losses(packed_model, pack).float()
        exact = load_model(str(model), config.model_copy(update={"precision": "fp32", "liger": False}), bench.device)
        alone = [
            objective.answer_losses(exact, make_micro_batch(rows, (row,)).to(bench.device)) for row in range(len(rows))
        ]
    apart = float((packed - torch.cat(alone)).abs().mean())
    ran = attention_that_ran(operators)
    yield Note(f"attention of the model with windows of {window} tokens: {ran}")
    # The noise of bf16 in a model of this depth; a window that is off by a token is far above it.
    yield Figure("window model: mean difference of a token's loss from fp32", "nats", apart, "<= 0.05")
    if bench.is_cuda and ran not in ("torch varlen", "flash-attn", "flex"):
        raise StepFailed(f"the attention of a model with windows was {ran}, which builds a mask over the whole pack")


def _deepest(bench: Bench, config: TrainingConfig) -> tuple[int, LlamaShape]:
    """A ZeRO stage, and the large model with as many layers as the plan fits on this GPU without an offload."""
    if not bench.is_cuda:
        return 0, bench.large
    device = torch.cuda.get_device_properties(0)
    here = WorkerDevice("gpu", device.name, device.total_memory, 0)
    for layers in range(bench.large.layers, 0, -2):
        shape = bench.large.with_layers(layers)
        shapes = read_model_shapes(config, shape.architecture())
        for choice in open_choices(config.model_copy(update={"zero_stage": "auto"}), shapes):
            if choice.fits(here):
                return choice.zero_stage, shape
    raise StepFailed("the plan fits no layer on this GPU")
