"""Whether a base model's weights can be trained: not where they are stored quantized."""

from cluster.errors import TandemError
from cluster.fingerprints.models import read_quantization


def check_base_weights(model: str) -> None:
    """Read from the model's config.json whether it is quantized; loads no weight and starts nothing.

    Raises:
        TandemError: it is, by whatever method; or the model cannot be found.
    """
    if method := read_quantization(model):
        raise TandemError(
            f"The weights of {model} are stored quantized ({method}), and training computes gradients in bf16 or fp32.",
            "A base model whose weights are stored in bf16, fp16 or fp32.",
            "Set `model` to the model that this one was made from. If its weights do not fit the GPU, set `training."
            "method: qlora`, which quantizes them while they are loaded. To serve the adapter on the quantized copy, "
            "name the copy in `serving.models` and the original in `serving.copy_of`.",
        )
