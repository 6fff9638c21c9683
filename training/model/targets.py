"""Which layers of a model get an adapter, found in the way that PEFT finds them, for the plan and for the trainer.

`all-linear` leaves out what decides which expert a token goes to (a router) and the experts: PEFT adapts an expert
through its weight, and forms the difference of all experts of a layer in every forward pass. They are adapted where
`target_modules` names them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.model.text_path import unreached_parts

_ROUTER_CLASS_WORDS = ("router", "gating")
# vLLM 0.29 reads adapters of experts in the form that PEFT writes for these models alone (`is_3d_moe_weight` in
# vllm/model_executor/models, among those that transformers loads for text). Of others it wants an adapter per expert.
_SERVED_EXPERTS = ("gpt_oss",)


@dataclass(frozen=True)
class AdaptedLayer:
    """A layer with an adapter: a linear layer, an embedding, or the weight of all experts of a layer together."""

    name: str
    inputs: int
    outputs: int
    rank: int
    num_experts: int | None = None
    """None where it is no weight of experts."""

    @property
    def num_parameters(self) -> int:
        """Values of its two low-rank matrices, those of every expert."""
        return self.rank * (self.inputs + self.outputs) * (self.num_experts or 1)


@dataclass(frozen=True)
class AdapterTargets:
    """What an adapter goes on."""

    target_modules: str | list[str]
    """PEFT's `target_modules`."""

    target_parameters: list[str]
    """PEFT's `target_parameters`: weights that no linear layer has."""

    layers: tuple[AdaptedLayer, ...]
    left_out: tuple[str, ...]
    """What `all-linear` leaves out, such as `mlp.experts`, without the numbers of layers."""

    unknown_names: tuple[str, ...] = ()
    """Names in `target_modules` that nothing in the model has."""

    unreached: tuple[str, ...] = ()
    """Parts of the model that no gradient reaches, which have layers that would have got an adapter."""

    @property
    def exclude_modules(self) -> str | None:
        """PEFT's `exclude_modules`."""
        return _pattern_inside(self.unreached)


def find_targets(base: Any, config: TrainingConfig) -> AdapterTargets:
    """The layers of `base` that get an adapter; the base may lie on torch's meta device.

    Raises:
        TandemError: no layer has the names in `target_modules`, PEFT cannot adapt one of them with these settings, or
            vLLM could not serve the result.
    """
    modules, parameters, left_out = _names_for_peft(base, config)
    settings = _settings_for_peft(base, config, modules, parameters)
    unreached = _parts_with_layers(base, settings)
    settings.exclude_modules = _pattern_inside(unreached)
    layers = (*_adapted_modules(base, settings), *_adapted_weights(base, settings))
    if not layers and unreached:
        raise TandemError(
            f"`target_modules: {config.target_modules!r}` names layers of {', '.join(unreached)} alone, which no "
            "gradient of a row of text reaches: they would be trained with nothing.",
            f"`all-linear`, or names of layers such as {', '.join(linear_layer_names(base))}.",
            "Set `training.target_modules` to layers of the language model.",
        )
    if not layers:
        raise TandemError(
            f"No layer of the model has a name in `target_modules: {config.target_modules!r}`.",
            f"`all-linear`, or names of layers such as {', '.join(linear_layer_names(base))}.",
            "Set `training.target_modules`.",
        )
    _check_experts(base, config, [layer for layer in layers if layer.num_experts is not None])
    _check_head(base, config, layers)
    unknown = _unknown_names(base, [] if isinstance(modules, str) else [*modules, *parameters])
    return AdapterTargets(modules, parameters, layers, left_out, unknown, unreached)


def linear_layers(base: Any) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every linear layer but the output head, by name; GPT-2's Conv1D is one too."""
    head = base.get_output_embeddings()
    return {
        name: widths
        for name, module in base.named_modules()
        if module is not head and (widths := _linear_widths(module))
    }


