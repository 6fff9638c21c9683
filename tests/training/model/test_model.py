from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from benchmarks.gpu.bench import attention_that_ran, liger_kernels, operators_of
from cluster.errors import TandemError
from tests.training.data.test_packing import random_rows
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.model.attention import VARLEN_ATTENTION, register_attentions
from training.model.attention_check import check_rows_stay_apart
from training.model.attention_choice import choose_attention
from training.model.loss import answer_losses, causal_model
from training.model.model import load_model, place_weights

CPU = torch.device("cpu")
ROWS = Examples.from_sequences(random_rows([10, 20, 30]))


def trained_names(model) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_what_each_method_trains(model_folder: Path) -> None:
    def names(**settings) -> list[str]:
        return trained_names(load_model(str(model_folder), TrainingConfig(precision="fp32", rank=4, **settings), CPU))

    # Seven linear layers in each of two decoder layers; nine weights of them in the whole model, embeddings and norm.
    assert len(names(method="full")) == 2 * 9 + 2
    lora, dora = names(method="lora"), names(method="dora")
    assert len(lora) == 2 * 14 and all("lora_" in name for name in lora)
    assert len(dora) == 2 * 21 and sum("magnitude" in name for name in dora) == 14
    assert len(names(target_modules=["q_proj"])) == 2 * 2
    with_head = names(modules_to_save=["lm_head"])
    assert [name for name in with_head if name not in lora] == [
        "base_model.model.lm_head.modules_to_save.default.weight"
    ]


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_weights_go_straight_to_a_gpu_unless_zero_3_shares_them_out(method: str) -> None:
    gpu = torch.device("cuda", 3)
    for stage in (0, 1, 2):
        assert place_weights(TrainingConfig(method=method, zero_stage=stage), gpu) == {"device_map": {"": gpu}}
    assert place_weights(TrainingConfig(method=method, zero_stage=3), gpu) == {}
    assert place_weights(TrainingConfig(method=method, zero_stage=1), CPU) == {}


def test_weights_that_are_read_to_a_device_are_those_of_a_model_that_is_moved(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainingConfig(precision="fp32", rank=4, zero_stage=1)
    moved = load_model(str(model_folder), config, CPU)
    monkeypatch.setattr("training.model.model.place_weights", lambda *_: {"device_map": {"": CPU}})
    placed = load_model(str(model_folder), config, CPU)
    assert all(torch.equal(one, other) for one, other in zip(moved.parameters(), placed.parameters(), strict=True))
    assert not [name for name, module in placed.named_modules() if hasattr(module, "_hf_hook")]
    batch = make_micro_batch(ROWS, (0, 1, 2))
    assert torch.equal(answer_losses(moved, batch), answer_losses(placed, batch))


def test_the_seed_alone_decides_the_first_weights(model_folder: Path) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(int(torch.randint(1000, ())))
        model = load_model(str(model_folder), TrainingConfig(precision="fp32", rank=4, seed=seed), CPU)
        return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_draws_random_numbers_only_for_dropout(model_folder: Path, method: str, checkpointing: bool) -> None:
    settings = {"method": method, "gradient_checkpointing": checkpointing, "precision": "fp32", "rank": 4}
    batch = make_micro_batch(ROWS, (0, 1, 2))

    def draws(dropout: float) -> tuple[torch.Tensor, bool]:
        model = load_model(str(model_folder), TrainingConfig(dropout=dropout, **settings), CPU)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.constant_(parameter, 0.05)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        losses = answer_losses(model, batch)
        losses.sum().backward()
        return losses.detach(), not torch.equal(before, torch.get_rng_state())

    without, drew = draws(0.0)
    assert not drew
    if method != "full":
        once, drew = draws(0.5)
        assert drew and not torch.allclose(once, without)
        assert torch.equal(once, draws(0.5)[0])


def test_dropout_is_the_same_when_activations_are_computed_again(model_folder: Path) -> None:
    batch = make_micro_batch(ROWS, (0, 1, 2))

    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        config = TrainingConfig(precision="fp32", rank=4, dropout=0.5, gradient_checkpointing=checkpointing)
        model = load_model(str(model_folder), config, CPU)
        torch.manual_seed(5)
        answer_losses(model, batch).sum().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.requires_grad]

    torch.testing.assert_close(gradients(True), gradients(False), atol=0, rtol=0)


