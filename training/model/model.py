"""The model that is trained, how packed rows go through it, and a check that no row of a pack reaches the next."""

from typing import Any

import torch
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.model import attention
from training.model.attention import apply_liger, choose_attention
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


def answer_logits(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Logits in fp32 for the answers' tokens alone, [num_answers, vocabulary]; other logits are never computed."""
    num_rows, length = batch.token_ids.shape
    options: dict[str, Any] = {}
    if num_rows == 1 and _attention_name(model) == attention.PACKED_ATTENTION:
        options["row_groups"] = attention.group_rows(batch.row_starts)
    # Padded rows are asked for the columns that any of them answers in.
    columns = batch.predicts_from if num_rows == 1 else (batch.predicts_from % length).unique()
    output = model(
        input_ids=batch.token_ids,
        position_ids=batch.positions,
        logits_to_keep=columns,
        use_cache=False,
        **options,
    )
    logits: torch.Tensor = output.logits[0]
    if num_rows > 1:
        own_columns = torch.searchsorted(columns, batch.predicts_from % length)
        logits = output.logits[batch.predicts_from // length, own_columns]
    return logits.float()


def answer_losses(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Negative log-likelihood of each answer token in nats, [num_answers]."""
    return cross_entropy(answer_logits(model, batch), batch.answers, reduction="none")


def check_rows_stay_apart(model: Any, rows: Examples, name: str, device: torch.device) -> None:
    """Change the first row of a pack and see that the second one's losses stay.

    Raises:
        TandemError: they do not, as in a recurrent model.
    """
    if len(rows) < 2:
        return
    shortest = sorted(range(len(rows)), key=lambda row: rows.row_lengths[row])[:2]
    batch = make_micro_batch(rows, tuple(shortest)).to(device)
    end = int(batch.row_starts[1])
    num_first = int((batch.predicts_from < end).sum())
    changed = batch.with_tokens(batch.token_ids.clone())
    changed.token_ids[:, :end] = batch.token_ids[:, -1:]
    with torch.no_grad():
        before, after = (answer_losses(model, variant)[num_first:] for variant in (batch, changed))
    if not torch.allclose(before, after, atol=1e-4):
        raise TandemError(
            f"In {name} a row of a pack reaches the row behind it.",
            "A transformer whose only way from token to token is attention.",
            "Set `model` to such a model, or `training.packing: false`.",
        )


def set_worker_threads(num_local_workers: int) -> None:
    """Share the cores that this node may use, a pod's limit counted, between the workers on it."""
    from joblib import cpu_count

    torch.set_num_threads(max(1, int(cpu_count()) // num_local_workers))


def _load_base(model: str, config: TrainingConfig, device: torch.device) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_packed_attention()
    dtype = DTYPES[config.precision]
    quantization = {"quantization_config": four_bit_config(dtype)} if config.method == "qlora" else {}
    try:
        return AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype,
            attn_implementation=choose_attention(AutoConfig.from_pretrained(model), config, device),
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


def _attention_name(model: Any) -> str:
    name: str = getattr(model, "module", model).config._attn_implementation
    return name
