"""What comes out on machines that are described and not at hand: for LoRA and full training of an 8B model, and its
endpoint. Each row is the whole of what the hardware decides."""

from typing import Any

import pytest
from transformers import AutoConfig

from cluster.errors import TandemError
from serving.config import ServingConfig
from serving.deploy.serve_options import engine_options
from serving.engine.engine_args import engine_kwargs
from serving.engine.model_files import ModelFiles
from serving.engine.sharing import share_gpus
from tests.machines import MACHINES
from training.config import TrainingConfig
from training.model.attention_choice import choose_attention
from training.plan.deepspeed_config import deepspeed_config
from training.plan.placement import place_workers, resolve_workers, worker_environment
from training.run import resolve_auto_settings

LLAMA_8B = AutoConfig.for_model(
    "llama", dtype="bfloat16", hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=8, vocab_size=128256, max_position_embeddings=8192, architectures=["LlamaForCausalLM"],
)  # fmt: skip
FILES = ModelFiles(16 * 10**9, 8192, 131_072, ("LlamaForCausalLM",), "bfloat16")
EXPANDABLE = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
HIDDEN = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
VARLEN, PACKED = "tandem_varlen", "tandem_packed"


# LoRA: workers, backend, precision, ZeRO stage, offload, fused optimizer, attention, environment.
TRAINED: dict[str, tuple[Any, ...]] = {
    "1 x 24 GB": (1, "nccl", "bf16", 1, "none", True, VARLEN, EXPANDABLE),
    "1 x H200": (1, "nccl", "bf16", 1, "none", True, VARLEN, EXPANDABLE),
    "8 x H100": (8, "nccl", "bf16", 1, "none", True, VARLEN, EXPANDABLE),
    "2 x 8 x H100": (16, "nccl", "bf16", 1, "none", True, VARLEN, EXPANDABLE),
    "head over GPU nodes": (16, "nccl", "bf16", 1, "none", True, VARLEN, EXPANDABLE),
}


@pytest.mark.parametrize("machine", TRAINED)
def test_a_training(machine: str) -> None:
    hardware = MACHINES[machine]
    config = TrainingConfig(micro_batch_size=1, sequence_length=4096, gradient_checkpointing=True)
    settled, placement = resolve_auto_settings(config, LLAMA_8B, hardware)  # type: ignore[arg-type]
    section = deepspeed_config(settled, settled.workers.max, placement=placement)
    attention = choose_attention(LLAMA_8B, settled, hardware.smallest_gpu)
    assert (
        settled.workers.max, placement.backend, settled.precision, settled.zero_stage, settled.offload,
        section["optimizer"]["params"].get("fused", False), attention.name, worker_environment(placement, {}),
    ) == TRAINED[machine]  # fmt: skip
    assert section["bf16"]["enabled"]
    assert not attention.is_fallback


def test_a_training_without_gpus() -> None:
    hardware = MACHINES["no GPU"]
    tiny = AutoConfig.for_model("llama", hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=300)
    settled, placement = resolve_auto_settings(TrainingConfig(), tiny, hardware)  # type: ignore[arg-type]
    section = deepspeed_config(settled, settled.workers.max, placement=placement)
    attention = choose_attention(tiny, settled, None)
    assert (settled.workers.max, placement.backend, attention.name) == (2, "gloo", PACKED)
    assert section["optimizer"]["params"]["torch_adam"]
    assert "fused" not in section["optimizer"]["params"]
    assert worker_environment(placement, {}) == HIDDEN
    with pytest.raises(TandemError, match="GiB"):
        resolve_auto_settings(TrainingConfig(), LLAMA_8B, hardware)  # type: ignore[arg-type]


def test_a_training_before_the_first_gpu_node_is_up() -> None:
    """Its kind is decided, and no worker of it is placed on a CPU; stage and memory follow from the node that comes."""
    hardware = MACHINES["autoscaling to 4"]
    config = resolve_workers(TrainingConfig(), hardware)
    assert place_workers(config, hardware).kind == "gpu"
    with pytest.raises(TandemError, match="no GPU node is up"):
        resolve_auto_settings(config, LLAMA_8B, hardware)  # type: ignore[arg-type]


# Full training: stage and offload, or what lacks; with hierarchical ZeRO the size of its groups.
FULL: dict[str, tuple[int, str, int | None] | str] = {
    "1 x 24 GB": "main memory",
    "1 x H200": "main memory",
    "8 x H100": (1, "none", None),
    "2 x 8 x H100": (1, "none", None),
    "head over GPU nodes": (1, "none", None),
}


@pytest.mark.parametrize("machine", FULL)
def test_a_full_training(machine: str) -> None:
    settings = {"method": "full", "micro_batch_size": 1, "sequence_length": 4096, "gradient_checkpointing": True}
    expected = FULL[machine]
    if isinstance(expected, str):
        with pytest.raises(TandemError, match=expected):
            resolve_auto_settings(TrainingConfig(**settings), LLAMA_8B, MACHINES[machine])
        return
    settled, placement = resolve_auto_settings(TrainingConfig(**settings), LLAMA_8B, MACHINES[machine])
    zero = deepspeed_config(settled, settled.workers.max, placement=placement)["zero_optimization"]
    assert (settled.zero_stage, settled.offload, zero.get("zero_hpz_partition_size")) == expected
    assert zero.get("overlap_comm") is True
    three = settled.model_copy(update={"zero_stage": 3})
    zero = deepspeed_config(three, three.workers.max, placement=placement)["zero_optimization"]
    assert zero.get("zero_hpz_partition_size") == (8 if placement.num_nodes > 1 else None)


# The endpoint: bundle, batch, and whether two bases share a GPU.
SERVED: dict[str, tuple[dict[str, float], int, bool | str]] = {
    "no GPU": ({"CPU": 1}, 64, False),
    "1 x 24 GB": ({"CPU": 1, "GPU": 1}, 256, "GiB"),
    "1 x H200": ({"CPU": 1, "GPU": 1}, 1024, True),
    "8 x H100": ({"CPU": 1, "GPU": 1}, 1024, False),
    "2 x 8 x H100": ({"CPU": 1, "GPU": 1}, 1024, False),
    "head over GPU nodes": ({"CPU": 1, "GPU": 1}, 1024, False),
    "autoscaling to 4": ({"CPU": 1, "GPU": 1}, 256, False),
}


@pytest.mark.parametrize("machine", SERVED)
def test_an_endpoint(machine: str) -> None:
    config, hardware = ServingConfig(), MACHINES[machine]
    bundle, batch, shares_gpu = SERVED[machine]
    options = engine_options(config, hardware, "base")
    arguments = engine_kwargs(config, hardware, FILES.max_positions)
    assert options["placement_group_bundles"] == [bundle]
    assert arguments["max_num_seqs"] == batch
    assert arguments["max_model_len"] == (2048 if hardware.kind == "cpu" else -1)
    assert arguments.get("enforce_eager", False) == (hardware.kind == "cpu")
    assert arguments.get("worker_cls") == (None if hardware.kind == "cpu" else "serving.engine.gpu_worker.Worker")
    two = {"base": FILES, "tuned": FILES}
    if isinstance(shares_gpu, str):
        with pytest.raises(TandemError, match=shares_gpu):
            share_gpus(config, two, hardware)
        return
    parts = share_gpus(config, two, hardware)
    assert all(part.is_whole != shares_gpu for part in parts.values())
    assert sum(part.gpus for part in parts.values()) <= max(1, hardware.most_gpus) or hardware.kind == "cpu"
