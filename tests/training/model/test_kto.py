"""KTO against the paper's formula, computed by hand from plain transformers models."""

import math
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.model.test_objective import fp32_base, log_probability
from training.config import TrainingConfig
from training.data.answer_masks import Example
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.mismatched import draw_mismatched, make_mismatched_batch
from training.model.model import load_model
from training.model.objective import (
    DesirabilityLoss,
    count_labels,
    describe_label_weights,
    label_weights,
    log_ratios,
    make_objective,
)
from training.publish.weights import merge_adapter, save_adapter

CPU = torch.device("cpu")


def ratings(num_rows: int, seed: int = 0, weights: list[float] | None = None) -> Examples:
    """Prompts and answers of other lengths, each third answer an undesired one."""
    rng, rows = Random(seed), []
    for _ in range(num_rows):
        prompt = [rng.randrange(8, 260) for _ in range(rng.randrange(4, 70))]
        answer = [rng.randrange(8, 260) for _ in range(rng.randrange(1, 60))]
        rows.append(Example(prompt + answer, [False] * len(prompt) + [True] * len(answer)))
    return Examples.from_sequences(rows, weights=weights, labels=[number % 3 != 1 for number in range(num_rows)])


def kto_model(model_folder: Path, **settings):
    config = TrainingConfig(objective="kto", precision="fp32", rank=4, **settings)
    model = load_model(str(model_folder), config, CPU)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model, config


def reference_point(objective: DesirabilityLoss, model, rows: Examples, packs, draw: str = "0", padded: bool = False):
    """As training.trainer.collectives has it, in one process."""
    mismatched = draw_mismatched(rows, packs, draw)
    sums = [objective.log_ratio_sum(model, make_mismatched_batch(rows, pack, padded=padded)) for pack in mismatched]
    return (sum(sums) / sum(map(len, packs))).clamp(min=0)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("settings", [{}, {"method": "dora"}, {"modules_to_save": ["lm_head"]}])
def test_the_loss_is_the_papers(model_folder: Path, tmp_path: Path, settings: dict, padded: bool) -> None:
    model, config = kto_model(model_folder, kto_beta=0.3, kto_undesirable_weight=1.5, **settings)
    state = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    save_adapter(model, state, str(fp32_base(model_folder, tmp_path)), tmp_path / "adapter")
    merge_adapter(str(tmp_path / "base"), tmp_path / "adapter", tmp_path / "merged")
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()

    def log_ratio(tokens: list[int], start: int) -> float:
        return log_probability(policy, tokens, start) - log_probability(reference, tokens, start)

    rows, packs = ratings(6), [(3, 0), (4, 1, 2), (5,), ()]
    objective = make_objective(config, rows)
    assert isinstance(objective, DesirabilityLoss)
    parts = [(tokens.tolist(), int(marks.argmax())) for tokens, marks in map(rows.sequence, range(6))]
    pairs = [pair for pack in draw_mismatched(rows, packs, "0") for pair in pack]
    longest = max(len(tokens) for tokens, _ in parts)
    joined = [((parts[x][0][: parts[x][1]] + parts[y][0][parts[y][1] :])[:longest], parts[x][1]) for x, y in pairs]
    point = max(0.0, sum(log_ratio(*each) for each in joined) / 6)
    expected = 0.0
    for (tokens, start), label in zip(parts, rows.labels, strict=True):
        gain = 0.3 * (log_ratio(tokens, start) - point)
        value = 1 / (1 + math.exp(-gain if label else gain))
        expected += objective.desirable_weight * (1 - value) if label else 1.5 * (1 - value)
    found = reference_point(objective, model, rows, packs, padded=padded)
    assert float(found) == pytest.approx(point, rel=1e-5)
    losses = [objective.loss_sum(model, make_micro_batch(rows, pack, padded=padded), found) for pack in packs]
    assert float(sum(losses).detach()) == pytest.approx(expected, abs=1e-5)
    assert float(losses[-1].detach()) == 0.0


def test_a_fresh_adapter_loses_half_for_each_row(model_folder: Path) -> None:
    config = TrainingConfig(objective="kto", precision="fp32", rank=4, kto_desirable_weight=1, kto_undesirable_weight=1)
    model, rows = load_model(str(model_folder), config, CPU), ratings(3)
    objective = make_objective(config, rows)
    point = reference_point(objective, model, rows, [(0, 1, 2)])
    assert float(point) == 0.0
    assert float(objective.loss_sum(model, make_micro_batch(rows, (0, 1, 2)), point).detach()) == pytest.approx(1.5)


def test_a_few_steps_move_answers_by_their_labels(model_folder: Path) -> None:
    model, config = kto_model(model_folder)
    rows, packs = ratings(6), [(0, 1, 2, 3, 4, 5)]
    objective, batch = make_objective(config, rows), make_micro_batch(rows, packs[0])
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-2)
    before = log_ratios(model, batch).detach()
    for step in range(15):
        optimizer.zero_grad()
        point = reference_point(objective, model, rows, packs, str(step))
        objective.loss_sum(model, batch, point).backward()
        optimizer.step()
    moved, labels = log_ratios(model, batch).detach() - before, torch.from_numpy(rows.labels)
    assert (moved[labels] > 1).all() and (moved[~labels] < -1).all()


def test_no_gradient_flows_through_the_reference_point(model_folder: Path) -> None:
    model, config = kto_model(model_folder, dropout=0.5)
    rows = ratings(4)
    objective = make_objective(config, rows)
    torch.manual_seed(7)
    drawn = torch.get_rng_state()
    point = reference_point(objective, model, rows, [(0, 1), (2, 3)])
    assert not point.requires_grad and torch.equal(torch.get_rng_state(), drawn) and model.training
    objective.loss_sum(model, make_micro_batch(rows, ()), point).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == ("lora_" in name), name


