"""The base model with a LoRA adapter around its layers, and how packed rows go through it."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from cluster.errors import TandemError
from training import attention
from training.config import TrainingConfig
from training.packing import MicroBatch

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def load_model(model: str, config: TrainingConfig, device: torch.device) -> Any:
    """The base model (a folder or a hub id) in the training's number format, frozen, with a fresh seeded adapter.

    Raises:
        TandemError: the weights cannot be loaded, or the model has no layers of the names in `target_modules`.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    base = _load_base(model, config, device)
    set_seed(config.seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=config.target_modules,
        task_type="CAUSAL_LM",
    )
    try:
        # The optimizer keeps the fp32 copy: the adapter itself is in the format that it is served in.
        return get_peft_model(base, lora, autocast_adapter_dtype=False).to(device).train()
    except ValueError as error:
        raise TandemError(
            f"No adapter can be put on {config.target_modules!r} ({error}).",
            f"`all-linear`, or names of layers such as {', '.join(_linear_names(base))}.",
            "Set `training.target_modules`.",
        ) from error


def answer_logits(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Logits in fp32 for the answers' tokens alone, [num_answers, vocabulary]; the other places are never computed."""
    options: dict[str, Any] = {}
    if _attention_of(model) == attention.NAME:
        options["row_groups"] = attention.group_rows(batch.row_starts)
    output = model(
        input_ids=batch.token_ids,
        position_ids=batch.positions,
        logits_to_keep=batch.predicts_from,
        use_cache=False,
        **options,
    )
    logits: torch.Tensor = output.logits[0].float()
    return logits


def answer_losses(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Negative log-likelihood of each answer token in nats, [num_answers]."""
    return cross_entropy(answer_logits(model, batch), batch.answers, reduction="none")


def save_adapter(model: Any, state: dict[str, torch.Tensor], base_model: str, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json as PEFT and vLLM load them."""
    model.peft_config["default"].base_model_name_or_path = base_model
    model.save_pretrained(folder, state_dict=state, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    # PEFT writes a set in any order; sorted, the same training gives the same files.
    settings["target_modules"] = sorted(settings["target_modules"])
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def served_dtype(model: str) -> torch.dtype:
    """The format that vLLM serves this base in by default: its own, and bf16 instead of fp32."""
    from transformers import AutoConfig

    stored = AutoConfig.from_pretrained(model).get_text_config().dtype
    return torch.float16 if stored == torch.float16 else torch.bfloat16


def set_threads(workers_here: int) -> None:
    """Share this machine's cores between the workers on it."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers_here))


def _load_base(model: str, config: TrainingConfig, device: torch.device) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register()
    try:
        return AutoModelForCausalLM.from_pretrained(
            model,
            dtype=DTYPES[config.precision],
            attn_implementation=_attention_for(AutoConfig.from_pretrained(model), device),
        )
    except (OSError, ValueError) as error:
        raise TandemError(
            f"The model {model} cannot be loaded ({str(error).splitlines()[0]}).",
            "A causal language model with its weights, in a folder or on the hub.",
            "Set `model` in the project file.",
        ) from error


def _linear_names(base: Any) -> list[str]:
    linear = {name.split(".")[-1] for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)}
    return sorted(linear - {"lm_head"})


def _attention_for(config: Any, device: torch.device) -> str:
    from transformers.utils import is_flash_attn_2_available

    text = config.get_text_config()
    if device.type == "cuda" and is_flash_attn_2_available():
        return "flash_attention_2"
    windowed = "sliding_attention" in (getattr(text, "layer_types", None) or [])
    # Elsewhere transformers builds the block mask from the positions: right for windows and soft caps, but slow.
    return "sdpa" if windowed or getattr(text, "attn_logit_softcapping", None) else attention.NAME


def _attention_of(model: Any) -> str:
    name: str = getattr(model, "module", model).config._attn_implementation
    return name
