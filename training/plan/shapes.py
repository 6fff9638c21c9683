"""How large a model and its adapter are, counted from the model's configuration: no weight is loaded."""

import re
from dataclasses import dataclass
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig


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

    @property
    def frozen(self) -> int:
        return self.total - self.trained


def read_model_shapes(config: TrainingConfig, model: Any) -> ModelShapes:
    """The shapes of a training.

    Args:
        model: a folder or hub id, or a transformers configuration.

    Raises:
        TandemError: there is no such configuration, or no layers of the names in `target_modules`.
    """
    architecture = _read_architecture(model) if isinstance(model, str) else model
    base = _build_without_weights(architecture)
    head = base.get_output_embeddings()
    linear = {
        name: widths
        for name, module in base.named_modules()
        if module is not head and (widths := _linear_widths(module))
    }
    num_base = sum(int(parameter.numel()) for parameter in base.parameters())
    targets = [] if config.method == "full" else _adapter_targets(linear, config.target_modules)
    trained = _num_trained(base, targets, config, num_base)
    text = architecture.get_text_config()
    heads = text.num_attention_heads
    head_width = getattr(text, "head_dim", None) or text.hidden_size // heads
    weights = [inputs * outputs for inputs, outputs in linear.values()]
    return ModelShapes(
        total=num_base if config.method == "full" else num_base + trained,
        trained=trained,
        quantized=0 if config.method == "full" else sum(weights),
        largest_layer=max(weights),
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        queries=heads * head_width,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * head_width,
        adapter_inputs=sum(inputs for inputs, _ in targets),
        adapter_outputs=sum(outputs for _, outputs in targets),
        num_adapters=len(targets),
    )


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


def _build_without_weights(architecture: Any) -> Any:
    """The model without memory for its weights."""
    # PyTorch takes a second to load; importing this module must not.
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(architecture)


def _linear_widths(module: Any) -> tuple[int, int] | None:
    """Inputs and outputs of a linear layer (GPT-2's Conv1D is one too); None for other modules."""
    import torch

    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":
        inputs, outputs = module.weight.shape
        return int(inputs), int(outputs)
    return None


def _adapter_targets(linear: dict[str, tuple[int, int]], target_modules: str | list[str]) -> list[tuple[int, int]]:
    if target_modules == "all-linear":
        return list(linear.values())
    if isinstance(target_modules, str):
        targets = [widths for name, widths in linear.items() if re.fullmatch(target_modules, name)]
    else:
        targets = [
            widths
            for name, widths in linear.items()
            if any(_has_name(name, module_name) for module_name in target_modules)
        ]
    if targets:
        return targets
    raise TandemError(
        f"The model has no linear layers of the name {target_modules!r}.",
        f"`all-linear`, or names such as {', '.join(sorted({name.split('.')[-1] for name in linear}))}.",
        "Set `training.target_modules`.",
    )


def _num_trained(base: Any, targets: list[tuple[int, int]], config: TrainingConfig, num_base: int) -> int:
    if config.method == "full":
        return num_base
    low_rank = sum(config.rank * (inputs + outputs) for inputs, outputs in targets)
    magnitudes = sum(outputs for _, outputs in targets) if config.method == "dora" else 0
    saved = sum(
        int(parameter.numel())
        for name, module in base.named_modules()
        if any(_has_name(name, module_name) for module_name in config.modules_to_save)
        for parameter in module.parameters()
    )
    return low_rank + magnitudes + saved


def _has_name(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith(f".{suffix}")