def linear_layer_names(base: Any) -> list[str]:
    """The last parts of their names, sorted."""
    return sorted({name.split(".")[-1] for name in linear_layers(base)})


def expert_weights(base: Any) -> dict[str, tuple[int, int, int]]:
    """Weights of all experts of a layer together, by name: experts, inputs and outputs."""
    weights = {}
    for name, module in base.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            shape = _shape(parameter)
            if len(shape) == 3 and shape[0] > 1 and "Conv" not in type(module).__name__:
                num_experts, first, second = shape
                is_transposed = getattr(module, "is_transposed", False)
                widths = (first, second) if is_transposed else (second, first)
                weights[f"{name}.{parameter_name}"] = (num_experts, *widths)
    return weights


def router_layers(base: Any) -> set[str]:
    """Linear layers and modules that choose a token's experts, or how much those that all tokens share count."""
    blocks = {weight.rsplit(".", 2)[0]: shape[0] for weight, shape in expert_weights(base).items()}
    if not blocks:
        return set()
    linear, classes = linear_layers(base), {name: type(module).__name__ for name, module in base.named_modules()}
    routers = set()
    for name, class_name in classes.items():
        parent = classes.get(name.rpartition(".")[0], "")
        is_router = any(word in each.lower() for each in (class_name, parent) for word in _ROUTER_CLASS_WORDS)
        block = next((num for block, num in blocks.items() if name.startswith(f"{block}.")), None)
        if name in linear and block is not None:
            is_router = is_router or linear[name][1] in (1, block)
        if is_router and (name in linear or _has_weight_matrix(base.get_submodule(name))):
            routers.add(name)
    return routers


def saved_modules(base: Any, names: list[str]) -> dict[str, Any]:
    """The modules that are trained whole beside an adapter, by name: PEFT compares the ends of names, not whole parts.

    Raises:
        TandemError: no module has one of these names, or PEFT cannot keep a copy of it.
    """
    import torch

    last_parts = {name.split(".")[-1] for name, _ in base.named_modules() if name}
    choices = f"Names of modules such as {', '.join(sorted(name for name in last_parts if not name.isdigit()))}."
    for name in names:
        if name.split(".")[-1] not in last_parts:
            raise TandemError(
                f"`modules_to_save` names {name}, which the model does not have.",
                choices,
                "Set `training.modules_to_save`.",
            )
    containers = (torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.ParameterList, torch.nn.ParameterDict)
    modules: dict[str, Any] = {}
    for name, module in base.named_modules(remove_duplicate=False):
        if not any(name.endswith(end) for end in names):
            continue
        outer = next((each for each in modules if name.startswith(f"{each}.")), None)
        if outer is not None or isinstance(module, containers):
            raise TandemError(
                f"`modules_to_save` names {name}, which is "
                + (f"a part of {outer}, and names that as well." if outer else "a list of modules."),
                choices,
                "Set `training.modules_to_save` to longer names, which one module each has.",
            )
        modules[name] = module
    return modules


def _names_for_peft(base: Any, config: TrainingConfig) -> tuple[str | list[str], list[str], tuple[str, ...]]:
    """What PEFT is given as modules and as weights, and what is left out of `all-linear`."""
    if config.target_modules == "all-linear":
        experts, routers = expert_weights(base), router_layers(base)
        if not experts:
            return "all-linear", [], ()
        kept = [name for name in linear_layers(base) if name not in routers and not _is_renamed(base, name)]
        renamed = {name for name in linear_layers(base) if name not in routers and _is_renamed(base, name)}
        left_out = {name.rpartition(".")[0] for name in experts} | routers | renamed
        return kept, [], tuple(sorted({re.sub(r"^.*?\.\d+\.", "", name) for name in left_out}))
    if isinstance(config.target_modules, str):
        return config.target_modules, [], ()
    modules: list[str] = []
    weights: list[str] = []
    module_names = [name for name, _ in base.named_modules()]
    parameter_names = [name for name, parameter in base.named_parameters() if len(_shape(parameter)) in (2, 3)]
    for name in config.target_modules:
        is_module = any(_has_name(each, name) for each in module_names) or _is_renamed(base, name)
        is_weight = any(_has_name(each, name) for each in parameter_names)
        (weights if is_weight and not is_module else modules).append(name)
    return modules, weights, ()


