"""Whether a kind of model can be trained at all, from its configuration alone: no weight is loaded."""

from collections.abc import Iterator
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig


def check_architecture(architecture: Any, config: TrainingConfig) -> None:
    """Refuse what transformers does not build as a causal language model, and positions that follow the longest row.

    Args:
        architecture: the model's configuration in transformers.

    Raises:
        TandemError: for these.
    """
    from transformers import AutoModelForCausalLM

    kind = architecture.model_type
    if architecture.is_encoder_decoder:
        raise TandemError(
            f"The model is of type {kind}, an encoder with a decoder: its answers follow from what the encoder reads, "
            "and rows of a causal language model have no part for it.",
            "A causal language model, which reads prompt and answer as one text.",
            "Set `model` to such a model; docs/architectures.md lists those that were tried.",
        )
    if type(architecture) not in AutoModelForCausalLM._model_mapping:
        raise TandemError(
            f"The model is of type {kind}, which transformers does not build as a causal language model.",
            "A causal language model. Some models for images and text are among them (Gemma 3), others are not "
            "(Qwen2-VL, LLaVA).",
            "Set `model` to such a model; docs/architectures.md lists those that were tried.",
        )
    for rope_type, length in _growing_positions(architecture.get_text_config()):
        is_alone = not config.packing and config.micro_batch_size == 1 and config.objective != "dpo"
        if config.sequence_length > length and not (rope_type == "longrope" and is_alone):
            raise TandemError(
                f"The model's rotary positions (`{rope_type}`) change for all rows of a batch as soon as one of them "
                f"has more than {length} tokens, and `sequence_length` is {config.sequence_length}: what a row learns "
                "would depend on the rows beside it.",
                f"Rows of up to {length} tokens"
                + (
                    "; longer ones where each row is computed alone, with `packing: false` and `micro_batch_size: 1`."
                    if rope_type == "longrope" and config.objective != "dpo"
                    else "."
                ),
                f"Set `training.sequence_length: {length}`.",
            )


def _growing_positions(text: Any) -> Iterator[tuple[str, int]]:
    """The kinds of rotary positions that follow the longest row of a batch, each with the tokens up to which it does
    not: `dynamic` keeps even what an earlier batch set (transformers.modeling_rope_utils)."""
    parameters = getattr(text, "rope_parameters", None) or {}
    for each in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        rope_type = each.get("rope_type")
        if rope_type in ("dynamic", "longrope"):
            length = each.get("original_max_position_embeddings") or text.max_position_embeddings
            yield rope_type, int(length)
