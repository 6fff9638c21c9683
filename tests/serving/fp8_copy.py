"""A copy of a model in 8-bit floating point, in the format of compressed-tensors that vLLM's CPU loads too."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

LARGEST = torch.finfo(torch.float8_e4m3fn).max
SIDE = {"num_bits": 8, "type": "float", "symmetric": True}
QUANTIZATION = {
    "quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed",
    "ignore": ["lm_head"], "kv_cache_scheme": None, "global_compression_ratio": None,
    "config_groups": {"group_0": {
        "targets": ["Linear"], "weights": {**SIDE, "strategy": "channel", "dynamic": False},
        "input_activations": {**SIDE, "strategy": "token", "dynamic": True}, "output_activations": None,
    }},
}  # fmt: skip


def write_fp8_copy(model: Path, to: Path, noise: float = 0.0) -> Path:
    """The model with a scale for each output of its linear layers, which is what `llmcompressor` calls FP8_DYNAMIC.

    Args:
        noise: the deviation of what is added to each weight, as a part of the layer's own: no copy any more.
    """
    to.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, to / file.name)
    torch.manual_seed(0)
    tensors = {}
    for name, weight in load_file(model / "model.safetensors").items():
        tensors[name] = weight
        if name.endswith("proj.weight"):
            whole = weight.float() + noise * weight.float().std() * torch.randn(weight.shape)
            scale = whole.abs().amax(1, keepdim=True) / LARGEST
            tensors[name] = (whole / scale).to(torch.float8_e4m3fn)
            tensors[name.replace("weight", "weight_scale")] = scale.to(torch.bfloat16)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | {"quantization_config": QUANTIZATION}, indent=2))
    return to
