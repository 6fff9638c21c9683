"""Adapters beside frozen weights: LoRA, DoRA and QLoRA through PEFT, and the methods that this hardware refuses."""

import importlib.util
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.model.targets import find_targets, linear_layer_names, saved_modules

# PyTorch takes a second to load; importing this module must not.
if TYPE_CHECKING:
    import torch


def check_method(config: TrainingConfig, has_cuda: bool) -> None:
    """Refuse a method that cannot run, before any worker starts.

    Args:
        has_cuda: whether the workers have CUDA GPUs.

    Raises:
        TandemError: 4-bit weights without a GPU, without bitsandbytes, or with ZeRO-3.
    """
    if config.method != "qlora":
        return
    if not has_cuda or importlib.util.find_spec("bitsandbytes") is None:
        missing = "the package bitsandbytes is not installed" if has_cuda else "the workers have no CUDA GPU"
        raise TandemError(
            f"`method: qlora` keeps the frozen weights in 4 bits, and {missing}.",
            "CUDA GPUs with bitsandbytes, which `pip install 'tandem[gpu]'` brings; or another method.",
            "Set `training.method: lora`.",
        )
    if config.zero_stage == 3:
        raise TandemError(
            "`method: qlora` with `zero_stage: 3`: weights in 4 bits cannot be cut into the workers' shares.",
            "`zero_stage` 0 to 2 or `auto` with `qlora`; ZeRO-3 with every other method.",
            "Set `training.zero_stage: 2`, or `training.method: lora`.",
        )


def add_adapter(base: Any, config: TrainingConfig) -> Any:
    """Freeze a base model and put a fresh adapter around its layers, drawn from torch's generator.

    Raises:
        TandemError: the model has no layers of the names in `target_modules` or `modules_to_save`, or they cannot have
            an adapter, or the adapter is on the output head, which cannot be checked where it is served.
    """
    from peft import LoraConfig, get_peft_model

    saved_modules(base, config.modules_to_save)
    targets = find_targets(base, config)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_dora=config.method == "dora",
        target_modules=targets.target_modules,
        target_parameters=targets.target_parameters or None,
        exclude_modules=targets.exclude_modules,
        modules_to_save=config.modules_to_save or None,
        task_type="CAUSAL_LM",
    )
    try:
        # The optimizer keeps the fp32 copy: the adapter itself is in the format that it is served in.
        return get_peft_model(base, settings, autocast_adapter_dtype=False)
    except ValueError as error:
        raise TandemError(
            f"No adapter can be put on {config.target_modules!r} ({error}).",
            f"`all-linear`, or names of layers such as {', '.join(linear_layer_names(base))}.",
            "Set `training.target_modules`.",
        ) from error


def four_bit_config(dtype: "torch.dtype") -> Any:
    """QLoRA's storage of frozen weights (arXiv:2305.14314): nf4 with double quantization, computed with in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
