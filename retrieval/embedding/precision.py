"""In which number format documents are embedded, decided from what they are embedded on."""

from typing import TYPE_CHECKING, Any, Literal

from cluster.hardware import Hardware

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["stored", "bf16"]
"""`stored`: as the model's files hold its weights. `bf16`: the transformer in bfloat16, the rest as stored."""


def choose_precision(
    configured: Literal["auto", "stored", "bf16"], built: Precision | None, hardware: Hardware
) -> Precision:
    """The precision of a collection's documents; all of its vectors are made in one, wherever that is.

    Args:
        configured: `retrieval.embedding_precision`.
        built: that of the collection as it is; None where there is none yet, or it has another model.
        hardware: what documents are embedded on. A GPU without bf16 computes as stored: fp16 would be as fast, and
            models whose activations leave its range would give wrong vectors without a word.
    """
    if configured != "auto":
        return configured
    if built is not None:
        return built
    return "bf16" if hardware.kind == "gpu" and hardware.has_bf16 else "stored"


def compute_in_bf16(transformer: "nn.Module") -> None:
    """Have a transformer with weights in fp32 compute in bf16, and hand on its output in fp32: pooling and scaling to
    length one lose nothing more. One that is stored in 16 bits stays as it is."""
    import torch

    if next(transformer.parameters()).dtype != torch.float32:
        return
    transformer.to(torch.bfloat16)
    transformer.register_forward_hook(_hand_on_in_fp32)


def _hand_on_in_fp32(module: "nn.Module", inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {
        name: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in features.items()
    }
