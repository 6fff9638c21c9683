"""Plain texts -> sequences: each document whole, or cut into windows where it is longer than a sequence may be.

A document is the beginning-of-sequence token where the tokenizer has one, the text, and the end-of-sequence token. Each
token is learnt exactly once, but for the very first, which nothing stands before. A window begins with the last token
of the window before it, which is not learnt again: it is what the first token that is learnt is predicted from.
"""

from itertools import pairwise
from typing import Any

from training.data.answer_masks import Example


def encode_text(tokenizer: Any, text: str, max_tokens: int) -> list[Example]:
    """The windows of a document, of up to `max_tokens` tokens and of nearly equal length, in their order.

    Raises:
        ValueError: the text has no token that can be learnt.
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    start, end = ([] if token is None else [token] for token in (tokenizer.bos_token_id, tokenizer.eos_token_id))
    tokens = [*start, *ids, *end]
    if not ids or len(tokens) < 2:
        raise ValueError("`text` is less than two tokens long, and the first is never learnt")
    num_learnt = len(tokens) - 1
    num_windows = -(-num_learnt // (max_tokens - 1))
    borders = [num_learnt * number // num_windows for number in range(num_windows + 1)]
    return [Example(tokens[first : last + 1], [False] + [True] * (last - first)) for first, last in pairwise(borders)]
