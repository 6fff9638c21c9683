"""Texts put into batches by their length, so that one of long texts takes no more memory than one of short ones."""

from collections.abc import Sequence

import numpy as np


def token_batches(num_tokens: Sequence[int], max_tokens: int, max_texts: int) -> list[list[int]]:
    """Positions of texts in batches, the longest first.

    Every text of a batch is padded to its longest, so its size is that length times the number of texts.

    Args:
        num_tokens: the length of each text in tokens.
        max_tokens: bound on a batch with its padding; a text that is longer is a batch of its own.
        max_texts: bound on the number of texts in a batch.
    """
    batches: list[list[int]] = []
    longest = 0
    for position in np.argsort([-length for length in num_tokens], kind="stable").tolist():
        full = not batches or len(batches[-1]) >= max_texts or (len(batches[-1]) + 1) * longest > max_tokens
        if full:
            batches.append([])
            longest = num_tokens[position]
        batches[-1].append(position)
    return batches
