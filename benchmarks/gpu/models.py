"""Models with random weights and rows of random tokens, so that nothing has to be downloaded.

A Llama's shapes are those of Llama 3.2 1B and Llama 3.1 8B; the tokenizer has a token per byte, and its vocabulary is
padded to theirs.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from training.data.answer_masks import Example
from training.data.examples import Examples

NUM_BYTE_TOKENS = 264
_SPECIAL_TOKENS = 8


@dataclass(frozen=True)
class LlamaShape:
    """The numbers that a Llama is made from."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    tied: bool
    vocabulary: int = 128_256
    max_length: int = 8192

    def architecture(self) -> Any:
        """The transformers configuration."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=self.hidden, intermediate_size=self.intermediate,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.key_heads,
            head_dim=self.hidden // self.heads, max_position_embeddings=self.max_length,
            tie_word_embeddings=self.tied, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip

    def with_layers(self, layers: int) -> "LlamaShape":
        return replace(self, layers=layers)


LLAMA_1B = LlamaShape(2048, 8192, 16, 32, 8, tied=True)
LLAMA_8B = LlamaShape(4096, 14336, 32, 32, 8, tied=False)
TINY = LlamaShape(64, 128, 2, 4, 2, tied=True, vocabulary=512, max_length=512)
"""What is run where only the program is to be tried."""


def window_architecture(shape: LlamaShape, window: int) -> Any:
    """A Gemma 2 without soft caps of about this shape, with a window in every other layer."""
    from transformers import Gemma2Config

    return Gemma2Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
        head_dim=shape.hidden // shape.heads, query_pre_attn_scalar=shape.hidden // shape.heads,
        max_position_embeddings=shape.max_length, sliding_window=window, attn_logit_softcapping=None,
        final_logit_softcapping=None, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip


def write_model(folder: Path, architecture: Any, device: torch.device) -> float:
    """Write a model with random weights in bf16 and its tokenizer, unless it is there; returns the seconds it took."""
    from transformers import AutoModelForCausalLM

    # The tokenizer of the tests, whose chat template marks its answers.
    from tests.training.conftest import byte_tokenizer

    began, unfinished = time.perf_counter(), folder.with_suffix(".part")
    if folder.exists():
        return 0.0
    shutil.rmtree(unfinished, ignore_errors=True)
    torch.manual_seed(0)
    with torch.device(device):  # on a GPU the random numbers of 8 billion weights take a second
        model = AutoModelForCausalLM.from_config(architecture, dtype=torch.bfloat16)
    with torch.no_grad():
        # Tokens that the tokenizer does not have are never the likeliest, so that what is served can be read.
        model.get_output_embeddings().weight[NUM_BYTE_TOKENS:] = 0
    model.save_pretrained(unfinished)
    byte_tokenizer().save_pretrained(unfinished)
    unfinished.rename(folder)
    return time.perf_counter() - began


def random_rows(lengths: Sequence[int], seed: int = 0, answer_share: float = 0.5) -> Examples:
    """Rows of tokens of the byte tokenizer; `answer_share` of each, at its end, is learnt."""
    rng = Random(seed)
    sequences = []
    for length in lengths:
        first = min(length - 1, max(1, round(length * (1 - answer_share))))
        tokens = rng.choices(range(_SPECIAL_TOKENS, NUM_BYTE_TOKENS), k=length)
        sequences.append(Example(tokens, [place >= first for place in range(length)]))
    return Examples.from_sequences(sequences)


def random_pairs(lengths: Sequence[int], seed: int = 0) -> Examples:
    """Preference pairs: one prompt, and two answers of the same length."""
    rows, other = random_rows(lengths, seed), random_rows(lengths, seed + 1)
    sequences = []
    for number in range(len(rows)):
        (chosen, marks), (rejected, _) = rows.sequence(number), other.sequence(number)
        second = [int(new if mark else old) for old, new, mark in zip(chosen, rejected, marks, strict=True)]
        sequences += [Example(list(map(int, chosen)), list(marks)), Example(second, list(marks))]
    return Examples.from_sequences(sequences, sequences_per_row=2)


def mixed_lengths(number: int, longest: int, seed: int = 0) -> list[int]:
    """Lengths of rows as instruction data has them: most are short, some are as long as is allowed."""
    rng = Random(seed)
    return [max(8, min(longest, round(rng.lognormvariate(0, 0.8) * longest / 6))) for _ in range(number)]
