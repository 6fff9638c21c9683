"""What the files of a model say about serving it: its size, its longest sequence, and what its cache takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.fingerprints.models import find_model

BYTES_PER_VALUE = 2
"""Of a key or value in the cache, which has the precision of the weights: two bytes on a GPU."""

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
            "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len")  # fmt: skip
"""Under which names models write their longest sequence; the smallest counts, as in vLLM 0.29
(transformers_utils/model_arch_config_convertor.py, derive_max_model_len_and_key)."""


@dataclass(frozen=True)
class ModelFiles:
    """One model as its files describe it; None stands for what they do not say."""

    weights_bytes: int | None = None
    """Size of the weights' files, in bytes."""

    max_positions: int | None = None
    """The longest sequence that the model was made for, in tokens."""

    kv_bytes_per_token: int | None = None
    """What the key-value cache takes for each token, in bytes, on all devices together."""

    architectures: tuple[str, ...] = ()

    dtype: str | None = None
    """Precision of the weights in the files, such as bfloat16."""


def read_model_files(source: str) -> ModelFiles:
    """Read the files of a model: in its folder, or for a hub id what the local cache has. Asks no hub.

    Raises:
        TandemError: `source` is a folder that holds no model.
    """
    folder = find_model(source) or _cached_folder(source)
    if folder is None:
        return ModelFiles()
    config = json.loads((folder / "config.json").read_text())
    # A model of text and images has the language model's settings in a section.
    text = config.get("text_config") or config
    lengths = [text[name] for name in _LENGTHS if type(text.get(name)) is int]
    return ModelFiles(
        _weights_bytes(folder),
        min(lengths, default=None),
        _kv_bytes_per_token(text),
        tuple(config.get("architectures") or ()),
        config.get("dtype") or config.get("torch_dtype") or text.get("dtype"),
    )


def _cached_folder(source: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _weights_bytes(folder: Path) -> int | None:
    """vLLM loads safetensors where there are any, else the older files."""
    for pattern in ("*.safetensors", "*.bin"):
        if sizes := [file.stat().st_size for file in folder.glob(pattern)]:
            return sum(sizes)
    return None


def _kv_bytes_per_token(text: dict[str, Any]) -> int | None:
    """Keys and values of every layer; one compressed vector for each layer of a model with latent attention.

    A model in which only some layers keep all tokens (windows, linear attention) takes less.
    """
    layers, heads = (text.get(name) for name in ("num_hidden_layers", "num_attention_heads"))
    layers, heads = layers or text.get("n_layer"), heads or text.get("n_head")
    if not layers or not heads:
        return None
    if rank := text.get("kv_lora_rank"):
        return int(layers * (rank + text.get("qk_rope_head_dim", 0)) * BYTES_PER_VALUE)
    size = text.get("head_dim") or (text.get("hidden_size") or text.get("n_embd") or 0) // heads
    return int(2 * layers * (text.get("num_key_value_heads") or heads) * size * BYTES_PER_VALUE)
