"""A random model of a few thousand weights of every causal type of transformers, and what the trainer makes of it.

    python -m tests.training.every_model    # write the table of docs/architectures.md anew (about two minutes)

A type's default configuration is made small by the names of its fields. Windows and chunks are shorter than the rows.
"""

import re
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from cluster.errors import TandemError
from tests.training.data.test_packing import random_rows
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.attention_check import settle_attention
from training.model.attention_choice import find_attention
from training.model.loss import answer_losses, compare_losses
from training.model.model import load_model

DOCS = Path(__file__).parents[2] / "docs/architectures.md"
CPU = torch.device("cpu")
ROWS = Examples.from_sequences(random_rows([20, 31, 12]))
TYPES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

_SMALL = {
    32: "hidden_size d_model n_embd dim_model emb_dim embedding_size word_embed_proj_dim attention_hidden_size",
    64: "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim n_inner d_inner dff dim_ff ffn_hidden_size "
    "feed_forward_size shared_intermediate_size intermediate_size_mlp d_ff",
    16: "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size index_head_dim "
    "moe_shared_expert_intermediate_size",
    2: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
    "num_encoder_layers num_key_value_heads num_kv_heads n_head_kv num_experts_per_tok moe_k moe_topk moe_top_k "
    "top_k_experts moe_num_experts_per_tok",
    4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads attention_heads "
    "num_decoder_attention_heads num_encoder_attention_heads num_experts num_local_experts n_routed_experts "
    "moe_num_experts linear_num_key_heads linear_num_value_heads linear_key_head_dim linear_value_head_dim rotary_dim",
    8: "head_dim dim_head kv_channels attention_head_size global_head_dim swa_head_dim kv_lora_rank q_lora_rank "
    "qk_nope_head_dim qk_rope_head_dim v_head_dim mamba_n_heads mamba_d_head hidden_size_per_layer_input "
    "query_pre_attn_scalar",
    6: "sliding_window attention_window window_size local_attention attention_chunk_size index_topk",
    512: "vocab_size vocab_size_per_layer_input",
    128: "max_position_embeddings n_positions n_ctx max_seq_len seq_length",
    1: "n_group topk_group first_k_dense_replace num_shared_experts n_shared_experts moe_num_shared_experts "
    "bos_token_id decoder_start_token_id",
}
_FIELDS = {name: size for size, names in _SMALL.items() for name in names.split()} | {
    # With fewer heads an indexer often ranks tokens as equal.
    "index_n_heads": 32, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.2, "init_std": 0.2,
    "attn_logit_softcapping": 5.0,
}  # fmt: skip
_LAYER_LISTS = ("layer_types", "mlp_layer_types", "layers_block_type")
_NUM_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_BOTH = {"layer_types": ["sliding_attention", "full_attention"], "num_hidden_layers": 2}
# What follows from no name.
_OF_TYPE: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4, "moe_intermediate_size": 16, "head_dim": 8},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "kimi_linear": {"num_experts_per_tok": 2, "num_experts": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {
        **_BOTH,
        "num_kv_shared_layers": 0,
        "intermediate_size": [64, 64],
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "ministral": {**_BOTH, "head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1, **_BOTH},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}


def small_config(kind: str, **settings: Any) -> Any:
    """A type's configuration with few and narrow layers."""
    return CONFIG_MAPPING[kind](**_shrink(CONFIG_MAPPING[kind], _OF_TYPE.get(kind, {}) | settings))


def write_small(kind: str, folder: Path, **settings: Any) -> Path:
    """A random model of a type in fp32, in which no vector of weights is all zeros."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(small_config(kind, **settings))
    for parameter in model.parameters():
        if parameter.ndim == 1 and not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


def try_layout(folder: Path, packing: bool, precision: str = "fp32") -> tuple[str, Any]:
    """The attention that the trainer settles on, or why it refuses, in words of the table; and the model.

    Raises:
        AssertionError: it trains on losses or gradients that are not those of the model's own eager attention.
    """
    config = TrainingConfig(precision=precision, method="full", sequence_length=64, packing=packing)
    try:
        model = load_model(str(folder), config, CPU)
        settled = settle_attention(model, ROWS, config, folder.name, CPU, find_attention(str(folder), config, CPU))
    except TandemError as error:
        return _reason(str(error)), None
    assert model.training and model.config._attn_implementation == settled.name
    compare_losses(model, ROWS, CPU)
    return settled.name, model


def compare_with_eager(model: Any, folder: Path, packing: bool) -> None:
    """Losses and gradients against each row alone in a model that transformers loaded by itself, in fp32."""
    model.eval()
    losses = answer_losses(model, make_micro_batch(ROWS, (0, 1, 2), padded=not packing))
    losses.mean().backward()
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    expected = torch.cat([_eager_losses(own, row) for row in range(len(ROWS))])
    expected.mean().backward()
    torch.testing.assert_close(losses, expected, atol=2e-5, rtol=1e-5)
    gradients = {name: each.grad for name, each in own.named_parameters() if each.grad is not None}
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=2e-5 * largest, rtol=1e-4)


def table() -> dict[str, tuple[str, str]]:
    """The table of the docs: what becomes of packed and of padded rows, by the model's type."""
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \|$", DOCS.read_text(), re.MULTILINE)
    return {kind: (packed, padded) for kind, packed, padded in rows}


def _eager_losses(model: Any, row: int) -> torch.Tensor:
    token_ids, is_answer = ROWS.sequence(row)
    tokens = torch.from_numpy(token_ids).long()
    log_probabilities = model(input_ids=tokens[None], use_cache=False).logits[0, :-1].float().log_softmax(-1)
    return -log_probabilities.gather(1, tokens[1:, None])[:, 0][torch.from_numpy(is_answer)[1:]]


def _reason(error: str) -> str:
    if "no causal language model" in error:
        return "refused: not causal"
    if "on packed rows or on padded ones" in error:
        return "refused: computed otherwise"
    if "on packed rows as it computes" in error:
        return "refused: `packing: false`"
    return "refused: transformers fails"


def _shrink(kind: type[AutoConfig], of_type: dict[str, Any]) -> dict[str, Any]:
    default = kind()
    fields = default.to_dict()
    small = {
        name: _FIELDS[name]
        for name, value in fields.items()
        if name in _FIELDS and value is not None and not isinstance(value, dict)
        if not isinstance(value, list) or name == "eos_token_id"
    }
    for name in _LAYER_LISTS:
        if isinstance(fields.get(name), list):
            kinds = list(dict.fromkeys(fields[name]))
            small[name] = kinds if len(kinds) > 1 else kinds * 2
    if fields.get("kv_lora_rank"):
        small["num_key_value_heads"] = 4
        small.pop("head_dim", None)
    small |= of_type
    number = max((len(small[name]) for name in _LAYER_LISTS if name in small), default=2)
    small |= {name: (small[name] * number)[:number] for name in _LAYER_LISTS if name in small}
    small |= {name: number for name in _NUM_LAYERS if name in small}
    for name in getattr(kind, "sub_configs", None) or {}:
        if isinstance(fields.get(name), dict) and fields[name]:
            part = type(getattr(default, name))
            small[name] = _shrink(part, {}) | {"model_type": part.model_type}
    return small


def main() -> None:
    """Try every type in both layouts, and write the table."""
    lines, unbuilt = [], []
    for kind in sorted(TYPES):
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = write_small(kind, Path(folder) / kind)
                AutoConfig.from_pretrained(path)
            except Exception:  # noqa: BLE001 - whatever a small configuration is refused for
                unbuilt.append(f"`{kind}`")
                continue
            outcomes = [try_layout(path, packing)[0] for packing in (True, False)]
        if all(outcome.endswith("transformers fails") for outcome in outcomes):
            unbuilt.append(f"`{kind}`")
            continue
        lines.append(f"| `{kind}` | {outcomes[0]} | {outcomes[1]} |")
    page = DOCS.read_text()
    head, _, rest = page.partition("<!-- table -->\n")
    tail = rest.partition("<!-- end -->\n")[2]
    rows = "\n".join(["| type | packed rows | padded rows |", "|---|---|---|", *lines])
    not_tried = f"Not tried, because this recipe does not make them small: {', '.join(unbuilt)}."
    not_tried = textwrap.fill(not_tried, 120, break_long_words=False, break_on_hyphens=False)
    DOCS.write_text(f"{head}<!-- table -->\n{rows}\n\n{not_tried}\n<!-- end -->\n{tail}")


if __name__ == "__main__":
    main()
