"""Trained weights on disk: an adapter as PEFT loads it, or a whole model as transformers and vLLM load it.

merge("Qwen/Qwen3-0.6B", Path("adapter"), Path("merged"))
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from training.data.templates.learnt_ends import GENERATION_CONFIG

_MAX_SHARD_SIZE = "5GB"


def save_adapter(model: Any, state: dict[str, torch.Tensor], base_model: str, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json as PEFT and vLLM load them.

    Args:
        state: the trained weights by name, whole, as `deepspeed_engine.trained_weights` gives them.
    """
    model.peft_config["default"].base_model_name_or_path = base_model
    # By default PEFT asks the hub whether the vocabulary has grown; nothing here makes it grow.
    model.save_pretrained(folder, state_dict=state, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    # PEFT writes a set in any order; sorted, the same training gives the same files.
    if isinstance(settings["target_modules"], list):
        settings["target_modules"] = sorted(settings["target_modules"])
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def save_full(model: Any, state: dict[str, torch.Tensor], base_model: str, folder: Path) -> None:
    """Write a whole model in the base's own number format: weights (in files of up to 5 GB), config.json,
    generation_config.json, tokenizer and chat template.

    Args:
        model: a transformers model; its own weights are not read, so with ZeRO-3 they may lie in shares.
        state: its weights by name, whole; a tied one once. They are taken out of it.
        base_model: the folder or hub id that the tokenizer and the number format are taken from.
    """
    from transformers import AutoTokenizer, GenerationConfig
    from transformers.utils import cached_file

    dtype = stored_dtype(base_model)
    # Taken out one by one: a second copy of a whole model would not be needed.
    weights = {name: _cast(state.pop(name), dtype) for name in list(state)}
    generation = cached_file(base_model, "generation_config.json", _raise_exceptions_for_missing_entries=False)
    if generation:
        # Copied as it is: transformers refuses to write some of those that are published.
        model.generation_config = GenerationConfig()
    model.save_pretrained(folder, state_dict=weights, max_shard_size=_MAX_SHARD_SIZE)
    if generation:
        shutil.copyfile(generation, folder / "generation_config.json")
    AutoTokenizer.from_pretrained(base_model).save_pretrained(folder)
    path = folder / "config.json"
    settings = _set_dtype(json.loads(path.read_text()), next(iter(weights.values())).dtype)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def merge_adapter(base_model: str, adapter: Path, folder: Path) -> None:
    """Add a LoRA or DoRA adapter, with its modules that were trained whole, to the weights of its base.

    Runs on the CPU and holds the base once, in its own number format; each layer is added to in fp32. The main memory
    that it takes is the bytes of the base, those of the modules that were trained whole, and a few times the largest
    layer in fp32.

    Args:
        base_model: a folder or hub id.
        adapter: a folder that `save_adapter` wrote.
        folder: where the whole model is written, as `save_full` does it.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(base_model, dtype="auto")
    dtype = base.dtype
    model = PeftModel.from_pretrained(base, adapter, autocast_adapter_dtype=False)
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.float()
            layer.merge(safe_merge=True)
            layer.to(dtype)
    with warnings.catch_warnings():
        # It says that the layers are merged already, and that tied embeddings are not tied any more: both are meant.
        warnings.simplefilter("ignore")
        merged = model.merge_and_unload()
    save_full(merged, merged.state_dict(), base_model, folder)
    if (adapter / GENERATION_CONFIG).exists():  # with the ends that the training taught
        shutil.copyfile(adapter / GENERATION_CONFIG, folder / GENERATION_CONFIG)


def stored_dtype(model: str) -> torch.dtype | None:
    """The number format that a model's config names for its weights, if it names one."""
    from transformers import AutoConfig

    dtype: torch.dtype | None = AutoConfig.from_pretrained(model).get_text_config().dtype
    return dtype


def _cast(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _set_dtype(settings: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """transformers writes the format that the model was trained in, also into the parts of a nested config."""
    name = str(dtype).removeprefix("torch.")
    nested = {key: _set_dtype(value, dtype) for key, value in settings.items() if isinstance(value, dict)}
    return {**settings, **nested, **({"dtype": name} if "dtype" in settings else {})}