def _parts_with_layers(base: Any, settings: Any) -> tuple[str, ...]:
    """The parts that no gradient reaches and that hold layers which PEFT would adapt."""
    parts = unreached_parts(base)
    adapted = [layer.name for layer in _adapted_modules(base, settings)] if parts else []
    return tuple(part for part in parts if any(name == part or name.startswith(f"{part}.") for name in adapted))


def _pattern_inside(parts: tuple[str, ...]) -> str | None:
    """A pattern of the names of some modules and of all modules in them."""
    return rf"(.*\.)?({'|'.join(map(re.escape, parts))})(\..*)?" if parts else None


def _unknown_names(base: Any, names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    known = [name for name, _ in (*base.named_modules(), *base.named_parameters())]
    suffixes = {name[start:] for name in known for start in _starts(name)}
    experts = bool(expert_weights(base))
    return tuple(name for name in names if name not in suffixes and not (experts and _is_renamed(base, name)))


def _starts(name: str) -> list[int]:
    return [0, *(found.end() for found in re.finditer(r"\.", name))]


def _is_renamed(base: Any, name: str) -> bool:
    """Whether PEFT takes a layer's name for one that experts had before transformers 5 stacked their weights."""
    from peft.utils import transformers_weight_conversion as conversion
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    model_type = base.config.model_type
    if get_checkpoint_conversion_mapping(model_type) is None:
        return False
    pattern = conversion._MODEL_TO_CONVERSION_PATTERN.get(model_type)
    return name.rpartition(".")[2] in conversion._MOE_TARGET_MODULE_MAPPING.get(pattern, {})


def _settings_for_peft(base: Any, config: TrainingConfig, modules: str | list[str], parameters: list[str]) -> Any:
    """PEFT's settings after it has translated names of experts, ready to be compared with names of layers."""
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    if modules == "all-linear":
        modules = list(linear_layers(base))
    settings = LoraConfig(
        r=config.rank, target_modules=modules, target_parameters=parameters or None,
        modules_to_save=config.modules_to_save or None,
    )  # fmt: skip
    try:
        convert_peft_config_for_transformers(settings, base, None)
    except ValueError as error:
        raise TandemError(
            f"No adapter can be put on {config.target_modules!r} ({error}).",
            "The names of all weights that experts hold together, or of none.",
            "Set `training.target_modules`.",
        ) from error
    return settings


def _adapted_modules(base: Any, settings: Any) -> Iterator[AdaptedLayer]:
    import torch
    from peft.tuners.tuners_utils import check_target_module_exists

    if not settings.target_modules:
        return
    for name, module in base.named_modules():
        found = name and check_target_module_exists(settings, name)
        if found is not True and not isinstance(found, re.Match):
            continue
        widths = _linear_widths(module)
        if isinstance(module, torch.nn.Embedding):
            widths = module.num_embeddings, module.embedding_dim
        if widths is None or any(word in type(module).__name__.lower() for word in _ROUTER_CLASS_WORDS):
            raise TandemError(
                f"No adapter can be put on {name}, which is a {type(module).__name__}.",
                f"`all-linear`, or names of linear layers such as {', '.join(linear_layer_names(base))}.",
                "Set `training.target_modules`.",
            )
        yield AdaptedLayer(name, *widths, rank=settings.r)


def _adapted_weights(base: Any, settings: Any) -> Iterator[AdaptedLayer]:
    from peft.utils.other import get_pattern_key

    wanted = sorted(settings.target_parameters or [])
    for module_name, module in base.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            name = f"{module_name}.{parameter_name}"
            if not any(_has_name(name, end) for end in wanted):
                continue
            rank = settings.rank_pattern.get(get_pattern_key(settings.rank_pattern.keys(), name), settings.r)
            shape = _shape(parameter)
            num_experts = shape[0] if len(shape) == 3 else 1
            inputs, outputs = shape[-1], shape[-2]
            if len(shape) == 3 and getattr(module, "is_transposed", False):
                inputs, outputs = outputs, inputs
            yield AdaptedLayer(name, inputs, outputs, rank, num_experts)


def _check_experts(base: Any, config: TrainingConfig, experts: list[AdaptedLayer]) -> None:
    """Refuse adapters on weights that PEFT cannot make, and those that vLLM could not load."""
    if not experts:
        return
    names = ", ".join(sorted({re.sub(r"^.*?\.\d+\.", "", layer.name) for layer in experts}))
    for setting, is_set in (("method: dora", config.method == "dora"), ("dropout", config.dropout > 0)):
        if is_set:
            raise TandemError(
                f"`target_modules` names weights of experts or routers ({names}), and `{setting}` is set.",
                "`method: lora` or `qlora` without dropout: PEFT adapts such weights in no other way.",
                "Leave these names out of `training.target_modules`, or set `training.method: lora` with "
                "`training.dropout: 0`.",
            )
    stacked = [layer for layer in experts if (layer.num_experts or 1) > 1]
    if stacked and not config.modules_to_save and base.config.model_type not in _SERVED_EXPERTS:
        raise TandemError(
            f"`target_modules` names weights of experts ({names}), and vLLM cannot load their adapter for a model of "
            f"type {base.config.model_type}.",
            f"Adapters on experts for models of type {', '.join(_SERVED_EXPERTS)}; elsewhere a result that is "
            "published merged (`method: full`, or `modules_to_save` beside the adapter).",
            "Leave these names out of `training.target_modules`: `all-linear` does.",
        )
    if stacked and not config.modules_to_save:
        owners = {layer.name.rpartition(".")[0] for layer in stacked}
        alone = [owner for owner in owners if sum(layer.name.rpartition(".")[0] == owner for layer in stacked) < 2]
        if alone:
            raise TandemError(
                f"`target_modules` names {names} alone, and vLLM loads adapters of experts only where both of their "
                "weights have one.",
                "`experts.gate_up_proj` together with `experts.down_proj`.",
                "Name both in `training.target_modules`, or neither.",
            )


def _check_head(base: Any, config: TrainingConfig, layers: Sequence[AdaptedLayer]) -> None:
    """vLLM leaves the adapter of the output head out of a prompt's log-probabilities (vllm#51594), which are what the
    parity check asks for; a whole model has no such adapter."""
    is_merged = config.method == "dora" or bool(config.modules_to_save)
    if is_merged or config.parity_tolerance is None:
        return
    head = base.get_output_embeddings()
    if any(base.get_submodule(layer.name) is head for layer in layers if layer.num_experts is None):
        raise TandemError(
            f"`target_modules: {config.target_modules!r}` puts an adapter on the model's output head, which vLLM "
            "leaves out of the log-probabilities that the parity check compares: no version would ever go live.",
            "`all-linear`, or layers other than the output head; the head itself under `modules_to_save`, which is "
            "published as a whole model.",
            "Take the head out of `training.target_modules`, or set `training.parity_tolerance: null`, and the version "
            "goes live unchecked.",
        )


def _linear_widths(module: Any) -> tuple[int, int] | None:
    """Inputs and outputs of a linear layer (GPT-2's Conv1D is one too); None for other modules."""
    import torch

    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":
        inputs, outputs = _shape(module.weight)
        return int(inputs), int(outputs)
    return None


def _has_weight_matrix(module: Any) -> bool:
    return any(len(_shape(parameter)) == 2 for parameter in module.parameters(recurse=False))


def _shape(parameter: Any) -> tuple[int, ...]:
    """A parameter's shape, also where ZeRO-3 holds it in shares."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _has_name(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith(f".{suffix}")
