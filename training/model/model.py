"""The model that is trained, as it is loaded: its base, its attention and its adapter."""

from typing import Any

import torch
from safetensors import SafetensorError

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.model import attention
from training.model.attention import apply_liger
from training.model.attention_choice import find_attention
from training.model.lora import add_adapter, four_bit_config

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def load_model(model: str, config: TrainingConfig, device: torch.device) -> Any:
    """The base model (a folder or a hub id) in the training's number format, ready to train.

    With `method: full` every weight is trained; with the others the base is frozen, with a fresh seeded adapter around
    it. Inside `deepspeed_engine.sharded_loading` each worker holds its share of the base only.

    Raises:
        TandemError: the weights cannot be loaded, or the model has no layers of the names in `target_modules` or
            `modules_to_save`.
    """
    from transformers import set_seed

    base = _load_base(model, config, device)
    _restore_rotary_frequencies(base)
    apply_liger(base, config, device)
    set_seed(config.seed)
    trained = base if config.method == "full" else add_adapter(base, config)
    if config.gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return trained.to(device).train()


def set_worker_threads(num_local_workers: int) -> None:
    """Share the cores that this node may use, a pod's limit counted, between the workers on it."""
    from joblib import cpu_count

    torch.set_num_threads(max(1, int(cpu_count()) // num_local_workers))


def _load_base(model: str, config: TrainingConfig, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM

    attention.register_attentions()
    dtype = DTYPES[config.precision]
    quantization = {"quantization_config": four_bit_config(dtype)} if config.method == "qlora" else {}
    try:
        return AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype,
            attn_implementation=find_attention(model, config, device).name,
            **place_weights(config, device),
            **quantization,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise TandemError(
            f"The model {model} cannot be loaded ({str(error).splitlines()[0]}).",
            "A causal language model with its weights, in a folder or on the hub.",
            "Set `model` in the project file.",
        ) from error


def place_weights(config: TrainingConfig, device: torch.device) -> dict[str, Any]:
    """Where transformers puts weights as it reads them: straight on a GPU, so that no worker holds the model in main
    memory. ZeRO-3 places its shares itself."""
    return {"device_map": {"": device}} if device.type == "cuda" and config.zero_stage != 3 else {}


def _restore_rotary_frequencies(base: Any) -> None:
    """Compute rotary frequencies anew in fp32 where ZeRO-3 rounded them, as it does with every tensor it sees made."""
    for module in base.modules():
        rounded = any(buffer.is_floating_point() and buffer.dtype != torch.float32 for buffer in module.buffers())
        if rounded and "RotaryEmbedding" in type(module).__name__:
            module.float()
            base._init_weights(module)
