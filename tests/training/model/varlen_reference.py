"""A short reference of torch's `varlen_attn`, which has no kernel for a CPU: every score, masked, in fp32."""

import torch


def varlen_attention(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
):
    """Arguments and result as in `torch.nn.attention.varlen.varlen_attn`; refuses what that kernel refuses."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32 and isinstance(max_q, int) and isinstance(max_k, int)
    assert window_size == (-1, 0) or (window_size[0] >= 0 and window_size[1] == 0), "not causal"
    assert query.shape[-1] == key.shape[-1] == value.shape[-1] and key.shape == value.shape
    lengths = cu_seq_q.diff()
    assert int(lengths.max()) == max_q == max_k and int(cu_seq_q[-1]) == len(query) == len(key)
    groups = query.shape[1] // key.shape[1]
    assert enable_gqa or groups == 1
    key, value = (heads.repeat_interleave(groups, dim=1) for heads in (key, value))
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    place = torch.arange(len(query))
    behind = place[:, None] - place
    seen = (sequence[:, None] == sequence) & (behind >= 0)
    if window_size[0] >= 0:
        seen &= behind <= window_size[0]
    scores = torch.einsum("qhd,khd->hqk", query.float(), key.float()) * (scale or query.shape[-1] ** -0.5)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value.float()).to(query.dtype)
