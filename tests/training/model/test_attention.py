"""Both attentions against that of transformers, through whole models."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AutoModelForCausalLM

from tests.training.architectures import ARCHITECTURES, write_architecture
from tests.training.data.test_packing import losses_and_gradients, random_rows
from tests.training.model.test_objective import dpo_model, preferences
from tests.training.model.varlen_reference import varlen_attention
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model import attention
from training.model.attention import VARLEN_ATTENTION, VarlenAttention, register_attentions
from training.model.model import load_model

CPU = torch.device("cpu")
# Those whose attention scores are capped, which torch's kernel cannot do.
CAPPED = {"gemma2", "gpt-oss"}


@pytest.fixture
def varlen_on_cpu() -> Iterator[None]:
    """Torch's kernel, which runs on a GPU alone, replaced by a reference."""
    register_attentions()
    AttentionInterface.register(VARLEN_ATTENTION, VarlenAttention(varlen_attention))
    yield
    register_attentions()


def with_varlen(model):
    AttentionInterface.register(VARLEN_ATTENTION, VarlenAttention(varlen_attention))
    model.set_attn_implementation(VARLEN_ATTENTION)
    return model


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("lengths", [[2, 12, 40, 3, 66, 90, 120], [50]], ids=["a pack", "one row"])
@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - CAPPED))
def test_the_kernel_is_handed_what_each_architecture_needs(
    varlen_on_cpu: None, tmp_path: Path, architecture: str, lengths: list[int], padded: bool, checkpointing: bool
) -> None:
    config = TrainingConfig(precision="fp32", method="full", sequence_length=128, gradient_checkpointing=checkpointing)
    model = load_model(str(write_architecture(architecture, tmp_path)), config, CPU)
    rows = Examples.from_sequences(random_rows(lengths))
    batch = make_micro_batch(rows, tuple(range(len(rows))), padded=padded)
    expected, expected_gradients = losses_and_gradients(model, [batch])
    losses, gradients = losses_and_gradients(with_varlen(model), [batch])
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_attention_that_is_chosen_is_that_of_the_model(tmp_path: Path, architecture: str) -> None:
    """Windows, soft caps and sinks are those of transformers' plainest code, in which a row is alone."""
    folder = write_architecture(architecture, tmp_path)
    config = TrainingConfig(precision="fp32", method="full", sequence_length=128)
    model = load_model(str(folder), config, CPU)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    batch = make_micro_batch(Examples.from_sequences(random_rows([120])), (0,))
    with torch.no_grad():
        log_probabilities = plain(batch.token_ids).logits[0, batch.predicts_from].log_softmax(-1)
    expected = -log_probabilities.gather(1, batch.answers[:, None])[:, 0]
    torch.testing.assert_close(losses_and_gradients(model, [batch])[0], expected, atol=1e-5, rtol=1e-5)


def test_rows_of_a_single_token_and_empty_packs(varlen_on_cpu: None, model_folder: Path) -> None:
    model = load_model(str(model_folder), TrainingConfig(precision="fp32", method="full"), CPU)
    rows = Examples.from_sequences(random_rows([5, 7]))
    sequence = rows.sequence(0)[0].tolist()
    alone = make_micro_batch(rows, (0,))
    # Before and behind the row stand sequences of one token, in which nothing is learnt.
    batch = attention.MicroBatch(
        token_ids=torch.tensor([[9, *sequence, 9]]),
        positions=torch.tensor([[0, *range(5), 0]]),
        row_starts=torch.tensor([0, 1, 6, 7]),
        predicts_from=alone.predicts_from + 1,
        answers=alone.answers,
    )
    expected, _ = losses_and_gradients(model, [alone])
    losses, _ = losses_and_gradients(with_varlen(model), [batch])
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=1e-5)
    assert len(losses_and_gradients(model, [make_micro_batch(rows, ())])[0]) == 0


def test_both_answers_of_a_preference_are_apart(varlen_on_cpu: None, model_folder: Path) -> None:
    model, objective = dpo_model(model_folder)
    batch = make_micro_batch(preferences(4), (2, 0, 3, 1))
    expected = objective.margins(model, batch)
    with_varlen(model.get_base_model())
    torch.testing.assert_close(objective.margins(model, batch), expected, atol=1e-5, rtol=1e-5)


def test_the_borders_of_a_batch_are_made_once(varlen_on_cpu: None, model_folder: Path) -> None:
    """Every layer gets the same tensor, and a length that no GPU has to be asked for."""
    model = load_model(str(model_folder), TrainingConfig(precision="fp32", method="full"), CPU)
    borders = []

    def watched(query, key, value, cu_seq_q, *others, **named):
        borders.append(cu_seq_q)
        return varlen_attention(query, key, value, cu_seq_q, *others, **named)

    AttentionInterface.register(VARLEN_ATTENTION, VarlenAttention(watched))
    model.set_attn_implementation(VARLEN_ATTENTION)
    losses_and_gradients(model, [make_micro_batch(Examples.from_sequences(random_rows([9, 4])), (0, 1))])
    assert len(borders) == 2 and borders[0] is borders[1]


def test_the_reference_has_the_kernels_parameters() -> None:
    ours, torchs = (inspect.signature(function).parameters for function in (varlen_attention, varlen_attn))
    assert set(ours) <= set(torchs)
    assert {name: torchs[name].kind for name in ours} == {name: ours[name].kind for name in ours}


@pytest.mark.parametrize("limit", ["softcap", "s_aux", "position_bias", "indices", "block_indices"])
def test_what_our_attentions_cannot_do_is_not_passed_over(limit: str) -> None:
    heads = torch.zeros(1, 2, 4, 8)
    with pytest.raises(AssertionError, match=limit):
        attention.packed_attention(torch.nn.Module(), heads, heads, heads, None, **{limit: 5.0})
    borders = attention.SequenceBorders(torch.tensor([0, 4], dtype=torch.int32), 4)
    with pytest.raises(AssertionError, match=limit):
        VarlenAttention(varlen_attention)(torch.nn.Module(), heads, heads, heads, None, borders, **{limit: 5.0})


def test_a_window_shorter_than_a_row_is_not_passed_over() -> None:
    heads = torch.zeros(1, 2, 4, 8)
    attention.packed_attention(torch.nn.Module(), heads, heads, heads, None, sliding_window=4)
    with pytest.raises(AssertionError, match="window"):
        attention.packed_attention(torch.nn.Module(), heads, heads, heads, None, sliding_window=3)
