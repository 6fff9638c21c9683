"""What the files of a model say about serving it: its size, its longest sequence, and what its cache takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.models import find_model

BYTES_PER_VALUE = 2
"""Of a key or value in the cache, which has the precision of the weights: two bytes on a GPU."""

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
            "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len")  # fmt: skip
"""Under which names models write their longest sequence; the smallest counts, and model_max_length before all, as in
vLLM 0.29 (transformers_utils/model_arch_config_convertor.py, derive_max_model_len_and_key)."""

_ALREADY_SCALED = ("su", "longrope", "llama3")
"""Kinds of rotary scaling with which the longest sequence in config.json is the scaled one (config/model.py)."""


_NO_WEIGHTS = ("training_args.bin", "optimizer.bin")
"""Files of a training, which vLLM does not load (model_executor/model_loader/weight_utils.py)."""


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
        TandemError: `source` is a folder that holds no model, or a file of the model is not what it should be.
    """
    folder = find_model(source) or _cached_folder(source)
    if folder is None:
        return ModelFiles()
    file = folder / "config.json"
    config = _read_object(file)
    # A model of text and images has the language model's settings in a section.
    text = config.get("text_config") or config
    weights = _weights_bytes(folder)
    try:
        return ModelFiles(
            weights,
            _max_positions(text),
            _kv_bytes_per_token(text),
            _names(config.get("architectures")),
            config.get("dtype") or config.get("torch_dtype") or text.get("dtype"),
        )
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise _unreadable(file, "has a value of the wrong kind") from error


def read_chat_templates(source: str) -> list[str]:
    """The chat templates of a model, that for chats first, from its folder or the local cache; empty without any.

    Raises:
        TandemError: a file of the model is not what it should be.
    """
    folder = find_model(source) or _cached_folder(source)
    if folder is None:
        return []
    files = [folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja"))]
    templates = [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]
    file = folder / "tokenizer_config.json"
    written = _read_object(file).get("chat_template") if file.is_file() else None
    named = written if isinstance(written, list) else [{"name": "default", "template": written}]
    templates += [
        str(each["template"])
        for each in sorted(filter(_is_object, named), key=lambda each: each.get("name") != "default")
        if each.get("template")
    ]
    return templates


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _read_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _unreadable(file, "is no JSON object")
    return value


def _unreadable(file: Path, fault: str) -> TandemError:
    return TandemError(
        f"{file} {fault}.", "The file as the model's makers wrote it.", "Copy or download the model again."
    )


def _names(value: Any) -> tuple[str, ...]:
    names = value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("no list of names")
    return tuple(names)


def _cached_folder(source: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _weights_bytes(folder: Path) -> int | None:
    """The size of what vLLM 0.29 loads (model_executor/model_loader/default_loader.py), None where a part is not here.

    Those in Mistral's own format come first, then other safetensors, then the older files. Where an index names files
    only those are loaded: a folder may hold the same weights twice.
    """
    for pattern, index in (
        ("consolidated*.safetensors", "consolidated.safetensors.index.json"),
        ("*.safetensors", "model.safetensors.index.json"),
        ("*.bin", None),
    ):
        files = [file for file in folder.glob(pattern) if file.name not in _NO_WEIGHTS]
        if files and index and (folder / index).is_file():
            files = _indexed_files(folder / index)
        if files:
            return sum(file.stat().st_size for file in files) if all(file.is_file() for file in files) else None
    return None


def _indexed_files(index: Path) -> list[Path]:
    named = _read_object(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise _unreadable(index, "names no files of weights")
    return [index.parent / name for name in sorted(set(named.values()))]


def _max_positions(text: dict[str, Any]) -> int | None:
    """The longest sequence as vLLM 0.29 derives it, with the factor of rotary scaling (config/model.py,
    _get_and_verify_max_len)."""
    longest = min((text[name] for name in _LENGTHS if type(text.get(name)) is int), default=None)
    longest = text.get("model_max_length") or longest
    if longest is None:
        return None
    is_scaled = "gemma3" in (text.get("model_type") or "")
    scaling = {} if is_scaled else text.get("rope_scaling") or text.get("rope_parameters") or {}
    factor = 1.0
    # Models with several kinds of layers have an entry for each kind.
    for each in [part for part in scaling.values() if isinstance(part, dict)] or [scaling]:
        kind = each.get("rope_type") or each.get("type") or "default"
        if kind in _ALREADY_SCALED:
            continue
        factor = each.get("factor") or factor
        if kind == "yarn":
            before = text.get("original_max_position_embeddings") or each.get("original_max_position_embeddings")
            longest = before or text.get("max_position_embeddings") or longest
    return int(1.0 * longest * factor)


def _kv_bytes_per_token(text: dict[str, Any]) -> int | None:
    """Keys and values of every layer; one compressed vector for each layer of a model with latent attention.

    A model in which only some layers keep all tokens (windows, linear attention) takes less.
    """
    layers, heads = (text.get(name) for name in ("num_hidden_layers", "num_attention_heads"))
    layers, heads = layers or text.get("n_layer"), heads or text.get("n_head")
    if not layers or not heads:
        return None
    if rank := text.get("kv_lora_rank"):
        # A float: a text in the file is an error then, and not repeated.
        return int(1.0 * layers * (rank + text.get("qk_rope_head_dim", 0)) * BYTES_PER_VALUE)
    size = text.get("head_dim") or (text.get("hidden_size") or text.get("n_embd") or 0) // heads
    each = text.get("num_key_value_heads") or heads
    # Some models write the number of each layer.
    return int(2.0 * (sum(each) if isinstance(each, list) else 1.0 * layers * each) * size * BYTES_PER_VALUE)
