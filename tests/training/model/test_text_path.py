"""Every weight that is trained gets a gradient, in models with parts that text does not reach."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from cluster.errors import TandemError
from tests.training.every_model import small_config
from training.config import TrainingConfig
from training.model.lora import add_adapter
from training.model.targets import find_targets
from training.plan.shapes import adapter_notes, read_model_shapes

LEFT_OUT = {
    "gemma3": "vision_tower",
    "fuyu": "vision_embed_tokens",
    "git": "image_encoder",
    "got_ocr2": "multi_modal_projector",
    "phi4_multimodal": "image_embed",
    "deepseek_v32": "indexer",
    "jamba": "dt_proj",
    "gemma3n_text": "correction_coefs",
    "trocr": "encoder_attn",
    "llama": "",
    "qwen3_moe": "",
    "gemma4": "",
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_every_trained_weight_gets_a_gradient(kind: str) -> None:
    config = TrainingConfig(precision="fp32", rank=4)
    torch.manual_seed(0)
    model = add_adapter(AutoModelForCausalLM.from_config(small_config(kind)), config)
    model(input_ids=torch.randint(5, 200, (1, 12)), use_cache=False).logits.logsumexp(-1).sum().backward()
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    assert trained and not [name for name, parameter in trained.items() if parameter.grad is None]
    shapes = read_model_shapes(config, small_config(kind))
    assert shapes.trained == sum(parameter.numel() for parameter in trained.values())
    note = " ".join(adapter_notes(shapes))
    assert ("no gradient of a row of text reaches" in note) == bool(LEFT_OUT[kind]) and LEFT_OUT[kind] in note


def test_names_of_layers_are_looked_for_in_the_language_model_alone() -> None:
    config = TrainingConfig(target_modules=["q_proj"])
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(small_config("gemma3"))
    layers = find_targets(base, config).layers
    assert layers and all(layer.name.startswith("model.language_model.") for layer in layers)
    with pytest.raises(TandemError, match=r"layers of model.vision_tower alone"):
        find_targets(base, TrainingConfig(target_modules=["fc1"]))


def test_weight_decay_of_what_is_not_reached_is_refused() -> None:
    settings = {"method": "full", "precision": "fp32"}
    read_model_shapes(TrainingConfig(**settings), small_config("gemma3"))
    read_model_shapes(TrainingConfig(**settings, weight_decay=0.1), small_config("llama"))
    with pytest.raises(TandemError, match=r"`weight_decay` of 0\.1 would shrink"):
        read_model_shapes(TrainingConfig(**settings, weight_decay=0.1), small_config("gemma3"))
