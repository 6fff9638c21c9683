"""Small models of every make: they are trained as transformers computes them by itself, or refused before a step."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AttentionInterface

from cluster.errors import TandemError
from tests.training.data.test_packing import random_rows
from tests.training.every_model import CPU, ROWS, TYPES, compare_with_eager, table, try_layout, write_small
from training.config import TrainingConfig
from training.data.answer_masks import Example
from training.data.examples import Examples
from training.model.attention import PACKED_ATTENTION, packed_attention, register_attentions
from training.model.attention_check import _cut_tokens, settle_attention
from training.model.attention_choice import AttentionChoice, find_attention
from training.model.model import load_model

# One of each kind: plain, windows, absolute positions with dropout, experts, latent attention, an indexer, another
# attention than by name, biases by distance, sinks, chunks, a state, an encoder, parts for images.
ONE_OF_EACH_KIND = (
    "llama", "mistral", "gpt2", "jetmoe", "deepseek_v3", "deepseek_v32", "codegen", "bloom", "gpt_oss", "llama4_text",
    "qwen3_next", "bert", "gemma3",
)  # fmt: skip
TABLE = table()


@pytest.fixture(params=ONE_OF_EACH_KIND)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settle(folder: Path, rows: Examples = ROWS, chosen: str | None = None, **settings) -> AttentionChoice:
    config = TrainingConfig(**{"precision": "fp32", "method": "full", "sequence_length": 64, **settings})
    choice = find_attention(str(folder), config, CPU)
    model = load_model(str(folder), config, CPU)
    if chosen:
        model.set_attn_implementation(chosen)
        choice = AttentionChoice(chosen, "")
    return settle_attention(model, rows, config, folder.name, CPU, choice)


def check_type(kind: str, folder: Path, precision: str = "fp32") -> None:
    """Each layout is what the table of the docs says, and what is trained has the model's own losses and gradients."""
    path = write_small(kind, folder / kind)
    for packing, expected in zip((True, False), TABLE[kind], strict=True):
        outcome, model = try_layout(path, packing, precision)
        assert outcome == expected
        if model is not None and precision == "fp32":
            compare_with_eager(model, path, packing)


