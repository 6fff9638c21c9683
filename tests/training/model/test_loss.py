"""The loss in chunks against the plain one: the logits of all answers at once, and cross entropy in fp32."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from tests.training.data.test_packing import random_rows
from tests.training.model.test_objective import preferences
from training.config import LOGIT_CHUNK_TOKENS, TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.model import loss
from training.model.attention import register_attentions
from training.model.attention_choice import choose_attention
from training.model.lora import add_adapter
from training.model.loss import answer_losses, compare_losses
from training.model.model import load_model
from training.model.objective import make_objective

CPU = torch.device("cpu")
ROWS = Examples.from_sequences(random_rows([10, 20, 30]))
SHAPE: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
# Models of transformers with what they do to their logits turned on: a scale, a soft cap, a bias, tied embeddings.
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {},
    "mixtral": EXPERTS,
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "gemma": {},
    "gemma2": {"final_logit_softcapping": 3.0, "sliding_window": 16},
    "gemma3_text": {"final_logit_softcapping": 3.0, "sliding_window": 16},
    "vaultgemma": {"final_logit_softcapping": 3.0, "sliding_window": 16},
    "phi": {},
    "phi3": {},
    "gpt2": OLD,
    "gpt_bigcode": OLD,
    "gptj": {**OLD, "rotary_dim": 4},
    "gpt_neox": {},
    "gpt_oss": {**EXPERTS, "sliding_window": 16},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16, "dropout": 0.0},
    "bloom": {"n_layer": 2, "n_head": 4},
    "falcon": {"head_dim": None},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3, "sliding_window": 16},
    "granite": {"logits_scaling": 3.0},
    "granitemoe": {**EXPERTS, "logits_scaling": 3.0},
    "olmo2": {},
    "olmoe": EXPERTS,
    "stablelm": {},
    "starcoder2": {"residual_dropout": 0.0, "embedding_dropout": 0.0},
    "deepseek_v3": {**EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "kv_lora_rank": 8,
                    "q_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
                    "num_key_value_heads": 4},
    "glm4": {},
    "nemotron": {},
    "smollm3": {},
    "ernie4_5": {},
    "helium": {},
    "persimmon": {},
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_model_without_chunks() -> Iterator[None]:
    yield
    loss._UNCHUNKED.clear()


def tiny(model_type: str, **settings: Any) -> Any:
    register_attentions()
    shape = {} if "text_config" in settings else SHAPE
    fields = {name: value for name, value in {**shape, **settings}.items() if value is not None}
    config = AutoConfig.for_model(model_type, **fields)
    chosen = choose_attention(config, TrainingConfig(precision="fp32", sequence_length=128), None)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=chosen.name).train()


def gradients(model: Any, losses: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Losses, and the gradients of a mean in which every token counts another weight."""
    model.zero_grad()
    found = losses()
    (found * torch.linspace(-1, 2, len(found))).mean().backward()
    return found.detach(), {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }


def check_chunks(model: Any, batch: MicroBatch, chunk_tokens: int = 7) -> None:
    """Losses and gradients are those without chunks, to 1e-5."""
    expected, expected_gradients = gradients(model, lambda: loss._unchunked_losses(model, batch))
    losses, found = gradients(model, lambda: loss._chunked_losses(model, batch, chunk_tokens))
    assert losses.dtype == torch.float32 and found.keys() == expected_gradients.keys()
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=1e-5)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_type", MODELS)
def test_chunks_change_neither_losses_nor_gradients(model_type: str) -> None:
    model = tiny(model_type, **MODELS[model_type])
    assert compare_losses(model, ROWS, CPU) is None
    for padded in (False, True):
        check_chunks(model, make_micro_batch(ROWS, (0, 1, 2), padded=padded))
    model.requires_grad_(False)
    model.get_input_embeddings().requires_grad_(True)
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        check_chunks(model, make_micro_batch(ROWS, (0, 1, 2)))


