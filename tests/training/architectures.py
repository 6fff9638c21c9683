"""Random models of several makes, a few thousand weights each, with what sets the make apart turned on."""

from pathlib import Path

import torch
import transformers

from tests.training.conftest import byte_tokenizer

_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2}
_GEMMA = {**_GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8}
ARCHITECTURES = {
    "llama": ("Llama", _GROUPED),
    "qwen3": ("Qwen3", {**_GROUPED, "head_dim": 16}),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": None}),
    "mistral with a window": ("Mistral", {**_GROUPED, "sliding_window": 16}),
    "gemma2": ("Gemma2", {**_GEMMA, "sliding_window": 16, "attn_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3", {**_GEMMA, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}),
    "gpt-neox": ("GPTNeoX", _SHAPE),
    "phi": ("Phi", _GROUPED),
    "qwen2 with a window": (
        "Qwen2",
        {**_GROUPED, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "deepseek-v3": (
        "DeepseekV3",
        {
            **_SHAPE,
            "num_key_value_heads": 4,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "first_k_dense_replace": 2,
        },
    ),
    "gpt-oss": (
        "GptOss",
        {**_GROUPED, "head_dim": 8, "sliding_window": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}


def write_architecture(name: str, folder: Path) -> Path:
    """A model of one of `ARCHITECTURES` in fp32, with its tokenizer."""
    tokenizer = byte_tokenizer()
    make, settings = ARCHITECTURES[name]
    text = "Text" if make == "Gemma3" else ""
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    config = getattr(transformers, f"{make}{text}Config")(vocab_size=len(tokenizer), **settings, **ids)
    torch.manual_seed(0)
    getattr(transformers, f"{make}ForCausalLM")(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
