from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from tests.training.architectures import ARCHITECTURES, write_architecture
from training.config import TrainingConfig
from training.model import attention
from training.model.attention import choose_attention

# Those whose tokens see less than what stands before them in a row of 128 tokens, or whose scores are capped.
MASKED = {"mistral with a window", "gemma2", "gemma3"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_row_by_row_only_where_every_token_sees_its_whole_row(tmp_path: Path, architecture: str) -> None:
    config = AutoConfig.from_pretrained(write_architecture(architecture, tmp_path))
    chosen = choose_attention(config, TrainingConfig(sequence_length=128), torch.device("cpu"))
    assert chosen == ("sdpa" if architecture in MASKED else attention.PACKED_ATTENTION)


def test_a_window_that_no_row_fills_changes_nothing(tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(write_architecture("mistral with a window", tmp_path))
    assert (
        choose_attention(config, TrainingConfig(sequence_length=16), torch.device("cpu")) == attention.PACKED_ATTENTION
    )
    assert choose_attention(config, TrainingConfig(sequence_length=17), torch.device("cpu")) == "sdpa"


def test_attention_of_another_kind_is_left_to_transformers(tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(write_architecture("llama", tmp_path))
    config.layer_types = ["full_attention", "chunked_attention"]
    assert choose_attention(config, TrainingConfig(), torch.device("cpu")) == "sdpa"


def test_what_packed_attention_cannot_do_is_not_passed_over() -> None:
    heads = torch.zeros(1, 2, 4, 8)
    with pytest.raises(AssertionError):
        attention.packed_attention(torch.nn.Module(), heads, heads, heads, None, softcap=5.0)