def test_chunks_go_through_hooks_of_accelerate() -> None:
    """Which a model in 4 bits has on each module."""
    model = tiny("gemma2", **MODELS["gemma2"])
    for module in model.modules():
        add_hook_to_module(module, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    assert compare_losses(model, ROWS, CPU) is None
    check_chunks(model, make_micro_batch(ROWS, (0, 1, 2)))


@pytest.mark.parametrize("model_type", ["gemma3", "gemma4"])
def test_chunks_of_a_text_model_inside_a_model_of_images(model_type: str) -> None:
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    text = {**SHAPE, "final_logit_softcapping": 3.0, "sliding_window": 16, "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 8, "global_head_dim": 8, "num_global_key_value_heads": 2,
            "layer_types": ["sliding_attention", "full_attention"]}  # fmt: skip
    model = tiny(model_type, text_config=text, vision_config=vision, mm_tokens_per_image=4)
    assert compare_losses(model, ROWS, CPU) is None
    check_chunks(model, make_micro_batch(ROWS, (0, 1, 2)))


@pytest.mark.parametrize("settings", [
    {}, {"method": "dora"}, {"target_modules": ["q_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]},
    {"target_modules": ["q_proj", "lm_head"], "method": "dora"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("tied", [False, True])
def test_chunks_go_through_adapters(settings: dict[str, Any], tied: bool) -> None:
    config = TrainingConfig(precision="fp32", rank=4, parity_tolerance=None, **settings)
    model = add_adapter(tiny("llama", tie_word_embeddings=tied), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    assert compare_losses(model, ROWS, CPU) is None
    check_chunks(model, make_micro_batch(ROWS, (0, 1, 2)))


@pytest.mark.parametrize("settings", [{}, {"modules_to_save": ["lm_head"]}], ids=str)
def test_chunks_in_both_passes_of_a_preference(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, settings: dict
) -> None:
    config = TrainingConfig(precision="fp32", rank=4, objective="dpo", **settings)
    model, batch = load_model(str(model_folder), config, CPU), make_micro_batch(preferences(4), (0, 1, 2, 3))
    objective = make_objective(config)

    def found() -> list[torch.Tensor]:
        model.zero_grad()
        value = objective.loss_sum(model, batch)
        value.backward()
        return [value.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    in_chunks = [found() for tokens in (10**6, 7) if monkeypatch.setattr(loss, "LOGIT_CHUNK_TOKENS", tokens) is None]
    monkeypatch.setattr("training.model.objective.answer_losses", loss._unchunked_losses)
    for each in in_chunks:
        torch.testing.assert_close(each, found(), atol=1e-5, rtol=1e-5)


def test_dropout_in_the_head_is_the_same_in_the_backward_pass() -> None:
    settings = {"rank": 4, "target_modules": ["q_proj", "lm_head"], "dropout": 0.5, "parity_tolerance": None}
    config = TrainingConfig(precision="fp32", **settings)
    model, batch = add_adapter(tiny("llama"), config), make_micro_batch(ROWS, (0, 1, 2))

    def by_autograd(self: Any, states: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.of_chunk(*chunk) for chunk in self.chunks(states, answers)])

    def seeded() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        torch.manual_seed(3)
        found = gradients(model, lambda: loss._chunked_losses(model, batch, 7))
        return found[0], {**found[1], "next draw": torch.rand(1)}

    losses, found = seeded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss._TokenLoss, "compute", by_autograd)
        expected, expected_gradients = seeded()
    torch.testing.assert_close((losses, found), (expected, expected_gradients), atol=1e-5, rtol=1e-5)


class LargestLogits(TorchDispatchMode):
    """Sees every tensor that is made, and counts the most tokens in one with the vocabulary as its last dimension."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.num_tokens = vocabulary, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.dim() > 1 and tensor.shape[-1] == self.vocabulary:
                self.num_tokens = max(self.num_tokens, tensor.numel() // self.vocabulary)
        return made


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "cohere"])
@pytest.mark.parametrize("trained", [False, True])
def test_no_more_logits_exist_than_those_of_a_chunk(model_type: str, trained: bool) -> None:
    model = tiny(model_type, **{**MODELS[model_type], "tie_word_embeddings": False})
    model.get_output_embeddings().requires_grad_(trained)
    rows = Examples.from_sequences(random_rows([120] * 30))
    batch = make_micro_batch(rows, tuple(range(30)))
    assert len(batch.answers) > LOGIT_CHUNK_TOKENS
    with LargestLogits(300) as seen:
        answer_losses(model, batch).sum().backward()
        with torch.no_grad():
            answer_losses(model, batch)
    assert 0 < seen.num_tokens <= LOGIT_CHUNK_TOKENS


def test_repeated_passes_are_equal_to_the_bit() -> None:
    model, batch = tiny("llama"), make_micro_batch(ROWS, (0, 1, 2))
    first, second = (gradients(model, lambda: loss._chunked_losses(model, batch, 7)) for _ in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_a_pack_without_answers_has_gradients_of_zero() -> None:
    for model_type in ("llama", "gemma2"):
        model = tiny(model_type, **MODELS[model_type])
        losses = answer_losses(model, make_micro_batch(ROWS, ()))
        losses.sum().backward()
        assert losses.shape == (0,)
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


class MixesLogits(LlamaForCausalLM):
    """Adds to its logits something of the hidden states, behind the head."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, output_hidden_states=True, **kwargs)
        output.logits = output.logits + output.hidden_states[0].mean()
        output.logits[..., 5] += 1000 * output.hidden_states[0].std()
        return output


class CallsTwice(LlamaForCausalLM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        super().forward(*args, **kwargs)
        return super().forward(*args, **kwargs)


class Narrows(LlamaForCausalLM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits[..., :290]
        return output


@pytest.mark.parametrize(("kind", "reason"), [
    (MixesLogits, "subscriptable"), (CallsTwice, "calls its output head 2 times"), (Narrows, "number of its logits"),
])  # fmt: skip
def test_a_model_that_does_more_computes_its_logits_together(kind: type, reason: str) -> None:
    torch.manual_seed(0)
    model = kind(tiny("llama").config)
    note = compare_losses(model, ROWS, CPU)
    assert note and kind.__name__ in note and reason in note
    assert "forward" not in model.__dict__ and isinstance(model.lm_head, torch.nn.Linear)
    assert "forward" not in model.lm_head.__dict__ and model.training
    batch = make_micro_batch(ROWS, (0, 1, 2))
    torch.testing.assert_close(answer_losses(model, batch), loss._unchunked_losses(model, batch), atol=0, rtol=0)


def test_a_head_inside_another_module_computes_its_logits_together() -> None:
    note = compare_losses(tiny("bert", is_decoder=True), ROWS, CPU)
    assert note and "it has no output head of its own" in note


def test_the_comparison_draws_no_random_numbers(model_folder: Path) -> None:
    config = TrainingConfig(precision="bf16", rank=4, dropout=0.5)
    model = load_model(str(model_folder), config, CPU)
    before = torch.get_rng_state()
    assert compare_losses(model, ROWS, CPU) is None
    assert torch.equal(before, torch.get_rng_state()) and model.training