@pytest.mark.parametrize("seed", range(20))
def test_answers_are_dealt_out_anew_whatever_the_packs(seed: int) -> None:
    rng = Random(seed)
    rows = ratings(rng.randrange(2, 40), seed)
    taken = [row for row in range(len(rows)) for _ in range(rng.choice([1, 1, 1, 2]))][: rng.randrange(2, 60)]
    rng.shuffle(taken)
    pairs = []
    for num_packs in (1, 3, 8):
        cut = sorted(rng.randrange(len(taken) + 1) for _ in range(num_packs - 1))
        packs = [tuple(taken[a:b]) for a, b in zip([0, *cut], [*cut, len(taken)], strict=True)]
        drawn = draw_mismatched(rows, packs, "7")
        assert len(drawn) == num_packs
        pairs.append(sorted(pair for pack in drawn for pair in pack))
    assert pairs[0] == pairs[1] == pairs[2]
    prompts, answers = zip(*pairs[0], strict=True)
    assert Counter(prompts) == Counter(taken)
    if len(set(taken)) > 1:
        assert Counter(answers) == Counter(taken)
        if max(Counter(taken).values()) <= len(taken) / 2:
            assert all(prompt != answer for prompt, answer in pairs[0])
    sorted_draws = {
        tuple(sorted(p for pack in draw_mismatched(rows, [tuple(taken)], str(n)) for p in pack)) for n in range(9)
    }
    assert len(sorted_draws) > 1 or len(rows) == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_pack_of_pairs_has_more_than_twice_the_tokens_of_the_fullest(seed: int) -> None:
    rng, rows = Random(seed), ratings(40, seed)
    order = rng.sample(range(40), 40)
    packs = [tuple(order[number::6]) for number in range(6)]
    most = max(sum(rows.row_lengths[row] for row in pack) for pack in packs)
    for pack in draw_mismatched(rows, packs, "0"):
        batch = make_mismatched_batch(rows, pack)
        assert batch.token_ids.numel() <= 2 * most
        assert int(batch.row_starts.diff().max()) <= rows.longest
        assert (batch.sum_by_sequence(torch.ones_like(batch.answers)) > 0).all()


def test_a_step_of_one_row_takes_the_answer_of_another(model_folder: Path) -> None:
    rows = ratings(5)
    (pack,) = draw_mismatched(rows, [(2,)], "0")
    assert pack[0][0] == 2 and pack[0][1] != 2
    assert draw_mismatched(ratings(1), [(0,), ()], "0") == [(), ()]
    model, config = kto_model(model_folder)
    assert float(reference_point(make_objective(config, rows), model, ratings(1), [(0,), ()])) == 0.0


def test_only_answers_are_taken_of_marked_rows() -> None:
    marks = [False, False, True, False, True]
    rows = Examples.from_sequences(
        [Example([1, 2, 3, 4, 5], marks), Example([6, 7, 8], [False, True, True])], labels=[True, False]
    )
    assert rows.answer_starts == [2, 1]
    batch = make_mismatched_batch(rows, ((1, 0),))
    assert (batch.token_ids.tolist(), batch.answers.tolist()) == ([[6, 3, 4, 5]], [3, 5])


@pytest.mark.parametrize(
    ("num_desired", "num_undesired", "settings", "expected"),
    [
        (10, 10, {}, (1, 1)),
        (12, 10, {}, (1, 1)),
        (40, 10, {}, (1, 3)),
        (10, 40, {}, (4, 1)),
        (10, 40, {"kto_desirable_weight": 1}, (1, 0.25)),
        (40, 10, {"kto_undesirable_weight": 1}, (1 / 3, 1)),
        (10, 40, {"kto_undesirable_weight": 2}, (8, 2)),
        (10, 40, {"kto_desirable_weight": 1, "kto_undesirable_weight": 1}, (1, 1)),
    ],
)
def test_auto_weights_balance_the_labels(num_desired: int, num_undesired: int, settings: dict, expected: tuple) -> None:
    config = TrainingConfig(objective="kto", **settings)
    assert label_weights(config, num_desired, num_undesired) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(50))
def test_balanced_weights_are_in_the_papers_range_and_one_of_them_is_1(seed: int) -> None:
    rng = Random(seed)
    desired, undesired = rng.uniform(0.5, 1e5), rng.uniform(0.5, 1e5)
    weights = label_weights(TrainingConfig(objective="kto"), desired, undesired)
    assert 1 - 1e-9 <= weights[0] * desired / (weights[1] * undesired) <= 4 / 3 + 1e-9
    assert 1 in weights and min(weights) >= 1


def test_the_labels_are_counted_as_often_as_rows_are_seen() -> None:
    rows = ratings(6, weights=[1, 1, 1, 1, 3, 0.5])
    assert count_labels(rows) == (3.5, 4)
    objective = make_objective(TrainingConfig(objective="kto"), rows)
    assert describe_label_weights(objective, rows) == (
        "an epoch has 3.5 desired answers, which count 1.143 each, and 4 undesired ones, which count 1 each"
    )
    assert np.array_equal(rows.labels, [True, False, True, True, False, True])


def test_kto_needs_an_adapter() -> None:
    with pytest.raises(ValueError, match="`objective: kto` takes the base model as its reference"):
        TrainingConfig(objective="kto", method="full")
    assert TrainingConfig(objective="text", method="full").objective == "text"
