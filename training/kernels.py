"""Which attention a model runs with, and Liger's fused kernels where there are some for it."""

import importlib.util
from typing import Any

import torch

from training import attention
from training.config import TrainingConfig


def attention_for(model_config: Any, config: TrainingConfig, device: torch.device) -> str:
    """The name of the attention that keeps packed rows apart, the fastest that is right for this model."""
    from transformers.utils import is_flash_attn_2_available

    text = model_config.get_text_config()
    if device.type == "cuda" and config.precision == "bf16" and is_flash_attn_2_available():
        return "flash_attention_2"
    # Elsewhere transformers builds the block mask from the positions: right for windows and soft caps, but slow.
    return "sdpa" if _sees_less(text, config.sequence_length) else attention.NAME


def apply_liger(model: Any, config: TrainingConfig, device: torch.device) -> None:
    """Replace norms, rotary positions and gated layers by Liger's Triton kernels, on a GPU where they are installed.

    Its fused cross entropy is left out: logits are computed for the answers' tokens alone, which saves the same memory.
    """
    if not config.liger or device.type != "cuda" or importlib.util.find_spec("liger_kernel") is None:
        return
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)


def _sees_less(text: Any, length: int) -> bool:
    """Whether a token attends to less than everything before it in a row of `length` tokens, or with capped scores."""
    if getattr(text, "attn_logit_softcapping", None):
        return True
    kinds = set(getattr(text, "layer_types", None) or ["sliding_attention"])
    window = getattr(text, "sliding_window", None)
    slides = "sliding_attention" in kinds and window is not None and window < length
    return slides or bool(kinds - {"sliding_attention", "full_attention"})
