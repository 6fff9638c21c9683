"""The model that is trained, how packed rows go through it, and a check that no row of a pack reaches the next."""

from typing import Any

import torch
from safetensors import SafetensorError

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.model import attention
from training.model.attention import apply_liger
from training.model.attention_choice import find_attention
from training.model.lora import add_adapter, four_bit_config
from training.model.loss import answer_losses, evaluating, noise

_EQUAL_LOSSES = 1e-4
_NUM_OTHER_ROWS = 4
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


def check_rows_stay_apart(model: Any, rows: Examples, name: str, device: torch.device) -> None:
    """Change the first row of a pack and see that the second one's losses stay.

    What stands behind a row reaches it in no model, so that the first row's losses with other second rows say whether
    the losses stay to the bit. Where they do not, as where experts get other numbers of tokens and round otherwise, the
    second row's may change by as much as a number may be rounded and four times what the first row's changed by.

    Raises:
        TandemError: they do not stay, as in a recurrent model, or where transformers masks no rows for a model.
    """
    if len(rows) < 2:
        return
    shortest = sorted(range(len(rows)), key=lambda row: rows.row_lengths[row])[:2]
    batch = make_micro_batch(rows, tuple(shortest)).to(device)
    first, last = slice(0, int(batch.row_starts[1])), slice(int(batch.row_starts[-2]), int(batch.row_starts[-1]))
    tokens = batch.token_ids[0, -_NUM_OTHER_ROWS:]
    with evaluating(model), torch.no_grad():
        rounding = float(torch.stack([_loss_changes(model, batch, last, token)[1].amax() for token in tokens]).max())
        losses, changes = _loss_changes(model, batch, first, tokens[-1])
    limit = torch.full_like(losses, _EQUAL_LOSSES)
    if rounding > _EQUAL_LOSSES / 10:
        limit += noise(model) * (1 + losses.abs()) + 4 * rounding
    if bool((changes > limit).any()):
        raise TandemError(
            f"In {name} a row of a pack reaches the row behind it.",
            "A transformer whose only way from token to token is attention, and which tells rows apart by positions.",
            "Set `model` to such a model, or `training.packing: false`.",
        )


def _loss_changes(
    model: Any, batch: MicroBatch, changed: slice, token: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses outside some tokens of a pack, and by how much each changes when all those become `token`."""
    other = batch.with_tokens(batch.token_ids.clone())
    other.token_ids[:, changed] = token
    before, after = (answer_losses(model, each) for each in (batch, other))
    outside = (batch.predicts_from < changed.start) | (batch.predicts_from >= changed.stop)
    return before[outside], (after - before).abs()[outside]


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
