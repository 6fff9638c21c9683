"""Which attention keeps packed rows apart: the fastest that is right for a model on a device, and why."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from cluster.hardware import Gpu
from training.config import TrainingConfig
from training.model.attention import PACKED_ATTENTION, VARLEN_ATTENTION

_FIRST_CAPABILITY = (8, 0)
_MAX_HEAD_DIM = 256
# Flash attention in torch trains no heads of these sizes on these GPUs (ATen/native/transformers/cuda/sdp_utils.cpp).
_UNTRAINED_HEAD_DIMS = range(193, 225)
_SMALL_GPUS = {(8, 6), (8, 9), (12, 0), (12, 1)}


@dataclass(frozen=True)
class AttentionChoice:
    """The name that transformers knows an attention by, and sentences for the run's record.

    `is_fallback` says that a faster one exists, and the reason why it is not used.
    """

    name: str
    reason: str
    is_fallback: bool = False


@dataclass(frozen=True)
class _Traits:
    """What a model asks of its attention, and what transformers says of the model's code."""

    windows: bool
    """A token does not see all of the tokens before it in the longest row."""

    caps: bool
    other_kinds: bool
    head_dims: tuple[int, ...]
    takes_ours: bool
    """The model calls an attention by its name and hands it its window: so do those that take flash attention."""

    takes_sdpa: bool
    takes_flex: bool


def choose_attention(model_config: Any, config: TrainingConfig, gpu: Gpu | None) -> AttentionChoice:
    """The attention of a training, a pure function of the model's configuration, the settings and the GPU.

    Args:
        model_config: the model's configuration in transformers.
        gpu: the GPU of a worker; None where workers run on a CPU.
    """
    traits = _read_traits(model_config, config.sequence_length)
    unsupported = _kernel_obstacle(traits, config, gpu)
    if unsupported is None:
        return AttentionChoice(VARLEN_ATTENTION, "Attention runs in torch's variable-length kernel.")
    obstacle = _packed_obstacle(traits)
    why = f" torch's variable-length kernel is not used because {unsupported}." if gpu else ""
    if obstacle is None:
        return AttentionChoice(PACKED_ATTENTION, "Attention runs over groups of rows of like length." + why, bool(gpu))
    slow = "whose time grows with the square of the tokens of a pack"
    if traits.takes_sdpa and not traits.caps:
        name, how = "sdpa", f"with a mask over the whole pack, {slow}"
    elif gpu and traits.takes_flex:
        name, how = "flex_attention", "in torch's flex_attention, which is compiled at the first step"
    else:
        name, how = "eager", f"with a mask over the whole pack and all scores in memory, {slow}"
    why = why if unsupported != obstacle else ""
    return AttentionChoice(name, f"Attention runs {how}, because {obstacle}.{why}", is_fallback=True)


def find_attention(model: str, config: TrainingConfig, device: torch.device) -> AttentionChoice:
    """The choice for a model (a folder or a hub id) on the device of this process."""
    from transformers import AutoConfig

    return choose_attention(AutoConfig.from_pretrained(model), config, describe_gpu(device))


def describe_gpu(device: torch.device) -> Gpu | None:
    """The GPU behind a device; None for a CPU."""
    if device.type != "cuda":
        return None
    found = torch.cuda.get_device_properties(device)
    return Gpu(found.name, found.total_memory, (found.major, found.minor))


def _kernel_obstacle(traits: _Traits, config: TrainingConfig, gpu: Gpu | None) -> str | None:
    """Why torch's variable-length kernel cannot run this; None where it can."""
    if gpu is None:
        return "the workers run on a CPU"
    if config.precision != "bf16":
        return "it does not compute in fp32"
    if gpu.capability != (0, 0) and gpu.capability < _FIRST_CAPABILITY:
        return f"{gpu.name} has the compute capability {gpu.capability[0]}.{gpu.capability[1]}, and it needs 8.0"
    if lacks := _missing_parameters():
        return f"that of torch {torch.__version__} has no {' and no '.join(lacks)}"
    for size in traits.head_dims:
        if size > _MAX_HEAD_DIM or size % 8:
            return f"it does not take heads of {size} numbers"
        if gpu.capability in _SMALL_GPUS and size in _UNTRAINED_HEAD_DIMS:
            return f"it does not train heads of {size} numbers on {gpu.name}"
    return _limits_obstacle(traits)


def _packed_obstacle(traits: _Traits) -> str | None:
    """Why plain causal attention row by row is not what this model needs; None where it is."""
    if traits.windows:
        return "the model's tokens see a window that is shorter than the longest row"
    return _limits_obstacle(traits)


def _limits_obstacle(traits: _Traits) -> str | None:
    """What a model asks for that neither of our attentions can do."""
    if traits.caps:
        return "the model caps its attention scores"
    if not traits.takes_sdpa:
        return "the model's attention has parts of its own, such as sinks"
    if traits.other_kinds:
        return "some layers of the model have another attention than full or sliding"
    return None if traits.takes_ours else "transformers lets the model run its own attention only"


def _missing_parameters() -> list[str]:
    """Parameters that torch's variable-length attention lacks in this version of torch."""
    from torch.nn.attention.varlen import varlen_attn

    return sorted({"window_size", "enable_gqa", "scale"} - inspect.signature(varlen_attn).parameters.keys())


def _read_traits(model_config: Any, length: int) -> _Traits:
    from transformers import AutoModelForCausalLM

    text = model_config.get_text_config()
    model = AutoModelForCausalLM._model_mapping.get(type(model_config), None)
    flags = model[0] if isinstance(model, tuple) else model
    # Where attributes differ from layer to layer, each layer has a configuration of its own.
    layers = list(text.per_layer_config) if getattr(text, "is_heterogeneous", False) else [text]
    kinds = set(getattr(text, "layer_types", None) or ["sliding_attention"])
    windows = [window for layer in layers if (window := getattr(layer, "sliding_window", None)) is not None]
    return _Traits(
        windows="sliding_attention" in kinds and min(windows, default=length) < length,
        caps=any(getattr(layer, "attn_logit_softcapping", None) for layer in layers),
        other_kinds=bool(kinds - {"sliding_attention", "full_attention"}),
        head_dims=tuple(sorted({size for layer in layers for size in _head_dims(layer)})),
        takes_ours=bool(getattr(flags, "_supports_flash_attn", False))
        and bool(getattr(flags, "_supports_attention_backend", False)),
        takes_sdpa=bool(getattr(flags, "_supports_sdpa", False)),
        takes_flex=bool(getattr(flags, "_supports_flex_attn", False)),
    )


def _head_dims(layer: Any) -> list[int]:
    """The sizes of heads; where those of values have another than those of queries and keys, the larger of the two."""
    names = ("qk_head_dim", "v_head_dim", "head_dim", "global_head_dim")
    sizes = [size for name in names if (size := getattr(layer, name, None))]
    if getattr(layer, "qk_nope_head_dim", None):
        sizes = [layer.qk_nope_head_dim + layer.qk_rope_head_dim, layer.v_head_dim]
    if not sizes and getattr(layer, "num_attention_heads", None):
        sizes = [layer.hidden_size // layer.num_attention_heads]
    return [max(sizes)] if getattr(layer, "v_head_dim", None) else sizes
