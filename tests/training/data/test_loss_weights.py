"""What tokens count in the loss, from a row's messages to the loss of a step."""

import zipfile
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.templates import CHATML, SPECIAL
from training.config import TrainingConfig
from training.data.answer_masks import Example, encode_conversation
from training.data.conversation import Conversation
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.data.packing import plan_epoch
from training.model import loss
from training.model.model import load_model
from training.model.objective import make_objective

CPU = torch.device("cpu")


def random_weighted(num_rows: int, seed: int = 0) -> list[Example]:
    rng, rows = Random(seed), []
    for number in range(num_rows):
        length = rng.randrange(6, 60)
        marks = [False] + [rng.random() < 0.6 for _ in range(length - 1)]
        marks[-1] = True
        weights = [rng.choice([0.1, 0.5, 1.0, 2.0]) if mark else 0.0 for mark in marks] if number % 3 else None
        rows.append(Example([rng.randrange(8, 260) for _ in range(length)], marks, weights))
    return rows


def independent_mean(model_folder: Path, rows: list[Example], numbers: list[int]) -> float:
    """sum(w * nll) / sum(w), with a plain forward pass of each row."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    total = weight = 0.0
    for number in numbers:
        row = rows[number]
        with torch.no_grad():
            logprobs = model(torch.tensor([row.token_ids])).logits[0].double().log_softmax(-1)
        for place in range(1, len(row.token_ids)):
            if row.is_answer[place]:
                counts = 1.0 if row.loss_weights is None else row.loss_weights[place]
                total -= counts * float(logprobs[place - 1, row.token_ids[place]])
                weight += counts
    return total / weight


def test_each_answer_of_a_conversation_has_its_weight(make_tokenizer) -> None:
    tokenizer = make_tokenizer(CHATML, special=SPECIAL)
    tokenizer.eos_token = "<|im_end|>"
    messages = tuple(
        {"role": role, "content": text} for role, text in zip(["user", "assistant"] * 3, "aBcDeF", strict=True)
    )
    (example,) = encode_conversation(tokenizer, Conversation(messages, loss_weights=(0, 0.5, 1, 0, 0, 1)))
    learnt = [
        (tokenizer.decode([token]), weight)
        for token, weight, mark in zip(example.token_ids, example.loss_weights, example.is_answer, strict=True)
        if mark
    ]
    assert learnt == [("B", 0.5), ("<|im_end|>", 0.5), ("F", 1), ("<|im_end|>", 1)]
    assert all(mark or not weight for mark, weight in zip(example.is_answer, example.loss_weights, strict=True))
    (whole,) = encode_conversation(tokenizer, Conversation(messages, loss_weights=(0, 1, 0, 0, 0, 1)))
    assert whole.loss_weights is None


def test_weights_lie_in_the_file_only_where_there_are_some(tmp_path: Path) -> None:
    rows = random_weighted(20)
    Examples.from_sequences(rows).save(tmp_path / "weighted.npz")
    plain = [Example(row.token_ids, row.is_answer) for row in rows]
    Examples.from_sequences(plain).save(tmp_path / "plain.npz")
    with zipfile.ZipFile(tmp_path / "plain.npz") as archive:
        assert {Path(name).stem for name in archive.namelist()} == {
            "token_ids", "is_answer", "offsets", "weights", "sequences_per_row",
        }  # fmt: skip
    loaded, unweighted = (Examples.load(tmp_path / f"{name}.npz") for name in ("weighted", "plain"))
    assert unweighted.loss_weights is None and unweighted.row_loss_weights == unweighted.row_answers
    for number, row in enumerate(rows):
        counted = [weight for weight, mark in zip(row.counted, row.is_answer, strict=True) if mark]
        assert loaded.answer_weights(number).tolist() == pytest.approx(counted)
        assert loaded.row_loss_weights[number] == pytest.approx(sum(counted))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("chunk_tokens", [7, 1024])
def test_the_loss_of_a_step_is_exact_however_its_rows_are_shared_out(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, padded: bool, chunk_tokens: int
) -> None:
    monkeypatch.setattr(loss, "LOGIT_CHUNK_TOKENS", chunk_tokens)
    examples = random_weighted(13)
    rows, config = Examples.from_sequences(examples), TrainingConfig(precision="fp32", rank=4)
    model, objective = load_model(str(model_folder), config, CPU), make_objective(config, rows)
    expected = independent_mean(model_folder, examples, list(range(13)))
    weight, gradients = sum(objective.row_weights(rows)), []
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for num_packs in (1, 4, 16):
        packs = plan_epoch(rows.row_lengths, 700, num_packs, 0, 0)
        model.zero_grad()
        total = 0.0
        for pack in packs:
            part = objective.loss_sum(model, make_micro_batch(rows, pack, padded=padded)) / weight
            part.backward()
            total += float(part.detach())
        assert total == pytest.approx(expected, abs=1e-5)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6) and torch.allclose(
        gradients[0], gradients[2], atol=1e-6
    )
    assert gradients[0].abs().max() > 1e-3


@pytest.mark.parametrize("settings", [{}, {"method": "full"}, {"modules_to_save": ["lm_head"]}])
def test_gradients_of_weighted_chunks_are_those_without_chunks(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict
) -> None:
    rows = Examples.from_sequences(random_weighted(5))
    config = TrainingConfig(precision="fp32", rank=4, **settings)
    model, objective = load_model(str(model_folder), config, CPU), make_objective(config, rows)
    assert loss.compare_losses(model, rows, CPU) is None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = []
    for chunk_tokens in (3, 1024):
        monkeypatch.setattr(loss, "LOGIT_CHUNK_TOKENS", chunk_tokens)
        total = objective.loss_sum(model, make_micro_batch(rows, (0, 1, 2, 3, 4)))
        gradients.append(torch.autograd.grad(total, trained, allow_unused=True))
    for one, other in zip(*gradients, strict=True):
        assert (one is None and other is None) or torch.allclose(one, other, atol=1e-4, rtol=1e-4)


def test_a_pack_without_rows_has_no_weights() -> None:
    batch = make_micro_batch(Examples.from_sequences(random_weighted(3)), ())
    assert batch.answer_weights is not None and batch.answer_weights.shape == (0,)
