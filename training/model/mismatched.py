"""Prompts with the answers of other rows, from which KTO estimates its reference point.

The answers of a global batch are dealt out anew among its prompts, so that the pairs hold the same answers as the rows
(docs/decisions/037-kto.md). Which row gets which answer follows from the rows and a draw alone: neither the number of
workers nor the packs change it.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np

from training.data.examples import Examples
from training.data.micro_batch import Array, MicroBatch, lay_out
from training.data.packing import Pack

MismatchedPack = tuple[tuple[int, int], ...]
"""Pairs of the row that a prompt is taken from, and the row that an answer is taken from."""


def draw_mismatched(rows: Examples, packs: Sequence[Pack], draw: str) -> list[MismatchedPack]:
    """Pairs of the rows in `packs`, in as many packs of nearly equal size; a pack may hold up to twice the tokens.

    Where `packs` hold a single row, its prompt is paired with an answer of another of `rows`; there is no pair where
    there is no other.

    Args:
        draw: what decides the pairs, such as the seed and the step.
    """
    pairs = sorted(_pair(rows, packs, Random(f"mismatched-{draw}")), key=lambda pair: -_num_tokens(rows, pair))
    filled: list[list[tuple[int, int]]] = [[] for _ in packs]
    heap = [(0, number) for number in range(len(packs))]
    for pair in pairs:
        tokens, number = heap[0]
        filled[number].append(pair)
        heapq.heapreplace(heap, (tokens + _num_tokens(rows, pair), number))
    return [tuple(pack) for pack in filled]


def make_mismatched_batch(rows: Examples, pack: MismatchedPack, *, padded: bool = False) -> MicroBatch:
    """The pairs of a pack; one that is longer than every row ends early."""
    return lay_out([_join(rows, *pair) for pair in pack], padded=padded)


def _pair(rows: Examples, packs: Sequence[Pack], rng: Random) -> Iterator[tuple[int, int]]:
    counts = Counter(row for pack in packs for row in pack)
    distinct = sorted(counts)
    rng.shuffle(distinct)
    taken = [row for row in distinct for _ in range(counts[row])]
    if len(distinct) == 1:
        others = [row for row in range(len(rows)) if row != distinct[0]]
        return iter([(distinct[0], rng.choice(others))] * len(taken) if others else [])
    # By as many places as the most frequent row has: none meets itself, unless it is more than half of all.
    shift = max(counts.values(), default=0)
    return zip(taken, taken[shift:] + taken[:shift], strict=True)


def _join(rows: Examples, prompt: int, answer: int) -> tuple[Array, Array]:
    start, first = rows.answer_starts[prompt], rows.answer_starts[answer]
    tokens, is_answer = rows.sequence(answer)
    length = _num_tokens(rows, (prompt, answer))
    token_ids = np.concatenate([rows.sequence(prompt)[0][:start], tokens[first:]])
    return token_ids[:length], np.concatenate([np.zeros(start, np.bool_), is_answer[first:]])[:length]


def _num_tokens(rows: Examples, pair: tuple[int, int]) -> int:
    prompt, answer = pair
    num_answers = rows.lengths[answer] - rows.answer_starts[answer]
    return min(rows.answer_starts[prompt] + num_answers, rows.longest)