def test_a_type_is_trained_as_it_computes_or_refused(tmp_path: Path, kind: str) -> None:
    check_type(kind, tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", sorted(set(TABLE) - set(ONE_OF_EACH_KIND)))
def test_every_type_is_trained_as_it_computes_or_refused(tmp_path: Path, kind: str) -> None:
    check_type(kind, tmp_path)


@pytest.mark.matrix
# transformers cannot compute this one in bf16.
@pytest.mark.parametrize("kind", sorted(set(TABLE) - {"deepseek_v4"}))
def test_in_bf16_the_same_is_found(tmp_path: Path, kind: str) -> None:
    check_type(kind, tmp_path, "bf16")


@pytest.mark.parametrize("kind", ["llama", "gpt_oss", "bert"])
def test_rounding_in_bf16_hides_nothing(tmp_path: Path, kind: str) -> None:
    check_type(kind, tmp_path, "bf16")


def test_the_table_has_every_type_that_can_be_made_small() -> None:
    assert len(TABLE) > 150 and set(TABLE) <= set(TYPES)


@pytest.fixture
def attentions_restored() -> Iterator[None]:
    yield
    register_attentions()


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(
    ("kind", "forgotten", "settings"),
    [("mistral", "sliding_window", {"sliding_window": 4096}), ("granite", "scaling", {"attention_multiplier": 1.0})],
)
def test_another_attention_is_taken_where_ours_is_wrong(
    attentions_restored: None, tmp_path: Path, kind: str, forgotten: str, settings: dict, packing: bool
) -> None:
    """Also where the check's rows of 32 tokens do not fill the window of 4,096 that rows of the training fill."""

    def faulty(module, query, key, value, attention_mask, **others):
        others.pop(forgotten)
        return packed_attention(module, query, key, value, attention_mask, **others)

    config = TrainingConfig(precision="fp32", method="full", sequence_length=8192, packing=packing)
    model = load_model(str(write_small(kind, tmp_path / kind, **settings)), config, CPU)
    AttentionInterface.register(PACKED_ATTENTION, faulty)
    model.set_attn_implementation(PACKED_ATTENTION)
    settled = settle_attention(model, ROWS, config, kind, CPU, AttentionChoice(PACKED_ATTENTION, ""))
    assert (settled.name, settled.is_fallback) == ("sdpa", True)
    assert "differ by up to" in settled.reason and model.config._attn_implementation == "sdpa"


def test_a_window_that_no_row_fills_is_left_as_it_is(tmp_path: Path) -> None:
    folder = write_small("mistral", tmp_path / "mistral", sliding_window=4096)
    assert settle(folder, sequence_length=4096).name == PACKED_ATTENTION


def test_chunks_are_counted_through_a_pack(tmp_path: Path) -> None:
    """Llama 4's chunks of 8,192 tokens are longer than a row, and a pack of four rows is longer than a chunk."""
    folder = write_small("llama4_text", tmp_path / "llama4", attention_chunk_size=8192)
    assert settle(folder, sequence_length=4096, micro_batch_size=2).name == "sdpa"
    with pytest.raises(TandemError, match=r"packing: false"):
        settle(folder, sequence_length=4096, micro_batch_size=4)
    assert settle(folder, sequence_length=4096, micro_batch_size=4, packing=False).name == "sdpa"


def test_nothing_is_changed(tmp_path: Path) -> None:
    folder = write_small("gemma3_text", tmp_path / "gemma3", attention_dropout=0.5)
    config = TrainingConfig(precision="fp32", rank=4, dropout=0.5, sequence_length=64)
    model = load_model(str(folder), config, CPU)
    torch.manual_seed(7)
    random, weights = torch.get_rng_state(), {name: each.clone() for name, each in model.state_dict().items()}
    windows = [vars(module).get("sliding_window") for module in model.modules()]
    settle_attention(model, ROWS, config, "gemma3", CPU, AttentionChoice("sdpa", ""))
    assert torch.equal(random, torch.get_rng_state()) and model.training
    assert all(torch.equal(each, weights[name]) for name, each in model.state_dict().items())
    assert windows == [vars(module).get("sliding_window") for module in model.modules()]
    assert model.get_base_model().config.sliding_window == 6


def test_all_ranks_act_on_what_one_of_them_found(tmp_path: Path) -> None:
    config = TrainingConfig(precision="fp32", rank=4, sequence_length=64)
    model = load_model(str(write_small("llama", tmp_path / "llama")), config, CPU)
    chosen = AttentionChoice(PACKED_ATTENTION, "")
    with pytest.raises(TandemError, match="llama from token ids alone: what another rank found"):
        settle_attention(model, ROWS, config, "llama", CPU, chosen, lambda own: own or "what another rank found")
    answers = iter([None, None, "what another rank found"])
    settled = settle_attention(model, ROWS, config, "llama", CPU, chosen, lambda own: next(answers, own))
    assert settled.name == "sdpa" and "what another rank found" in settled.reason


@pytest.mark.parametrize("rows", [[1], [2], [1, 1, 40], [3] * 50, [3000]])
def test_whatever_rows_there_are_the_check_has_three(model_folder: Path, rows: list[int]) -> None:
    examples = Examples.from_sequences([Example([9] * each, [False] * each) for each in rows])
    assert [len(tokens) for tokens in _cut_tokens(examples)] == [32, 19, 9]
    settle(model_folder, examples)
    if max(rows) > 100:
        settle(model_folder, Examples.from_sequences(random_rows(rows)))


def test_a_model_that_gives_no_logits_for_each_token_is_refused(tmp_path: Path) -> None:
    config = TrainingConfig(precision="fp32", method="full", sequence_length=64)
    model = load_model(str(write_small("llama", tmp_path / "llama")), config, CPU)
    model.lm_head.register_forward_hook(lambda module, inputs, output: output[:, :1])
    with pytest.raises(TandemError, match=r"transformers cannot compute llama.*logits of the shape"):
        settle_attention(model, ROWS, config, "llama", CPU, AttentionChoice(PACKED_ATTENTION, ""))
