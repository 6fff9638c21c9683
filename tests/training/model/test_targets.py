"""What the plan counts is what PEFT trains, for every kind of model that can be built small."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from cluster.errors import TandemError
from tests.training.conftest import byte_tokenizer
from training.config import TrainingConfig
from training.model.lora import add_adapter
from training.model.targets import find_targets
from training.plan.shapes import ModelShapes, read_model_shapes
from training.publish.weights import merge_adapter, save_adapter

# Every setting that a configuration may have; each model takes those that it knows.
_SETTINGS: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "intermediate_size_mlp": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300, "pad_token_id": 0,
    "max_position_embeddings": 512, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 16, "expert_ffn_hidden_size": 16, "n_shared_experts": 1,
    "shared_expert_intermediate_size": 16, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
    "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
}  # fmt: skip
DENSE = [
    "apertus", "arcee", "bloom", "codegen", "cohere", "cohere2", "ernie4_5", "exaone4", "falcon", "gemma", "gemma2",
    "gemma3_text", "glm4", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "granite", "llama", "mistral", "mpt", "nemotron",
    "olmo2", "opt", "persimmon", "phi", "phi3", "qwen2", "qwen3", "seed_oss", "smollm3", "stablelm", "starcoder2",
]  # fmt: skip
EXPERTS = [
    "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "flex_olmo", "glm4_moe", "gpt_oss", "granitemoe",
    "granitemoeshared", "hunyuan_v1_moe", "jamba", "jetmoe", "llama4_text", "longcat_flash", "minimax", "minimax_m2",
    "mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe", "qwen3_next",
]  # fmt: skip
_GATED = ["gate_proj", "up_proj", "down_proj"]
_STACKED = ["experts.gate_up_proj", "experts.down_proj"]
CHOICES: list[dict[str, Any]] = [
    {"method": "full"},
    {"method": "lora"},
    {"method": "dora"},
    {"modules_to_save": ["lm_head"]},
    {"modules_to_save": ["norm"]},
    {"modules_to_save": ["mlp"]},
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["lm_head", "q_proj"]},
    {"target_modules": ["embed_tokens", "q_proj"]},
    {"target_modules": r".*(q_proj|down_proj|query_key_value|norm)"},
    {"target_modules": _GATED},
    {"target_modules": ["gate_proj", "q_proj"]},
    {"target_modules": _GATED, "modules_to_save": ["lm_head"]},
    {"target_modules": ["w1", "w2", "w3", "gate"], "modules_to_save": ["lm_head"]},
    {"target_modules": _STACKED},
    {"target_modules": [*_STACKED, "q_proj"], "modules_to_save": ["lm_head"]},
    {"target_modules": [*_STACKED, "q_proj"], "modules_to_save": ["lm_head"], "method": "dora"},
]


@cache
def small(name: str) -> Any:
    """A configuration of this type, a few thousand weights large."""
    known = AutoConfig.for_model(name)
    settings = {key: value for key, value in _SETTINGS.items() if hasattr(known, key)}
    if name == "falcon":
        del settings["head_dim"]
    return AutoConfig.for_model(name, **settings)


# PEFT warns of every name that only some models have, and those are what is tried here.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*DENSE, *EXPERTS])
def test_the_plan_counts_what_is_trained_or_both_refuse(name: str) -> None:
    for choice in CHOICES:
        config = TrainingConfig(**{"rank": 4, **choice})
        assert counted(config, small(name)) == trained(config, small(name)), choice


def counted(config: TrainingConfig, architecture: Any) -> tuple[int, int] | str:
    try:
        shapes = read_model_shapes(config, architecture)
    except TandemError as error:
        return error.seen
    return shapes.trained, shapes.total


def trained(config: TrainingConfig, architecture: Any) -> tuple[int, int] | str:
    model = AutoModelForCausalLM.from_config(architecture)
    if config.method != "full":
        try:
            model = add_adapter(model, config)
        except TandemError as error:
            return error.seen
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_and_routers_get_no_adapter_unless_they_are_named(name: str) -> None:
    base = AutoModelForCausalLM.from_config(small(name))
    targets = find_targets(base, TrainingConfig())
    assert any("expert" in left or "linear" in left for left in targets.left_out)
    assert any(word in left for left in targets.left_out for word in ("router", "gate"))
    words = ("router", "expert_gate")
    assert not [each for each in targets.layers if each.num_experts or any(word in each.name for word in words)]


@pytest.mark.parametrize("name", DENSE)
def test_a_dense_models_adapter_is_asked_for_as_it_was(name: str) -> None:
    targets = find_targets(AutoModelForCausalLM.from_config(small(name)), TrainingConfig())
    assert (targets.target_modules, targets.target_parameters, targets.left_out) == ("all-linear", [], ())


@pytest.mark.parametrize(
    ("name", "choice", "words"),
    [
        ("qwen3_moe", {"target_modules": _GATED}, "vLLM cannot load their adapter for a model of type qwen3_moe"),
        ("qwen3_moe", {"target_modules": _GATED, "dropout": 0.1, "modules_to_save": ["lm_head"]}, "`dropout` is set"),
        ("qwen3_moe", {"target_modules": _GATED, "method": "dora"}, "`method: dora` is set"),
        ("qwen3_moe", {"target_modules": ["gate_proj", "q_proj"]}, "without also targeting up_proj"),
        ("gpt_oss", {"target_modules": ["experts.down_proj"]}, "only where both of their weights have one"),
        ("llama4_text", {"target_modules": ["router"]}, "which is a Llama4Router"),
        ("llama", {"target_modules": ["mlp"]}, "which is a LlamaMLP"),
        ("hunyuan_v1_moe", {"modules_to_save": ["mlp"]}, "which is a part of model.layers.0.mlp"),
        ("mamba", {"method": "full"}, "has no attention"),
    ],
)
def test_what_cannot_be_trained_or_served_is_refused_in_words(name: str, choice: dict[str, Any], words: str) -> None:
    with pytest.raises(TandemError, match=words):
        read_model_shapes(TrainingConfig(rank=4, **choice), small(name))


def test_the_experts_of_one_served_type_are_adapted_where_they_are_named() -> None:
    shapes = read_model_shapes(TrainingConfig(rank=4, target_modules=_STACKED), small("gpt_oss"))
    per_expert = 4 * (32 + 128) + 4 * (64 + 32)
    assert shapes.trained == 2 * 4 * per_expert
    assert shapes.adapted_experts == 2 * 4 * (32 * 128 + 64 * 32)


def test_names_that_nothing_has_are_reported() -> None:
    shapes = read_model_shapes(TrainingConfig(target_modules=["q_proj", "w1"]), small("llama"))
    assert shapes.unknown_names == ("w1",)
    assert read_model_shapes(TrainingConfig(target_modules=["q_proj", *_GATED]), small("llama")).unknown_names == ()


def test_fused_experts_have_an_adapter_of_twice_the_rank() -> None:
    settings = {"rank": 4, "target_modules": _GATED, "modules_to_save": ["lm_head"]}
    shapes: ModelShapes = read_model_shapes(TrainingConfig(**settings), small("qwen3_moe"))
    assert shapes.trained == 2 * 4 * (8 * (32 + 32) + 4 * (16 + 32)) + 300 * 32


@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss", "mixtral"])
def test_adapted_experts_are_merged_into_the_model_that_was_trained(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(small(name)).float()
    base.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    names = ["w1", "w2", "w3"] if name == "mixtral" else _STACKED if name == "gpt_oss" else _GATED
    model = add_adapter(base, TrainingConfig(rank=4, target_modules=[*names, "q_proj"], modules_to_save=["lm_head"]))
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.arange(1, 13)[None]
    with torch.no_grad(), model.disable_adapter():
        before = model(ids).logits
    with torch.no_grad():
        expected = model(ids).logits
    assert not torch.allclose(before, expected, atol=1e-3)
    state = {key: value.detach().clone() for key, value in model.named_parameters() if value.requires_grad}
    save_adapter(model, state, str(tmp_path / "base"), tmp_path / "adapter")
    assert any("experts" in key for key in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    merge_adapter(str(tmp_path / "base"), tmp_path / "adapter", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, expected, atol=1e-4)
