"""How large a model and its adapter are, counted from the model's configuration: no weight is loaded."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.model.architecture import check_architecture
from training.model.targets import (
    AdaptedLayer,
    expert_weights,
    find_targets,
    linear_layers,
    router_layers,
    saved_modules,
)
from training.model.text_path import unreached_parts


@dataclass(frozen=True)
class ModelShapes:
    """Numbers of parameters, and the widths that activations follow from."""

    total: int
    """All parameters, an adapter's with them; tied embeddings once."""

    trained: int
    """Parameters with a gradient."""

    quantized: int
    """Frozen weights of linear layers but the output head: those that QLoRA keeps in 4 bits."""

    largest_layer: int
    """Weights of the largest linear layer but the head."""

    hidden: int
    intermediate: int
    """Width inside the feed-forward that a token goes through: of its experts and those that all tokens share together,
    the mean over layers."""

    layers: int
    vocabulary: int

    queries: int
    """Width of all attention heads together."""

    keys: int
    """Width of all key heads together, which is that of the values too."""

    adapter_inputs: int
    """Width of the inputs of all layers with an adapter, summed over the model."""

    adapter_outputs: int
    """Width of their outputs, summed over the model."""

    num_adapters: int
    active: int
    """Weights that each token is multiplied with: those of linear layers but the output head, and of experts the share
    that a token goes to; no embeddings, no adapter."""

    active_adapter: int
    """The same of the adapter."""

    active_trained: int
    """Of both, those with a gradient."""

    head: int
    """Weights of the output head, which only answer tokens are multiplied with."""

    is_head_trained: bool
    adapter: int = 0
    """Parameters of the low-rank matrices: without modules that are trained whole."""

    largest_width: int = 0
    """The widest input or output of a layer with an adapter."""

    experts: int = 0
    """Weights of all experts."""

    routed: int = 0
    """Experts that a token goes to in a layer, the mean over layers."""

    adapted_experts: int = 0
    """Weights of experts with an adapter. PEFT adds the adapter to a copy of these weights in every forward pass."""

    stored_size: int = 4
    """Bytes per parameter of the base as its files hold it, which a merged result is written in."""

    left_out: tuple[str, ...] = ()
    """Layers that `all-linear` gives no adapter: experts, routers, and layers that PEFT takes for experts."""

    unknown_names: tuple[str, ...] = ()
    """Names in `target_modules` that nothing in the model has; PEFT passes over them."""

    unreached: tuple[str, ...] = ()
    """Parts of the model that no gradient reaches; their layers get no adapter."""

    @property
    def frozen(self) -> int:
        return self.total - self.trained


