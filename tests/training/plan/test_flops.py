"""Arithmetic against torch's own counter, and peaks by the names that drivers give."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from tests.training.data.test_packing import random_rows
from tests.training.model.test_objective import preferences
from tests.training.model.test_targets import small
from training.config import TrainingConfig
from training.data.answer_masks import Example
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.mismatched import draw_mismatched, make_mismatched_batch
from training.model.model import load_model
from training.model.objective import DesirabilityLoss, make_objective
from training.plan.flops import mfu, peak_flops, step_flops, why_no_mfu
from training.plan.shapes import read_model_shapes

CPU = torch.device("cpu")
LORA: dict[str, Any] = {"rank": 4}


def rows_of(objective: str) -> Examples:
    if objective == "dpo":
        return preferences(2)
    # Of rows of one length no mismatched pair is cut.
    marks = [False] * 12 + [True] * 8
    rated = [Example(list(range(8 + number, 28 + number)), marks) for number in range(3)]
    plain = random_rows([20, 30, 14])
    return (
        Examples.from_sequences(rated, labels=[True, False, True])
        if objective == "kto"
        else Examples.from_sequences(plain)
    )


def counted(name: str, config: TrainingConfig, folder: Path) -> tuple[int, int, int]:
    """FLOPs of products of two matrices in one forward and backward pass, the tokens, and the answers among them.

    The scores of attention and rotary positions are products of three and more dimensions: those do not count.
    """
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(small(name)).save_pretrained(folder)
    model = load_model(str(folder), config, CPU)
    base = model if config.method == "full" else model.get_base_model()
    if "moe" in name or name in ("mixtral", "gpt_oss"):
        base.set_experts_implementation("eager")
    # With an adapter nothing asks for the gradient of the first layer's input: one layer less than is counted.
    base.get_input_embeddings().register_forward_hook(lambda _, __, output: output.requires_grad_())
    rows = rows_of(config.objective)
    packs, objective = tuple(range(len(rows))), make_objective(config)
    with FlopCounterMode(display=False) as counter:
        if isinstance(objective, DesirabilityLoss):
            (pairs,) = draw_mismatched(rows, [packs], "0")
            objective.log_ratio_sum(model, make_mismatched_batch(rows, pairs))
        objective.loss_sum(model, make_micro_batch(rows, packs), torch.zeros(())).backward()
    flops = counter.get_flop_counts()["Global"]
    products = sum(number for op, number in flops.items() if str(op) in ("aten.mm", "aten.addmm"))
    head = base.get_output_embeddings()
    if any(parameter.requires_grad for parameter in head.parameters()):
        products -= 2 * sum(rows.row_answers) * head.weight.numel()  # a trained head is computed again
    return products, sum(rows.row_lengths), sum(rows.row_answers)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "phi3", "qwen3_moe", "qwen2_moe", "mixtral", "granitemoe"])
@pytest.mark.parametrize(
    "settings",
    [
        {"method": "full"},
        LORA,
        {**LORA, "modules_to_save": ["lm_head"]},
        {**LORA, "objective": "dpo"},
        {**LORA, "objective": "kto"},
    ],
    ids=str,
)
def test_arithmetic_is_what_torch_counts(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    config = TrainingConfig(precision="fp32", **settings)
    products, tokens, answers = counted(name, config, tmp_path)
    shapes = read_model_shapes(config, small(name))
    assert step_flops(shapes, tokens, answers, config.objective) == products


@pytest.mark.parametrize("settings", [{"method": "full"}, LORA], ids=str)
def test_what_is_computed_again_does_not_count(settings: dict[str, Any], tmp_path: Path) -> None:
    config = TrainingConfig(precision="fp32", gradient_checkpointing=True, **settings)
    products, tokens, answers = counted("qwen3", config, tmp_path)
    shapes = read_model_shapes(config, small("qwen3"))
    again = products - step_flops(shapes, tokens, answers)
    # What comes behind the last value that the backward pass wants is not computed again.
    assert 0.7 < again / (2 * (shapes.active + shapes.active_adapter) * tokens) <= 1


def test_a_token_counts_its_own_experts_only() -> None:
    settings = {key: value for key, value in small("qwen3_moe").to_dict().items() if key != "model_type"}
    every, two = (
        read_model_shapes(
            TrainingConfig(method="full"),
            AutoConfig.for_model("qwen3_moe", **{**settings, "num_experts_per_tok": number}),
        )
        for number in (4, 2)
    )
    assert every.total == two.total
    assert every.active - two.active == 2 * 2 * 3 * 16 * 32


def test_four_bits_count_as_many_weights() -> None:
    lora, qlora = (read_model_shapes(TrainingConfig(method=method), small("llama")) for method in ("lora", "qlora"))
    assert step_flops(lora, 100, 10) == step_flops(qlora, 100, 10)


def test_mfu_is_the_share_of_all_devices() -> None:
    assert mfu(312e12, 1.0, 1, "NVIDIA A100-SXM4-80GB", "bf16") == pytest.approx(1.0)
    assert mfu(312e12, 2.0, 4, "NVIDIA A100-SXM4-80GB", "bf16") == pytest.approx(1 / 8)
    assert mfu(1.0, 1.0, 1, "cpu", "bf16") is None
    assert mfu(312e12, 1.0, 1, "NVIDIA A100-SXM4-80GB", "fp32") is None


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 NVL", 835), ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835), ("NVIDIA GH200 480GB", 989), ("NVIDIA GH200 144G HBM3e", 989), ("NVIDIA H20", 148),
        ("NVIDIA H20-3e", 148), ("NVIDIA H800", 989), ("NVIDIA H800 PCIe", 756), ("NVIDIA B200", 2250),
        ("NVIDIA GB200", 2500), ("NVIDIA B300 SXM6 AC", 2250), ("NVIDIA GB300", 2500), ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312), ("NVIDIA A800-SXM4-80GB", 312), ("NVIDIA A10", 125), ("NVIDIA A10G", 70),
        ("NVIDIA A30", 165), ("NVIDIA A40", 149.7), ("NVIDIA L4", 121), ("NVIDIA L40", 181), ("NVIDIA L40S", 362),
        ("NVIDIA RTX A6000", 154.8), ("NVIDIA RTX 6000 Ada Generation", 364.2), ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 5090", 209.5), ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 503.8),
        ("AMD Instinct MI300X", 1307.4), ("AMD Instinct MI325X OAM", 1307.4),
    ],
)  # fmt: skip
def test_peaks_by_the_names_that_drivers_give(name: str, tera: float) -> None:
    assert peak_flops(name) == tera * 1e12
    assert why_no_mfu(name, "bf16") is None


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GB10", "NVIDIA T4G", "Quadro RTX 6000", "NVIDIA A2", "NVIDIA A16", "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA A10-24Q", "GRID A100D-80C", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 3090 Ti", "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition", "AMD Instinct MI250X", "a GPU",
    ],
)  # fmt: skip
def test_where_a_peak_is_not_known_it_is_said(name: str) -> None:
    assert peak_flops(name) is None
    assert name in (why_no_mfu(name, "bf16") or "")


def test_fp32_is_not_measured_against_the_peak_of_16_bits() -> None:
    assert peak_flops("NVIDIA H200", "fp32") is None
    assert "trains in fp32" in (why_no_mfu("NVIDIA H200", "fp32") or "")
