from pathlib import Path
from random import Random

import pytest
import torch

from cluster.errors import TandemError
from tests.training.architectures import ARCHITECTURES, write_architecture
from training.config import TrainingConfig
from training.data.answer_masks import Example
from training.data.batches import OptimizerSteps
from training.data.examples import Examples
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.data.packing import count_packs, plan_epoch
from training.model.attention_check import check_rows_stay_apart
from training.model.loss import answer_losses
from training.model.model import load_model


def random_rows(lengths: list[int], seed: int = 0) -> list[Example]:
    rng = Random(seed)
    rows = []
    for length in lengths:
        answer = rng.randrange(1, length)
        rows.append(Example([rng.randrange(8, 260) for _ in range(length)], [i >= answer for i in range(length)]))
    return rows


def test_every_row_is_in_one_pack_and_no_pack_is_too_full() -> None:
    lengths = [Random(1).randrange(20, 60) for _ in range(300)] + [350] * 40
    packs = plan_epoch(lengths, capacity=1024, multiple=4, seed=0, epoch=0)
    assert sorted(row for pack in packs for row in pack) == list(range(340))
    assert len(packs) % 4 == 0
    loads = [sum(lengths[row] for row in pack) for pack in packs]
    assert max(loads) <= 1024
    assert min(loads) > 0.9 * max(loads)


def test_the_plan_follows_from_seed_and_epoch() -> None:
    lengths = [Random(2).randrange(5, 50) for _ in range(100)]
    plan = plan_epoch(lengths, 256, 2, seed=0, epoch=3)
    assert plan == plan_epoch(lengths, 256, 2, seed=0, epoch=3)
    others = [plan_epoch(lengths, 256, 2, seed=0, epoch=4), plan_epoch(lengths, 256, 2, seed=1, epoch=3)]
    assert all(plan != other and len(plan) == len(other) for other in others)


@pytest.mark.parametrize(("lengths", "capacity", "multiple"), [([5], 8, 4), ([7, 7, 7], 8, 2), ([8] * 5, 8, 2)])
def test_few_rows_leave_packs_empty_and_lose_nothing(lengths: list[int], capacity: int, multiple: int) -> None:
    packs = plan_epoch(lengths, capacity, multiple, seed=0, epoch=0)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    assert len(packs) % multiple == 0


def test_an_empty_pack_has_nothing_to_learn() -> None:
    batch = make_micro_batch(Examples.from_sequences(random_rows([5])), ())
    assert (batch.token_ids.shape, batch.answers.shape) == ((1, 1), (0,))


def test_examples_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    rows = random_rows([9, 4, 30])
    Examples.from_sequences(rows).save(tmp_path / "rows.npz")
    loaded = Examples.load(tmp_path / "rows.npz")
    assert loaded.lengths == [9, 4, 30]
    assert loaded.num_answers == [sum(row.is_answer) for row in rows]
    assert [Example(ids.tolist(), marks.tolist()) for ids, marks in map(loaded.sequence, range(3))] == rows


def test_padded_rows_have_their_pads_behind_them_and_nothing_to_learn_there() -> None:
    rows = Examples.from_sequences(
        [Example([8, 9, 10], [False, True, True]), Example([11, 12, 13, 14], [False, False, False, True])]
    )
    batch = make_micro_batch(rows, (0, 1), padded=True)
    assert batch.token_ids.tolist() == [[8, 9, 10, 0], [11, 12, 13, 14]]
    assert batch.positions.tolist() == [[0, 1, 2, 3]] * 2
    assert (batch.predicts_from.tolist(), batch.answers.tolist()) == ([0, 1, 6], [9, 10, 14])
    assert batch.sum_by_sequence(torch.tensor([1.0, 2.0, 4.0])).tolist() == [3.0, 4.0]


def test_a_row_of_two_sequences_is_laid_out_as_two() -> None:
    rows = Examples.from_sequences(random_rows([5, 7, 9, 4]), sequences_per_row=2)
    batch = make_micro_batch(rows, (1, 0))
    assert batch.row_starts.tolist() == [0, 9, 13, 18, 25]
    assert batch.positions[0, [8, 9, 12, 13]].tolist() == [8, 0, 3, 0]
    answers = batch.sum_by_sequence(torch.ones(len(batch.answers))).tolist()
    assert answers == [rows.num_answers[sequence] for sequence in (2, 3, 0, 1)]