def test_activations_are_computed_again_only_where_asked(model_folder: Path) -> None:
    for checkpointing in (False, True):
        config = TrainingConfig(precision="fp32", rank=4, gradient_checkpointing=checkpointing)
        model = load_model(str(model_folder), config, CPU)
        calls = []
        attention = model.base_model.model.model.layers[0].self_attn
        attention.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        answer_losses(model, make_micro_batch(ROWS, (0, 1, 2))).sum().backward()
        assert len(calls) == (2 if checkpointing else 1)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="cannot be loaded"):
        load_model(str(tmp_path), TrainingConfig(precision="fp32"), CPU)


TINY = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "bos_token_id": 1}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "intermediate_size": 48}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}


def tiny(model_type: str, dtype: torch.dtype, **settings: object) -> PreTrainedModel:
    register_attentions()
    config = AutoConfig.for_model(model_type, **TINY, **settings)
    attention = choose_attention(config, TrainingConfig(precision="fp32", sequence_length=128), None).name
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype).train()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("mamba", {"state_size": 8}),
        ("mamba2", {"state_size": 8, "num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 1}),
        ("lfm2", {**HEADS, "intermediate_size": 48, "layer_types": ["conv", "full_attention"]}),
    ],
)
def test_a_recurrent_model_lets_rows_reach_each_other(model_type: str, settings: dict, dtype: torch.dtype) -> None:
    model = tiny(model_type, dtype, initializer_range=0.2, **settings)
    with pytest.raises(TandemError, match="a row of a pack reaches the row behind it"):
        check_rows_stay_apart(model, ROWS, "recurrent", CPU)
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [0.02, 0.2, 1.0])
@pytest.mark.parametrize(("model_type", "settings"), [
    ("llama", {**HEADS, "intermediate_size": 48}),
    ("qwen3_moe", {**HEADS, **EXPERTS}),
    ("gpt2", {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "num_attention_heads": 4}),
])  # fmt: skip
def test_attention_alone_keeps_rows_apart_whatever_is_rounded_or_dropped(
    model_type: str, settings: dict, spread: float, dtype: torch.dtype
) -> None:
    model = tiny(model_type, dtype, initializer_range=spread, **settings)
    check_rows_stay_apart(model, ROWS, model_type, CPU)


def test_rounding_that_others_cause_is_no_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses that change a little with any other row, as by kernels that take other shapes; or much with an earlier."""
    rows = Examples.from_sequences(random_rows([20, 30]))
    model = tiny("llama", torch.bfloat16, **HEADS, intermediate_size=48)

    def jitter(size_behind: float, size_before: float) -> None:
        def losses(model: object, batch: MicroBatch) -> torch.Tensor:
            exact = answer_losses(model, batch)
            is_second = batch.predicts_from >= batch.row_starts[1]
            tokens = batch.token_ids[0].float()
            behind, before = tokens[20:].std(), tokens[:20].std()
            return exact + torch.where(is_second, size_before * before, size_behind * behind) / 100

        monkeypatch.setattr("training.model.attention_check.batch_losses", losses)
        check_rows_stay_apart(model, rows, "jittery", CPU)

    jitter(0.3, 0.3)
    with pytest.raises(TandemError):
        jitter(0.01, 1.0)


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{"method": "qlora"}, {"liger": False}, {"liger": True}, {"method": "full"}])
def test_on_a_gpu_in_bf16_the_losses_are_those_of_the_cpu(model_folder: Path, settings: dict) -> None:
    """By a variable-length kernel, and Liger's where it is installed; weights in 4 bits may change losses more."""
    if settings.get("method") == "qlora" and find_spec("bitsandbytes") is None:
        pytest.skip("needs a CUDA GPU with bitsandbytes")
    batch = make_micro_batch(ROWS, (0, 1, 2))
    expected = answer_losses(load_model(str(model_folder), TrainingConfig(precision="fp32"), CPU), batch)
    device = torch.device("cuda")
    model = load_model(str(model_folder), TrainingConfig(precision="bf16", **settings), device)
    assert causal_model(model).config._attn_implementation == VARLEN_ATTENTION
    losses = answer_losses(model, batch.to(device))
    losses.sum().backward()
    operators = operators_of(partial(answer_losses, model, batch.to(device)), device)
    assert attention_that_ran(operators) == "torch varlen"
    if settings.get("liger", True) and find_spec("liger_kernel"):
        assert liger_kernels(operators)
    tolerance = 0.5 if settings.get("method") == "qlora" else 0.05
    assert float((losses.detach().cpu() - expected).abs().mean()) < tolerance
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
