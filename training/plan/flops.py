"""How much arithmetic a training takes, and which share of a device's peak that is (MFU)."""

import re

from training.plan.shapes import ModelShapes

# Peak dense 16-bit FLOP/s (bf16 with fp32 accumulation), without sparsity.
# docs/decisions/031-arithmetic.md has the sources. All words of a key are words of the device's name; the first key
# that fits counts, so special models stand before general ones.
_PEAK_FLOPS: dict[str, float] = {
    "GB300": 2500e12,
    "B300": 2250e12,
    "GB200": 2500e12,
    "B200": 2250e12,
    "GH200": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800 PCIe": 756e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "A30": 165e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "A10G": 70e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX PRO 6000 Blackwell Workstation": 503.8e12,
    "RTX 6000 Ada": 364.2e12,
    "RTX A6000": 154.8e12,
    "RTX 5090": 209.5e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
    "MI300X": 1307.4e12,
    "MI325X": 1307.4e12,
}
# A part of a GPU (MIG, a virtual GPU such as A10-24Q), or a slower one of the same name.
_NOT_THE_WHOLE = re.compile(
    r"\bMIG\b|\bGRID\b|-\d+[ABCQ]\b|\b(Laptop|Mobile|Max-Q)\b|\bRTX [345]090 (D|Ti)\b", re.IGNORECASE
)


def step_flops(shapes: ModelShapes, num_tokens: int, num_answers: int, objective: str = "sft") -> int:
    """Floating-point operations that a model's own arithmetic takes for these tokens in one training step.

    Two per weight forward, two for the gradients of activations, and two for those of each trained weight
    (arXiv:2001.08361, section 2.1). A token is multiplied with the experts that it goes to and with no others; an
    embedding is looked up; the output head sees the answers' tokens alone. As MFU is defined (arXiv:2204.02311,
    appendix B), activations that are computed again do not count. The scores of attention are left out: they matter
    only where rows are much longer than the model is wide.

    Args:
        num_tokens: tokens that go through the layers.
        num_answers: tokens whose logits are computed.
        objective: `training.objective`. DPO passes every token through the base model as well; KTO does so too, and
            passes as many tokens of mismatched pairs through both without gradients.
    """
    layers = 4 * (shapes.active + shapes.active_adapter) + 2 * shapes.active_trained
    head = (6 if shapes.is_head_trained else 4) * shapes.head
    through_base, through_both = (objective in ("dpo", "kto")), objective == "kto"
    layers += 2 * shapes.active * through_base + 2 * (2 * shapes.active + shapes.active_adapter) * through_both
    head += 2 * shapes.head * through_base + 4 * shapes.head * through_both
    return layers * num_tokens + head * num_answers


def mfu(num_flops: float, seconds: float, num_devices: int, device_name: str, precision: str) -> float | None:
    """Share of the devices' peak that arithmetic of `num_flops` in `seconds` makes up; None where it is not known.

    Args:
        device_name: as `torch.cuda.get_device_name()` gives it.
        precision: of the weights: `bf16` or `fp32`.
    """
    peak = peak_flops(device_name, precision)
    return None if peak is None else num_flops / seconds / num_devices / peak


def peak_flops(device_name: str, precision: str = "bf16") -> float | None:
    """Peak dense FLOP/s of a device by its name; None where `why_no_mfu` gives a reason."""
    if precision != "bf16" or _NOT_THE_WHOLE.search(device_name):
        return None
    words = set(re.split(r"[ _/-]+", device_name.lower()))
    return next((peak for name, peak in _PEAK_FLOPS.items() if words.issuperset(name.lower().split())), None)


def why_no_mfu(device_name: str, precision: str) -> str | None:
    """Why no MFU is recorded on a device, in words; None where it is recorded."""
    if peak_flops(device_name, precision) is not None:
        return None
    if precision != "bf16":
        return f"MFU is not recorded: it is a share of the 16-bit peak, and this trains in {precision} on {device_name}"
    return f"MFU is not recorded: the peak of {device_name} is not known"
