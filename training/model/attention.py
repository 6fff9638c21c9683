"""Causal attention over packed rows: each row attends to itself only.

On a GPU that has torch's variable-length attention, `VARLEN_ATTENTION` gives it the borders of the rows, once a batch.

Elsewhere, in `PACKED_ATTENTION`, rows of like length are laid out as one padded batch for the attention alone;
everything else runs on the packed tokens. The padding comes after each row, where causal attention never looks, so no
mask is needed and the fast kernels apply.

`training.model.attention_choice` chooses. `apply_liger` puts Liger's fused kernels into the model.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from training.config import TrainingConfig
from training.data.micro_batch import MicroBatch

PACKED_ATTENTION = "tandem_packed"
VARLEN_ATTENTION = "tandem_varlen"
# Up to this length plain matrix products beat the fused kernel on CPU, above all its backward pass (2.5 to 8 times).
_MAX_UNFUSED_LENGTH = 128
_MAX_PADDING_FACTOR = 1.5
# Arguments by which models of transformers ask for more than causal attention: soft caps, sinks, biases, chosen tokens.
_LIMITS = ("softcap", "s_aux", "position_bias", "indices", "block_indices")


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


@dataclass(frozen=True)
class SequenceBorders:
    """Where the sequences of a batch begin and end, all its rows laid end to end.

    `starts` [num_sequences + 1] is int32 and lies on the batch's device; `max_length` is the longest sequence's tokens.
    """

    starts: torch.Tensor
    max_length: int


def register_attentions() -> None:
    """Make both attentions known to transformers under their names."""
    from torch.nn.attention.varlen import varlen_attn
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED_ATTENTION, packed_attention)
    AttentionInterface.register(VARLEN_ATTENTION, VarlenAttention(varlen_attn))


def attention_arguments(name: str, batch: MicroBatch) -> dict[str, Any]:
    """What a model is called with, beside the tokens, so that the attention of this name knows a batch's sequences."""
    if name == VARLEN_ATTENTION:
        return {"sequences": SequenceBorders(batch.row_starts.to(torch.int32), batch.max_length)}
    if name == PACKED_ATTENTION and len(batch.token_ids) == 1:
        return {"row_groups": group_rows(batch.row_starts)}
    return {}


@dataclass(frozen=True)
class VarlenAttention:
    """Attention in the form that transformers calls it, by a kernel of the signature of torch's `varlen_attn`."""

    kernel: Callable[..., torch.Tensor]

    def __call__(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        sequences: SequenceBorders | None = None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        **others: Any,
    ) -> tuple[torch.Tensor, None]:
        """Tensors and result as in `packed_attention`. A window of n is the token itself and the n - 1 before it."""
        assert sequences is not None, "a batch of sequences must come with their borders"
        _check_arguments(attention_mask, others)
        # The kernel takes values as wide as keys: zeros behind them change nothing, as in multi-head latent attention.
        width = max(query.shape[-1], value.shape[-1])
        tokens = (
            pad(heads, (0, width - heads.shape[-1])).transpose(1, 2).flatten(0, 1) for heads in (query, key, value)
        )
        output = self.kernel(
            *tokens, sequences.starts, sequences.starts, sequences.max_length, sequences.max_length,
            scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
            # torch knows causal attention by this very tuple.
            window_size=(-1, 0) if sliding_window is None else (sliding_window - 1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        return output[..., : value.shape[-1]].unflatten(0, (len(query), -1)), None


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    row_groups: tuple[RowGroup, ...] = (),
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the form that transformers calls it.

    Args:
        query: [batch, num_heads, num_tokens, head_dim]; key and value may have fewer heads.
        row_groups: from `group_rows`, for a batch of one pack; without them each row of the batch is one sequence.
        sliding_window: at least the longest sequence, so that it changes nothing.
        others: what other attentions take; attention weights are not dropped.

    Returns:
        [batch, num_tokens, num_heads, head_dim], and no weights.
    """
    _check_arguments(attention_mask, others)
    longest = max((group.length for group in row_groups), default=query.shape[2])
    assert sliding_window is None or sliding_window >= longest, "a window needs another attention"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if not row_groups:
        return _causal_attention(query, key, value, scale).transpose(1, 2).contiguous(), None
    tokens = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    outputs = []
    for group in row_groups:
        q, k, v = (_pad_rows(tensor[group.start : group.end], group) for tensor in tokens)
        outputs.append(_unpad_rows(_causal_attention(q, k, v, scale), group))
    return torch.cat(outputs)[None], None


def apply_liger(model: Any, config: TrainingConfig, device: torch.device) -> None:
    """Replace norms, rotary positions and gated layers by Liger's Triton kernels, on a GPU where they are installed.

    Its fused cross entropy is left out: `training.model.loss` saves the same memory for every head.
    """
    if not config.liger or device.type != "cuda" or importlib.util.find_spec("liger_kernel") is None:
        return
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)


def _check_arguments(attention_mask: torch.Tensor | None, others: dict[str, Any]) -> None:
    """Refuse what would make of plain causal attention another one; the rest is for other attentions."""
    limits = sorted(name for name in _LIMITS if others.get(name) is not None)
    limits += ["attention_mask"] if attention_mask is not None else []
    limits += ["is_causal"] if others.get("is_causal") is False else []
    assert not limits, f"attention with {', '.join(limits)} needs transformers' own attention"


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