@pytest.mark.parametrize("padded", [False, True])
def test_the_longest_sequence_is_known_without_its_tensors(padded: bool) -> None:
    batch = make_micro_batch(Examples.from_sequences(random_rows([5, 9, 7])), (0, 1, 2), padded=padded)
    assert batch.max_length == batch.to(torch.device("meta")).max_length == 9
    assert make_micro_batch(Examples.from_sequences(random_rows([5])), ()).max_length == 1


LENGTHS = [3, 12, 40, 41, 66, 90, 130, 140, 260]
MIXED = [260, 3, 90, 12, 41, 140, 40]


@pytest.mark.parametrize("attention", ["tandem_packed", "sdpa", "eager"])
@pytest.mark.parametrize("lengths", [LENGTHS, MIXED], ids=["sorted", "in any order"])
def test_packed_and_unpacked_rows_have_equal_losses_and_gradients(
    model_folder: Path, attention: str, lengths: list[int]
) -> None:
    model = perturbed(load_model(str(model_folder), TrainingConfig(precision="fp32", rank=4), torch.device("cpu")))
    model.base_model.model.set_attn_implementation(attention)
    check_that_layouts_agree(model, Examples.from_sequences(random_rows(lengths)))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_layouts_agree_for_every_method(model_folder: Path, method: str, checkpointing: bool) -> None:
    config = TrainingConfig(precision="fp32", rank=4, method=method, gradient_checkpointing=checkpointing)
    model = perturbed(load_model(str(model_folder), config, torch.device("cpu")))
    assert getattr(model, "base_model", model).is_gradient_checkpointing is checkpointing
    check_that_layouts_agree(model, Examples.from_sequences(random_rows(LENGTHS)))


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"gpt-oss"}))
def test_layouts_agree_for_every_architecture(tmp_path: Path, architecture: str) -> None:
    config = TrainingConfig(precision="fp32", method="full", sequence_length=128)
    model = load_model(str(write_architecture(architecture, tmp_path)), config, torch.device("cpu"))
    check_that_layouts_agree(model, Examples.from_sequences(random_rows([3, 12, 40, 41, 66, 90, 120])))


def test_a_model_that_does_not_tell_rows_apart_is_refused_and_trains_on_padded_rows(tmp_path: Path) -> None:
    """transformers makes GPT-OSS's mask without the positions, which say where a row begins."""
    config = TrainingConfig(precision="fp32", method="full", sequence_length=128)
    model = load_model(str(write_architecture("gpt-oss", tmp_path)), config, torch.device("cpu"))
    rows = Examples.from_sequences(random_rows([3, 12, 40, 41, 66, 90, 120]))
    with pytest.raises(TandemError, match=r"a row of a pack reaches the row behind it[\s\S]*packing: false"):
        check_rows_stay_apart(model, rows, "gpt-oss", torch.device("cpu"))
    check_that_layouts_agree(model, rows, layouts=("padded",))


def check_that_layouts_agree(model, rows: Examples, layouts: tuple[str, ...] = ("packed", "padded")) -> None:
    """In these layouts and one by one: losses and gradients are equal to 1e-5."""
    everything = tuple(range(len(rows)))
    single, single_gradients = losses_and_gradients(model, [make_micro_batch(rows, (row,)) for row in everything])
    assert all(gradient.abs().max() > 0 for gradient in single_gradients.values())
    for layout in layouts:
        batch = make_micro_batch(rows, everything, padded=layout == "padded")
        losses, gradients = losses_and_gradients(model, [batch])
        torch.testing.assert_close(losses, single, atol=1e-5, rtol=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, single_gradients[name], atol=1e-5, rtol=1e-5)


def test_what_stands_in_one_row_does_not_reach_another(model_folder: Path) -> None:
    model = load_model(str(model_folder), TrainingConfig(precision="fp32", rank=4), torch.device("cpu"))
    rows, changed = random_rows([10, 20, 30]), random_rows([10, 20, 30])
    changed[0] = Example([8] * 10, changed[0].is_answer)
    losses = [
        answer_losses(model, make_micro_batch(Examples.from_sequences(each), (0, 1, 2))) for each in (rows, changed)
    ]
    own = sum(rows[0].is_answer)
    torch.testing.assert_close(losses[0][own:], losses[1][own:], atol=0, rtol=0)
    assert not torch.equal(losses[0][:own], losses[1][:own])


