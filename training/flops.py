"""How many floating-point operations training takes, to say which share of a device's peak is used (MFU)."""


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
