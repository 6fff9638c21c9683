"""DPO against the paper's formula, computed by hand from plain transformers models."""

import math
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM

from training.config import TrainingConfig
from training.data.answer_masks import Example
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.loss import answer_losses
from training.model.model import load_model
from training.model.objective import AnswerLoss, PreferenceLoss, make_objective
from training.publish.weights import merge_adapter, save_adapter

CPU = torch.device("cpu")


def preferences(num_pairs: int, seed: int = 0) -> Examples:
    """Pairs with a common prompt, and a chosen and a rejected answer of other lengths."""
    rng = Random(seed)
    rows = []
    for _ in range(num_pairs):
        prompt = [rng.randrange(8, 260) for _ in range(rng.randrange(4, 70))]
        for _ in ("chosen", "rejected"):
            answer = [rng.randrange(8, 260) for _ in range(rng.randrange(1, 60))]
            rows.append(Example(prompt + answer, [False] * len(prompt) + [True] * len(answer)))
    return Examples.from_sequences(rows, sequences_per_row=2)


def dpo_model(model_folder: Path, **settings):
    config = TrainingConfig(objective="dpo", precision="fp32", rank=4, **settings)
    model = load_model(str(model_folder), config, CPU)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model, make_objective(config)


def log_probability(model, token_ids: list[int], start: int) -> float:
    """Of the tokens from `start` on given those before, in nats, from the logits of a plain forward pass."""
    with torch.no_grad():
        logits = model(torch.tensor([token_ids])).logits[0]
    return sum(float(logits[place - 1].log_softmax(-1)[token_ids[place]]) for place in range(start, len(token_ids)))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"method": "dora"}, {"gradient_checkpointing": True}, {"modules_to_save": ["lm_head"]}]
)
def test_the_loss_is_the_papers(model_folder: Path, tmp_path: Path, settings: dict, padded: bool) -> None:
    model, objective = dpo_model(model_folder, **settings)
    state = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    save_adapter(model, state, str(fp32_base(model_folder, tmp_path)), tmp_path / "adapter")
    merge_adapter(str(tmp_path / "base"), tmp_path / "adapter", tmp_path / "merged")
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    rows = preferences(5)
    expected = 0.0
    for row in range(5):
        reward = []
        for tokens, is_answer in (rows.sequence(2 * row), rows.sequence(2 * row + 1)):
            start = int(is_answer.argmax())
            reward.append(
                log_probability(policy, tokens.tolist(), start) - log_probability(reference, tokens.tolist(), start)
            )
        expected += math.log(1 + math.exp(-0.1 * (reward[0] - reward[1])))
    assert abs(expected - 5 * math.log(2)) > 0.01
    # The pack is in another order than the rows: a sum over pairs does not mind.
    loss = objective.loss_sum(model, make_micro_batch(rows, (3, 0, 4, 1, 2), padded=padded))
    assert float(loss.detach()) == pytest.approx(expected, abs=2e-5)


def fp32_base(model_folder: Path, tmp_path: Path) -> Path:
    AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).save_pretrained(tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "base" / name).write_bytes((model_folder / name).read_bytes())
    return tmp_path / "base"


def test_a_fresh_adapter_loses_log_2_for_each_pair(model_folder: Path) -> None:
    config = TrainingConfig(objective="dpo", precision="fp32", rank=4)
    model = load_model(str(model_folder), config, CPU)
    loss = make_objective(config).loss_sum(model, make_micro_batch(preferences(3), (0, 1, 2)))
    assert float(loss.detach()) == pytest.approx(3 * math.log(2), abs=1e-6)


def test_a_few_steps_raise_the_margin(model_folder: Path) -> None:
    model, objective = dpo_model(model_folder)
    assert isinstance(objective, PreferenceLoss)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, batch = torch.optim.AdamW(trained, lr=1e-2), make_micro_batch(preferences(4), (0, 1, 2, 3))
    before = objective.margins(model, batch).detach()
    for _ in range(10):
        optimizer.zero_grad()
        objective.loss_sum(model, batch).backward()
        optimizer.step()
    after = objective.margins(model, batch).detach()
    assert (after > before + 1).all() and (after > 0).all()


def test_the_reference_takes_no_part_in_training(model_folder: Path) -> None:
    """Every adapter weight gets a gradient, no base weight does, and dropout draws for the tuned model alone."""
    model, objective = dpo_model(model_folder, dropout=0.5)
    batch = make_micro_batch(preferences(4), (0, 1, 2, 3))
    torch.manual_seed(7)
    answer_losses(model, batch)
    drawn_by_one_pass = torch.get_rng_state()
    torch.manual_seed(7)
    objective.loss_sum(model, batch).backward()
    assert torch.equal(torch.get_rng_state(), drawn_by_one_pass)
    assert model.training and model.base_model.model.training
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == ("lora_" in name), name


def test_an_empty_pack_adds_nothing_and_still_has_a_gradient(model_folder: Path) -> None:
    model, objective = dpo_model(model_folder)
    loss = objective.loss_sum(model, make_micro_batch(preferences(1), ()))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_what_a_row_counts() -> None:
    rows = preferences(3)
    assert PreferenceLoss(0.1).row_weights(rows) == [1, 1, 1]
    single = Examples.from_sequences([Example([1, 2, 3], [False, True, True]), Example([1, 2], [False, True])])
    assert AnswerLoss().row_weights(single) == [2, 1]
    assert isinstance(make_objective(TrainingConfig()), AnswerLoss)
