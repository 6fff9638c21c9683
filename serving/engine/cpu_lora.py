"""Adapters on a CPU: two matrix products per adapter in the batch.

vLLM 0.29 gathers a copy of the adapter's matrices for every token (a tenth of the base model's speed on two cores), and
indexes the last slot for tokens without an adapter (-1), so that a base request that shares a batch with a full set
of adapters would be answered by one of them. The engine's worker imports this module by `worker_extension_cls`.
"""

from typing import Any

import torch
from torch.nn.functional import linear
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms.cpu import CpuPlatform

Group = tuple[int, torch.Tensor | None]


class GroupedLora:
    """Names this module to vLLM's worker; importing it is what counts."""


class GroupedPunicaWrapper(PunicaWrapperCPU):  # type: ignore[misc]
    """Applies adapters to `[tokens, in]`, one adapter of the batch after the other."""

    token_groups: list[Group]
    sampler_groups: list[Group]

    def update_metadata(self, mapping: Any, lora_index_to_id: Any, max_loras: int, vocab_size: int, **_: Any) -> None:
        """Called by vLLM before each step with the adapter of every token."""
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
        self.token_groups = group_rows(self.token_lora_indices)
        self.sampler_groups = group_rows(self.sampler_indices)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,
    ) -> None:
        """y[:, slice] += (x @ A.T) @ B.T * scale; A is `[slots, 1, rank, in]`, B is `[slots, 1, out, rank]`."""
        rows_in, rows_out = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        for slot, rows in self.token_groups:
            part = rows_in if rows is None else rows_in[rows]
            offset = 0
            for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                delta = linear(linear(part, a[slot, 0]), b[slot, 0])
                _add(rows_out[:, offset : offset + size], rows, delta, scale)
                offset += size

    def add_lora_embedding(
        self, y: torch.Tensor, x: torch.Tensor, lora_b_stacked: torch.Tensor, add_inputs: bool = True, **_: Any
    ) -> None:
        """y += x @ B.T; x is what A's embedding gave, `[tokens, rank]`."""
        assert add_inputs, "vLLM adds to the base model's embedding"
        for slot, rows in self.token_groups:
            part = x if rows is None else x[rows]
            _add(y, rows, linear(part.to(y.dtype), lora_b_stacked[slot, 0].to(y.dtype)), 1.0)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **_: Any,
    ) -> None:
        """y += (x @ A.T) @ B.T * scale for the rows that are sampled from."""
        for slot, rows in self.sampler_groups:
            part = x if rows is None else x[rows]
            delta = linear(linear(part, lora_a_stacked[slot, 0]), lora_b_stacked[slot, 0]).to(y.dtype)
            _add(y[:, : delta.shape[1]], rows, delta, scale)


def group_rows(indices: torch.Tensor) -> list[Group]:
    """(slot, its rows) for each slot in `indices`, -1 meaning none; rows None where one slot has them all."""
    slots = indices.unique().tolist()
    if len(slots) == 1 and slots[0] >= 0:
        return [(slots[0], None)]
    return [(slot, (indices == slot).nonzero(as_tuple=True)[0]) for slot in slots if slot >= 0]


def _add(target: torch.Tensor, rows: torch.Tensor | None, delta: torch.Tensor, scale: float) -> None:
    delta = delta[:, : target.shape[1]]
    if rows is None:
        target.add_(delta, alpha=scale)
    else:
        target.index_add_(0, rows, delta, alpha=scale)


CpuPlatform.get_punica_wrapper = classmethod(lambda cls: f"{__name__}.{GroupedPunicaWrapper.__name__}")
