from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.plan_memory import BANDS, Compared, compare_all
from cluster.errors import TandemError
from tests.training.architectures import ARCHITECTURES
from training.config import TrainingConfig
from training.model.lora import add_adapter
from training.plan.memory import MemoryEstimate, checkpoint_bytes, estimate_memory, memory_setup, published_error_range
from training.plan.shapes import ModelShapes, read_model_shapes

LLAMA: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100,
}  # fmt: skip
PUBLISHED = compare_all()


def small(**settings: Any) -> Any:
    return AutoConfig.for_model("llama", **LLAMA, **settings)


def estimated(stage: int, offload: str = "none", **settings: Any) -> MemoryEstimate:
    config = TrainingConfig(workers=4, **settings)
    return estimate_memory(read_model_shapes(config, small()), memory_setup(config, stage, offload))


@pytest.mark.parametrize("compared", PUBLISHED, ids=lambda compared: compared.name)
def test_estimates_agree_with_published_peaks(compared: Compared) -> None:
    # A row outside the band says why; one that has come inside loses its reason.
    assert compared.is_within == (compared.outside is None), f"{compared.ratio:.2f} of what was published"


def test_the_plan_states_the_errors_that_were_found() -> None:
    found = {}
    for each in PUBLISHED:
        least, most = found.get(each.place, (9.0, 0.0))
        found[each.place] = (min(least, round(each.ratio, 2)), max(most, round(each.ratio, 2)))
    assert {place: published_error_range(*place, "bf16", "gpu") for place in found} == found
    assert published_error_range("lora", 1, "none", "bf16", "gpu") is None
    assert published_error_range("lora", 0, "none", "fp32", "gpu") is None
    assert published_error_range("lora", 0, "none", "bf16", "cpu") is None


def test_the_published_rows_span_methods_and_stages() -> None:
    assert {each.kind for each in PUBLISHED} == set(BANDS)
    assert sum(each.is_within for each in PUBLISHED) >= 25


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_of_a_small_llama_by_hand(tied: bool) -> None:
    shapes = read_model_shapes(TrainingConfig(method="full"), small(tie_word_embeddings=tied))
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64
    assert shapes.total == 2 * layer + 64 + (1 if tied else 2) * 100 * 64
    assert shapes.trained == shapes.total
    assert shapes.frozen == 0


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize(
    ("make", "settings"),
    [
        *((make, {}) for make in ("llama", "gemma2", "phi", "gpt-neox")),
        ("llama", {"modules_to_save": ["lm_head"]}),
        ("gemma2", {"target_modules": ["up_proj", "down_proj"]}),
    ],
    ids=str,
)
def test_counts_are_those_of_the_model_that_is_trained(method: Any, make: str, settings: dict[str, Any]) -> None:
    name, fields = ARCHITECTURES[make]
    architecture = AutoConfig.for_model(name.lower().replace("gptneox", "gpt_neox"), vocab_size=100, **fields)
    config = TrainingConfig(method=method, rank=4, **settings)
    model = add_adapter(AutoModelForCausalLM.from_config(architecture), config)
    shapes = read_model_shapes(config, architecture)
    assert shapes.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert shapes.total == sum(p.numel() for p in model.parameters())


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(TandemError, match="up_proj"):
        read_model_shapes(TrainingConfig(target_modules=["c_attn"]), small())


def test_each_stage_shares_out_more() -> None:
    shapes = read_model_shapes(TrainingConfig(method="full"), small())
    states = [estimated(stage, method="full") for stage in range(4)]
    n = shapes.total
    assert [each.optimizer for each in states] == [12 * n, 3 * n, 3 * n, 3 * n]
    assert [each.gradients for each in states] == [2 * n, 2 * n, n // 2, n // 2]
    assert [each.weights for each in states] == [2 * n, 2 * n, 2 * n, n // 2]


def test_offload_moves_states_and_nothing_is_lost() -> None:
    here, host, disk = (estimated(3, offload, method="full") for offload in ("none", "cpu", "nvme"))
    assert host.weights == host.gradients == host.optimizer == host.step == 0
    assert host.host == here.weights + here.gradients + here.optimizer + here.step == disk.disk
    assert host.disk == disk.host == 0
    assert estimated(2, "cpu", method="full").weights == estimated(2, method="full").weights


def test_checkpointing_keeps_one_input_a_layer_and_recomputes_one_layer() -> None:
    kept, again = (estimated(1, gradient_checkpointing=on, method="full") for on in (False, True))
    tokens = 4 * 1024
    per_layer = 2 * 64 * 8 + 4 * (64 + 32) + 8 * 96
    assert kept.activations == tokens * 2 * per_layer
    logits = 1024 * 100 * 14 + tokens * 64 * 2 * 2 + 100 * 64 * 6  # a chunk, hidden states, the head's gradient
    assert kept.logits == again.logits == logits
    assert again.activations == tokens * 2 * 2 * 64 + max(0, tokens * per_layer - logits)


def test_logits_do_not_grow_with_the_batch() -> None:
    few, many = (estimated(1, method="lora", micro_batch_size=size).logits for size in (4, 16))
    assert many - few == 12 * 1024 * 64 * 2 * 2  # hidden states and their gradients
    assert estimated(1, method="lora", micro_batch_size=1, sequence_length=512).logits == 512 * (100 * 14 + 64 * 2 * 2)


def test_four_bits_hold_the_frozen_layers() -> None:
    shapes = read_model_shapes(TrainingConfig(method="qlora"), small())
    assert shapes.quantized == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
    rest = shapes.total - shapes.quantized
    assert estimated(1, method="qlora").weights == round(shapes.quantized * (0.5 + 1.015625 / 64) + 2 * rest)


def test_a_checkpoint_holds_what_is_trained() -> None:
    config = TrainingConfig()
    shapes: ModelShapes = read_model_shapes(config, small())
    assert checkpoint_bytes(shapes, config) == 14 * shapes.trained


def test_kto_has_room_for_mismatched_pairs_of_twice_the_tokens() -> None:
    """They matter where the training pass keeps little: with checkpointing and few layers."""
    for checkpointing in (False, True):
        kto, sft = (
            estimated(0, gradient_checkpointing=checkpointing, objective=objective) for objective in ("kto", "sft")
        )
        assert (kto.activations > sft.activations) == checkpointing
        assert (kto.weights, kto.optimizer, kto.logits) == (sft.weights, sft.optimizer, sft.logits)
