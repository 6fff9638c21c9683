"""How much of a device's arithmetic a training uses: model FLOPs utilisation (MFU)."""

# Peak dense 16-bit FLOP/s (bf16; fp16 on V100 and T4, which have no bf16), from NVIDIA's data sheets without sparsity.
# The first key that is part of the device's name counts, so longer names stand before shorter ones.
_PEAKS = {
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

    The formula is that of PaLM, appendix B (arXiv:2204.02311), without its attention term: 2 FLOPs per parameter and
    token forward, 2 for the gradients of activations and 2 for those of weights, the last for trained weights only.
    What gradient checkpointing computes again does not count, as there.

    Args:
        num_parameters: all parameters of the model, an adapter's with them.
        num_trained: those that get a gradient.
        tokens_per_s: useful tokens per second and device.
        device_name: as `torch.cuda.get_device_name()` gives it.
    """
    peak = peak_flops(device_name)
    return None if peak is None else (4 * num_parameters + 2 * num_trained) * tokens_per_s / peak


def peak_flops(device_name: str) -> float | None:
    """Peak dense 16-bit FLOP/s of a device by its name; None where it is not known."""
    words = f" {device_name.replace('-', ' ')} "
    return next((peak for name, peak in _PEAKS.items() if f" {name} " in words), None)