def read_model_shapes(config: TrainingConfig, model: Any) -> ModelShapes:
    """The shapes of a training.

    Args:
        model: a folder or hub id, or a transformers configuration.

    Raises:
        TandemError: there is no such configuration, no layers of the names in `target_modules` or `modules_to_save`, or
            a layer that cannot have an adapter.
    """
    architecture = _read_architecture(model) if isinstance(model, str) else model
    check_architecture(architecture, config)
    base = _build_without_weights(architecture)
    text = architecture.get_text_config()
    linear, experts, is_full = linear_layers(base), expert_weights(base), config.method == "full"
    targets = None if is_full else find_targets(base, config)
    layers = targets.layers if targets else ()
    saved = {} if is_full else saved_modules(base, config.modules_to_save)
    num_base = sum(int(parameter.numel()) for parameter in base.parameters())
    trainable = sum(int(parameter.numel()) for parameter in base.parameters() if parameter.requires_grad)
    unreached = unreached_parts(base)
    if is_full:
        _check_weight_decay(unreached, config)
    trained = trainable if is_full else _num_trained(layers, saved, config)
    reached = {name: widths for name, widths in linear.items() if not _is_inside(name, unreached)}
    active = _active_weights(base, reached, experts, text)
    low_rank = sum(round(layer.num_parameters * _share(layer.num_experts, text)) for layer in layers)
    head = base.get_output_embeddings()
    heads = _num_heads(text)
    head_width = _mean_over_layers(text, "head_dim") or text.hidden_size // heads
    weights = [inputs * outputs for inputs, outputs in linear.values()]
    return ModelShapes(
        total=num_base if is_full else num_base + trained,
        trained=trained,
        quantized=0 if is_full else sum(weights),
        largest_layer=max(weights),
        hidden=text.hidden_size,
        intermediate=_feed_forward_width(linear, experts, text),
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        queries=heads * head_width,
        keys=(_mean_over_layers(text, "num_key_value_heads") or heads) * head_width,
        adapter_inputs=sum(layer.inputs for layer in layers),
        adapter_outputs=sum(layer.outputs for layer in layers),
        num_adapters=len(layers),
        active=sum(active.values()),
        active_adapter=low_rank,
        active_trained=sum(active.values())
        if is_full
        else low_rank + sum(size for name, size in active.items() if _is_inside(name, saved)),
        head=int(head.weight.numel()) if head is not None else 0,
        is_head_trained=is_full or any(module is head for module in saved.values()),
        adapter=sum(layer.num_parameters for layer in layers),
        largest_width=max((width for layer in layers for width in (layer.inputs, layer.outputs)), default=0),
        experts=sum(num * inputs * outputs for num, inputs, outputs in experts.values()),
        routed=round(len(_moe_blocks(experts)) * (experts_per_token(text) or 1) / text.num_hidden_layers),
        adapted_experts=sum(_num_weights(experts, layer) for layer in layers),
        stored_size=_stored_size(text),
        left_out=targets.left_out if targets else (),
        unknown_names=targets.unknown_names if targets else (),
        unreached=unreached if is_full else targets.unreached if targets else (),
    )


def adapter_notes(shapes: ModelShapes) -> list[str]:
    """What a reader of `target_modules` would not expect, a sentence each."""
    notes = []
    if shapes.left_out:
        notes.append(
            f"`all-linear` gives no adapter to {', '.join(shapes.left_out)}: these are experts, routers, or layers "
            "that PEFT takes for experts"
        )
    if shapes.unreached:
        parts = dict.fromkeys(re.sub(r"^.*?\.\d+\.", "", part) for part in shapes.unreached)
        notes.append(f"no gradient of a row of text reaches {', '.join(parts)}: what is there is not trained")
    if shapes.unknown_names:
        notes.append(f"`target_modules` names {', '.join(shapes.unknown_names)}, which the model does not have")
    return notes


def experts_per_token(text: Any) -> int | None:
    """How many experts a router sends a token to, by the text model's configuration; None where it does not say."""
    for name in ("num_experts_per_tok", "moe_topk", "moe_top_k", "moe_k", "top_k_experts"):
        number = getattr(text, name, None)
        if number:
            return int(max(number) if isinstance(number, list | tuple) else number)
    return None


def _mean_over_layers(text: Any, name: str) -> int | None:
    """A width of the text model's layers, the mean where they differ; None where the configuration does not say."""
    layers = list(text.per_layer_config) if getattr(text, "is_heterogeneous", False) else [text]
    values = [value for layer in layers if (value := getattr(layer, name, None))]
    values = [each for value in values for each in (value if isinstance(value, list | tuple) else [value])]
    return round(sum(values) / len(values)) if values else None


def _num_heads(text: Any) -> int:
    heads = getattr(text, "num_attention_heads", None)
    if not heads:
        raise TandemError(
            f"The model is of type {text.model_type}, which has no attention.",
            "A transformer whose only way from token to token is attention.",
            "Set `model` to such a model.",
        )
    return int(heads)


