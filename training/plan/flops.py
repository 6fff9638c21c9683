"""How much arithmetic a training takes, and which share of a device's peak that is (MFU)."""

# Peak dense 16-bit FLOP/s (bf16; fp16 on V100 and T4, which have no bf16), from NVIDIA's data sheets without sparsity.
# The first key that is part of the device's name counts, so longer names stand before shorter ones.
_PEAK_FLOPS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
}


def mfu(num_parameters: int, num_trained: int, tokens_per_s: float, device_name: str) -> float | None:
    """Share of one device's peak that the model's own arithmetic makes up; None where the peak is not known.

    Args:
        num_parameters: all parameters of the model, an adapter's with them.
        num_trained: those that get a gradient.
        tokens_per_s: useful tokens per second and device.
        device_name: as `torch.cuda.get_device_name()` gives it.
    """
    peak = peak_flops(device_name)
    return None if peak is None else flops_per_token(num_parameters, num_trained) * tokens_per_s / peak


def flops_per_token(num_parameters: int, num_trained: int, with_reference: bool = False) -> int:
    """Floating-point operations per token of one training step.

    Two per weight forward, two for the gradients of activations, and two for those of each trained weight
    (arXiv:2001.08361, section 2.1). As MFU is defined (arXiv:2204.02311, appendix B), activations that are computed
    again do not count. The scores of attention are left out: they matter only where rows are much longer than the
    model is wide.

    Args:
        with_reference: DPO passes every token through the reference as well.
    """
    return (6 if with_reference else 4) * num_parameters + 2 * num_trained


def peak_flops(device_name: str) -> float | None:
    """Peak dense 16-bit FLOP/s of a device by its name; None where it is not known."""
    words = f" {device_name.replace('-', ' ')} "
    return next((peak for name, peak in _PEAK_FLOPS.items() if f" {name} " in words), None)
