"""Causal attention over packed rows: each row attends to itself only.

Rows of like length are laid out as one padded batch for the attention alone; everything else runs on the packed tokens.
The padding comes after each row, where causal attention never looks, so no mask is needed and the fast kernels apply.
On GPUs with flash-attn its variable-length kernel does the same, and this attention is not used.

`attention_for` chooses the attention that a model runs with. `apply_liger` puts Liger's fused kernels into the model.
"""

import importlib.util
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from training.config import TrainingConfig

PACKED_ATTENTION = "tandem_packed"
# Up to this length plain matrix products beat the fused kernel on CPU, above all its backward pass (2.5 to 8 times).
_MAX_UNFUSED_LENGTH = 128
_MAX_PADDING_FACTOR = 1.5


@dataclass(frozen=True)
class RowGroup:
    """Neighbouring rows of like length: tokens `start` to `end` of the pack.

    `padded_positions` [end - start] says where each token stands in the padded [num_rows * length] layout.
    """

    start: int
    end: int
    num_rows: int
    length: int
    padded_positions: torch.Tensor


def group_rows(row_starts: torch.Tensor) -> tuple[RowGroup, ...]:
    """Group neighbouring rows of a pack, none padded beyond 64 tokens or half as much again."""
    starts = row_starts.tolist()
    lengths = [end - start for start, end in pairwise(starts)]
    groups, first = [], 0
    for row in range(1, len(lengths) + 1):
        together = lengths[first : row + 1]
        if row == len(lengths) or max(together) > max(64, _MAX_PADDING_FACTOR * min(together)):
            groups.append(_make_group(starts[first], lengths[first:row], row_starts.device))
            first = row
    return tuple(groups)


def register_packed_attention() -> None:
    """Make the attention known to transformers under `NAME`."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED_ATTENTION, packed_attention)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    row_groups: tuple[RowGroup, ...] = (),
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the form that transformers calls it.

    Args:
        query: [batch, num_heads, num_tokens, head_dim]; key and value may have fewer heads.
        row_groups: from `group_rows`, for a batch of one pack; without them each row of the batch is one sequence.

    Returns:
        [batch, num_tokens, num_heads, head_dim], and no weights.
    """
    assert attention_mask is None and softcap is None and s_aux is None, "this model needs transformers' attention"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if not row_groups:
        return _causal_attention(query, key, value, scale).transpose(1, 2), None
    tokens = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    outputs = []
    for group in row_groups:
        q, k, v = (_pad_rows(tensor[group.start : group.end], group) for tensor in tokens)
        outputs.append(_unpad_rows(_causal_attention(q, k, v, scale), group))
    return torch.cat(outputs)[None], None


def choose_attention(model_config: Any, config: TrainingConfig, device: torch.device) -> str:
    """The name of the attention that keeps packed rows apart, the fastest that is right for this model."""
    from transformers.utils import is_flash_attn_2_available

    text = model_config.get_text_config()
    if device.type == "cuda" and config.precision == "bf16" and is_flash_attn_2_available():
        return "flash_attention_2"
    # Elsewhere transformers builds the block mask from the positions: right for windows and soft caps, but slow.
    return "sdpa" if _limits_attention(text, config.sequence_length) else PACKED_ATTENTION


def apply_liger(model: Any, config: TrainingConfig, device: torch.device) -> None:
    """Replace norms, rotary positions and gated layers by Liger's Triton kernels, on a GPU where they are installed.

    Its fused cross entropy is left out: logits are computed for the answers' tokens alone, which saves the same memory.
    """
    if not config.liger or device.type != "cuda" or importlib.util.find_spec("liger_kernel") is None:
        return
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)


def _make_group(start: int, lengths: list[int], device: torch.device) -> RowGroup:
    length = max(lengths)
    padded_positions = torch.cat([torch.arange(row_length) + row * length for row, row_length in enumerate(lengths)])
    return RowGroup(start, start + sum(lengths), len(lengths), length, padded_positions.to(device))


def _pad_rows(tokens: torch.Tensor, group: RowGroup) -> torch.Tensor:
    """[num_tokens, heads, dim] -> [num_rows, heads, length, dim]."""
    padded = tokens.new_zeros(group.num_rows * group.length, *tokens.shape[1:]).index_copy(
        0, group.padded_positions, tokens
    )
    return padded.unflatten(0, (group.num_rows, group.length)).transpose(1, 2)


def _unpad_rows(padded: torch.Tensor, group: RowGroup) -> torch.Tensor:
    """[num_rows, heads, length, dim] -> [num_tokens, heads, dim]."""
    return padded.transpose(1, 2).flatten(0, 1)[group.padded_positions]


def _causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    length, repeats = query.shape[2], query.shape[1] // key.shape[1]
    key, value = (heads if repeats == 1 else heads.repeat_interleave(repeats, dim=1) for heads in (key, value))
    if query.device.type != "cpu" or length > _MAX_UNFUSED_LENGTH:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores = (query @ key.transpose(2, 3)).float() * scale
    return scores.masked_fill(future, float("-inf")).softmax(-1).to(value.dtype) @ value


def _limits_attention(text: Any, length: int) -> bool:
    """Whether a token attends to less than everything before it in a row of `length` tokens, or with capped scores."""
    if getattr(text, "attn_logit_softcapping", None):
        return True
    kinds = set(getattr(text, "layer_types", None) or ["sliding_attention"])
    window = getattr(text, "sliding_window", None)
    slides = "sliding_attention" in kinds and window is not None and window < length
    return slides or bool(kinds - {"sliding_attention", "full_attention"})
