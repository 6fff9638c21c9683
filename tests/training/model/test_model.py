from pathlib import Path

import pytest
import torch

from cluster.errors import TandemError
from tests.training.data.test_packing import random_rows
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.model import answer_losses, load_model, place_weights

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


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{"method": "qlora"}, {"liger": False}, {"liger": True}, {"method": "full"}])
def test_on_a_gpu_in_bf16_the_losses_are_those_of_the_cpu(model_folder: Path, settings: dict) -> None:
    """Flash attention, Liger kernels and 4-bit weights where they are installed; 4 bits may change losses more."""
    batch = make_micro_batch(ROWS, (0, 1, 2))
    expected = answer_losses(load_model(str(model_folder), TrainingConfig(precision="fp32"), CPU), batch)
    device = torch.device("cuda")
    model = load_model(str(model_folder), TrainingConfig(precision="bf16", **settings), device)
    losses = answer_losses(model, batch.to(device))
    losses.sum().backward()
    tolerance = 0.5 if settings.get("method") == "qlora" else 0.05
    assert float((losses.detach().cpu() - expected).abs().mean()) < tolerance
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