def _read_architecture(model: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise TandemError(
            f"The model {model} has no configuration that can be read ({str(error).splitlines()[0]}).",
            "A causal language model in a folder or on the hub.",
            "Set `model` in the project file.",
        ) from error


def _stored_size(text: Any) -> int:
    """Bytes per parameter, as config.json says; the most that a base has where it says nothing."""
    return text.dtype.itemsize if text.dtype is not None else 4


def _build_without_weights(architecture: Any) -> Any:
    """The model without memory for its weights."""
    # PyTorch takes a second to load; importing this module must not.
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(architecture)


def _check_weight_decay(parts: tuple[str, ...], config: TrainingConfig) -> None:
    """Weights without a gradient stay as they are, but for weight decay."""
    if parts and config.weight_decay:
        raise TandemError(
            f"No gradient of a row of text reaches {', '.join(parts)} in this model, and with `method: full` a "
            f"`weight_decay` of {config.weight_decay:g} would shrink the weights there in every step.",
            "`weight_decay: 0` for a model with parts for images or sound, or an adapter method.",
            "Set `training.weight_decay: 0` or `training.method: lora`.",
        )


def _num_trained(layers: tuple[AdaptedLayer, ...], saved: dict[str, Any], config: TrainingConfig) -> int:
    """Parameters with a gradient beside frozen weights: an adapter's, and the modules that are trained whole."""
    low_rank = sum(layer.num_parameters for layer in layers)
    magnitudes = sum(layer.outputs for layer in layers) if config.method == "dora" else 0
    copies = sum(int(parameter.numel()) for module in saved.values() for parameter in module.parameters())
    return low_rank + magnitudes + copies


def _active_weights(
    base: Any, linear: dict[str, tuple[int, int]], experts: dict[str, tuple[int, int, int]], text: Any
) -> dict[str, int]:
    """Weights that each token is multiplied with, by the name of their layer."""
    active = {}
    for name, (inputs, outputs) in linear.items():
        active[name] = round(inputs * outputs * _share(_num_in_list(name, linear), text))
    for name, (num_experts, inputs, outputs) in experts.items():
        active[name] = round(num_experts * inputs * outputs * _share(num_experts, text))
    for name in router_layers(base) - linear.keys():
        weights = base.get_submodule(name).named_parameters(recurse=False)
        active[name] = sum(int(weight.numel()) for weight_name, weight in weights if weight_name == "weight")
    return active


def _feed_forward_width(linear: dict[str, tuple[int, int]], experts: dict[str, tuple[int, int, int]], text: Any) -> int:
    hidden, num_layers = int(text.hidden_size), int(text.num_hidden_layers)
    dense = _mean_over_layers(text, "intermediate_size") or 4 * hidden
    if not experts:
        return dense
    # What comes back to the model's width from inside a feed-forward: experts, shared experts, and layers without any.
    blocks = _moe_blocks(experts)
    inner = sum(num * inputs * _share(num, text) for num, inputs, outputs in experts.values() if outputs == hidden)
    shared = sum(
        inputs
        for name, (inputs, outputs) in linear.items()
        if outputs == hidden and any(name.startswith(f"{block}.") for block in blocks)
    )
    num_dense = max(0, num_layers - len(blocks))
    return round((inner + shared + num_dense * dense) / num_layers)


def _moe_blocks(experts: dict[str, tuple[int, int, int]]) -> set[str]:
    """The modules that hold experts with their router and what all tokens share."""
    return {name.rsplit(".", 2)[0] for name in experts}


def _share(num_experts: int | None, text: Any) -> float:
    """The share of a layer's experts that a token goes to; all of them where the configuration does not say."""
    chosen = experts_per_token(text)
    return min(1.0, chosen / num_experts) if num_experts and num_experts > 1 and chosen else 1.0


def _num_in_list(name: str, linear: dict[str, tuple[int, int]]) -> int | None:
    """How many experts stand beside the one that a linear layer belongs to; None for a layer of no expert."""
    found = re.match(r"(.*\.experts)\.\d+\.(.*)", name)
    if found is None:
        return None
    beside = re.compile(rf"{re.escape(found[1])}\.\d+\.{re.escape(found[2])}")
    return sum(beside.fullmatch(other) is not None for other in linear)


def _num_weights(experts: dict[str, tuple[int, int, int]], layer: AdaptedLayer) -> int:
    """The weights under an adapter that PEFT adds to a copy of them; none for a linear layer's adapter."""
    if layer.num_experts is None:
        return 0
    num_experts, inputs, outputs = experts.get(layer.name, (1, layer.inputs, layer.outputs))
    return num_experts * inputs * outputs


def _is_inside(name: str, modules: Iterable[str]) -> bool:
    return any(name == outer or name.startswith(f"{outer}.") for outer in modules)
