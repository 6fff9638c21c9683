"""The choice for machines that need not be at hand."""

from pathlib import Path

import pytest
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from cluster.hardware import Gpu
from tests.training.architectures import ARCHITECTURES, write_architecture
from training.config import TrainingConfig
from training.model import attention_choice
from training.model.attention import PACKED_ATTENTION, VARLEN_ATTENTION
from training.model.attention_choice import AttentionChoice, choose_attention

GIB = 2**30
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", 24 * GIB, (8, 9))
H200 = Gpu("NVIDIA H200", 141 * GIB, (9, 0))
T4 = Gpu("Tesla T4", 16 * GIB, (7, 5))
B200 = Gpu("NVIDIA B200", 180 * GIB, (10, 0))

# Those whose tokens see less than what stands before them in a row of 128 tokens; with capped scores or sinks.
WINDOWS = {"mistral with a window", "qwen2 with a window", "gemma3"}
CAPPED = {"gemma2", "gpt-oss"}


def choose(gpu: Gpu | None, precision: str = "bf16", length: int = 128, **model: object) -> AttentionChoice:
    config = AutoConfig.for_model(**{"model_type": "llama", **model})
    return choose_attention(config, TrainingConfig(precision=precision, sequence_length=length), gpu)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_on_a_cpu_row_by_row_where_every_token_sees_its_whole_row(tmp_path: Path, architecture: str) -> None:
    config = AutoConfig.from_pretrained(write_architecture(architecture, tmp_path))
    chosen = choose_attention(config, TrainingConfig(sequence_length=128, precision="fp32"), None)
    expected = "sdpa" if architecture in WINDOWS else "eager" if architecture in CAPPED else PACKED_ATTENTION
    assert chosen.name == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("gpu", [RTX_4090, H200, B200], ids=lambda gpu: gpu.name)
def test_on_a_gpu_the_kernel_whatever_the_window(tmp_path: Path, architecture: str, gpu: Gpu) -> None:
    config = AutoConfig.from_pretrained(write_architecture(architecture, tmp_path))
    chosen = choose_attention(config, TrainingConfig(sequence_length=128, precision="bf16"), gpu)
    assert chosen.name == ("flex_attention" if architecture in CAPPED else VARLEN_ATTENTION)
    assert ("because" in chosen.reason) == chosen.is_fallback == (architecture in CAPPED)


@pytest.mark.parametrize(
    ("gpu", "precision", "model", "name", "why"),
    [
        (H200, "fp32", {}, PACKED_ATTENTION, "it does not compute in fp32"),
        (T4, "bf16", {}, PACKED_ATTENTION, "Tesla T4 has the compute capability 7.5, and it needs 8.0"),
        (H200, "bf16", {"head_dim": 20}, PACKED_ATTENTION, "it does not take heads of 20 numbers"),
        (H200, "bf16", {"head_dim": 512}, PACKED_ATTENTION, "it does not take heads of 512 numbers"),
        (H200, "bf16", {"head_dim": 208}, VARLEN_ATTENTION, ""),
        (RTX_4090, "bf16", {"head_dim": 208}, PACKED_ATTENTION, "does not train heads of 208 numbers on NVIDIA GeF"),
        (RTX_4090, "bf16", {"head_dim": 256}, VARLEN_ATTENTION, ""),
        (H200, "bf16", {"model_type": "deepseek_v3"}, VARLEN_ATTENTION, ""),
        (H200, "bf16", {"model_type": "gemma4_text"}, PACKED_ATTENTION, "it does not take heads of 512 numbers"),
        (None, "bf16", {"model_type": "gemma4_text", "sliding_window": 64}, "sdpa", "shorter than the longest row"),
        (H200, "bf16", {"model_type": "falcon"}, "sdpa", "transformers lets the model run its own attention only"),
        (H200, "bf16", {"model_type": "bloom"}, "eager", "the model's attention has parts of its own"),
        (H200, "bf16", {"model_type": "llama4_text"}, "sdpa", "another attention than full or sliding"),
        (H200, "fp32", {"model_type": "mistral", "sliding_window": 16}, "sdpa", "shorter than the longest row"),
        (None, "bf16", {"model_type": "gemma2"}, "eager", "the model caps its attention scores"),
    ],
)  # fmt: skip
def test_what_the_kernel_cannot_do_is_said(gpu: Gpu | None, precision: str, model: dict, name: str, why: str) -> None:
    chosen = choose(gpu, precision, **model)
    assert chosen.name == name
    assert why in chosen.reason and chosen.reason.endswith(".")
    assert chosen.is_fallback == bool(why)


def test_there_is_a_choice_for_every_causal_model_of_transformers() -> None:
    names = {VARLEN_ATTENTION, PACKED_ATTENTION, "sdpa", "eager", "flex_attention"}
    kinds = {kind.model_type: kind for kind in MODEL_FOR_CAUSAL_LM_MAPPING.keys()}  # noqa: SIM118 - it is no dict
    assert len(kinds) > 150
    for kind in (kinds[name] for name in kinds if not name.startswith("musicgen")):  # these have no default
        for gpu, precision in ((None, "fp32"), (H200, "bf16")):
            chosen = choose_attention(kind(), TrainingConfig(precision=precision), gpu)
            assert chosen.name in names and (gpu or chosen.name not in {VARLEN_ATTENTION, "flex_attention"})


def test_a_gpu_of_unknown_capability_is_taken_for_a_new_one() -> None:
    assert choose(Gpu("GPU", 24 * GIB)).name == VARLEN_ATTENTION


def test_a_window_that_no_row_fills_changes_nothing() -> None:
    window = {"model_type": "mistral", "sliding_window": 16}
    assert choose(None, length=16, **window).name == PACKED_ATTENTION
    assert choose(None, length=17, **window).name == "sdpa"


def test_a_torch_without_windows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None, scale=None): ...

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", older)
    assert attention_choice._missing_parameters() == ["enable_gqa", "window_size"]
    chosen = choose(H200)
    assert chosen.name == PACKED_ATTENTION and "has no enable_gqa and no window_size" in chosen.reason


def test_the_choice_reads_nested_configurations() -> None:
    assert choose(H200, model_type="gemma3").name == VARLEN_ATTENTION
