"""The reader's tokenizer: byte-level BPE learnt from the generator's own text, digits one by one.

python -m examples.reader.tokenizer --out DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from examples.reader.passages import Spec, sample_chat

PAD, BOS, SYSTEM, USER, ASSISTANT, END = (
    "<|pad|>", "<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
)  # fmt: skip
# A word, a digit or a mark with the space before it: one name has one spelling in tokens wherever it stands.
# A point with its decimal is one piece, so that the stop after "26." is never taken for the point of "26.5".
_PIECES = r"\.\p{N}| ?\p{L}[\p{L}\p{M}]*| ?\p{N}| ?[^\s\p{L}\p{N}]|\s"
# The space before a user's message makes a name that opens it look like the same name in mid-sentence.
_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] | trim }}<|end|>{% endgeneration %}"
    "{% elif message['role'] == 'system' %}<|system|>{{ message['content'] | trim }}<|end|>"
    "{% else %}<|user|> {{ message['content'] | trim }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(vocab_size: int = 1536, num_chats: int = 6000, seed: int = 0) -> PreTrainedTokenizerFast:
    """Learn merges from `num_chats` generated chats and attach the chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    special = [PAD, BOS, SYSTEM, USER, ASSISTANT, END]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(num_chats, seed), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _texts(num_chats: int, seed: int) -> Iterator[str]:
    rng = Random(f"tokenizer-{seed}")
    for _ in range(num_chats):
        chat = sample_chat(rng, Spec(num_turns=3))
        yield chat.system or ""
        for turn in chat.turns:
            yield " " + turn.question
            yield turn.answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    train_tokenizer().save_pretrained(parser.parse_args().out)