def perturbed(model):
    """With adapters that do something: fresh ones add nothing, and most of their gradients are zero."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def losses_and_gradients(model, batches: list[MicroBatch]):
    model.zero_grad()
    losses = torch.cat([answer_losses(model, batch) for batch in batches])
    losses.mean().backward()
    return losses.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def plans_before(lengths: list[int], capacity: int, multiple: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """The plan as earlier versions made it: one more multiple of packs until all rows fit."""
    rng = Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    order.sort(key=lambda row: -lengths[row])
    num_packs = multiple * max(1, -(-sum(lengths) // (capacity * multiple)))
    while (packs := fill_before(order, lengths, num_packs, capacity)) is None:
        num_packs += multiple
    filled = [pack for pack in packs if pack]
    rng.shuffle(filled)
    return [tuple(sorted(pack, key=lambda row: lengths[row])) for pack in filled] + [()] * (num_packs - len(filled))


def fill_before(order: list[int], lengths: list[int], num_packs: int, capacity: int) -> list[list[int]] | None:
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    loads = [0] * num_packs
    for row in order:
        number = min(range(num_packs), key=lambda pack: (loads[pack], pack))
        if loads[number] + lengths[row] > capacity:
            return None
        packs[number].append(row)
        loads[number] += lengths[row]
    return packs


def random_lengths(rng: Random, capacity: int, num_rows: int) -> list[int]:
    """Rows of hostile lengths: anything, just above a half, nothing, ones, whole packs, around a third, one huge."""
    lowest, highest = rng.choice(
        [(1, capacity), (capacity // 2 + 1, capacity // 2 + 1), (capacity // 2, capacity), (0, 0), (0, 3), (1, 1),
         (capacity, capacity), (capacity // 3, capacity // 2 + 1)]
    )  # fmt: skip
    lengths = [rng.randint(min(lowest, highest), highest) for _ in range(num_rows)]
    return [*lengths, capacity] if rng.random() < 0.3 else lengths


@pytest.mark.parametrize("seed", range(150))
def test_any_lengths_are_planned_as_before_and_within_the_bounds(seed: int) -> None:
    rng = Random(seed)
    capacity, multiple = rng.choice([8, 64, 100, 1024, 4096]), rng.choice([1, 2, 3, 8, 64])
    lengths = random_lengths(rng, capacity, rng.randrange(0, 60))
    packs = plan_epoch(lengths, capacity, multiple, seed, epoch=1)
    assert packs == plans_before(lengths, capacity, multiple, seed, epoch=1)
    check_bounds(packs, lengths, capacity, multiple)


def check_bounds(packs: list[tuple[int, ...]], lengths: list[int], capacity: int, multiple: int) -> None:
    """All rows once, no pack too full, a multiple of packs, no more than needed twice over, and balanced."""
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    loads = [sum(lengths[row] for row in pack) for pack in packs]
    assert max(loads) <= capacity and len(packs) % multiple == 0
    assert len(packs) == count_packs(lengths, capacity, multiple) <= 2 * sum(lengths) / capacity + multiple
    assert max(sum(lengths[row] for row in pack[1:]) for pack in packs) <= min(loads), "a pack without its shortest row"


@pytest.mark.parametrize(
    "lengths", [[600] * 50_000, list(range(520, 1025)) * 100, [1] * 1_000_000, [0] * 100_000, [1024] * 30_000]
)
def test_many_rows_are_planned_in_one_go(lengths: list[int]) -> None:
    check_bounds(plan_epoch(lengths, 1024, 2, seed=0, epoch=0), lengths, 1024, 2)


def test_a_row_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(TandemError, match="A row of 9 tokens fits into no forward pass of 8 tokens"):
        plan_epoch([3, 9], 8, 2, seed=0, epoch=0)


@pytest.mark.parametrize("packing", [True, False])
def test_steps_are_counted_without_planning_and_none_is_an_error(packing: bool) -> None:
    config = TrainingConfig(sequence_length=64, micro_batch_size=1, epochs=3, packing=packing)
    rows = Examples.from_sequences(random_rows([40] * 30), weights=[0.5] * 20 + [2.0] * 10)
    steps = OptimizerSteps(rows, config)
    assert len(steps) == sum(len(steps.steps_of_epoch(epoch)) for epoch in range(3)) == 3 * 15
    with pytest.raises(TandemError, match="0 steps: no epoch draws any of the 3 training rows"):
        OptimizerSteps(Examples.from_sequences(random_rows([40] * 3), weights=[0.1] * 3), config)
