"""How well an embedding model knows the language of a text, as far as its tokenizer tells.

    fluency("Wie viele Tage Urlaub?", TokenCounts(tokenizer))     # 1.0: words that the model knows, 0.0: mere letters

A tokenizer that was made from texts of a language reads several letters of it at a time; of another it knows only
letters, or nothing (Rust et al., "How Good is Your Tokenizer?", ACL 2021, call it fertility). Han characters are a
token each in every vocabulary, so there the vocabulary itself is looked at.
"""

from functools import cached_property
from typing import Any

import regex

FEWEST, MOST = 1.5, 3.0
"""Letters that a token has: with `FEWEST` or less the language is unknown, with `MOST` or more it is known."""
MIN_HAN = 2_000
"""Han characters in the vocabulary of a model that knows Chinese or Japanese; that of an English BERT has 339."""
MAX_UNKNOWN = 0.1
"""Share of the tokens for which the vocabulary has nothing, in a language that the model knows."""
_LETTERS = regex.compile(r"[\p{L}\p{M}]+")
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")


class TokenCounts:
    """What is to be known of a tokenizer, of `tokenizers` or of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def count(self, text: str) -> tuple[int, int]:
        """The tokens of a text, and those of them that are unknown."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        ids = encoded if isinstance(encoded, list) else encoded.ids
        return len(ids), ids.count(self._unknown)

    @property
    def num_han(self) -> int:
        """Different Han characters in the tokens of the vocabulary."""
        return len(set(_HAN.findall("".join(self._tokenizer.get_vocab()))))

    @cached_property
    def _unknown(self) -> int | None:
        """The id of the unknown token; None where the vocabulary has every byte."""
        model = getattr(self._tokenizer, "model", None) or self._tokenizer
        for name in ("unk_token_id", "unk_id"):
            if isinstance(number := getattr(model, name, None), int):
                return number
        token = getattr(model, "unk_token", None)
        return self._tokenizer.token_to_id(token) if token else None


def fluency(text: str, tokens: TokenCounts) -> float:
    """From 0 to 1. Names, numbers and signs say nothing, so only words are looked at; 1 where there are none."""
    words = _LETTERS.findall(text)
    num_letters = sum(map(len, words))
    if not num_letters:
        return 1.0
    if 2 * len(_HAN.findall(text)) > num_letters:
        return float(tokens.num_han >= MIN_HAN)
    num_tokens, num_unknown = tokens.count(" ".join(words))
    if not num_tokens or num_unknown > MAX_UNKNOWN * num_tokens:
        return 0.0
    return min(1.0, max(0.0, (num_letters / num_tokens - FEWEST) / (MOST - FEWEST)))
