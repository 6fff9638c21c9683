"""Rows -> packs: whole rows laid end to end up to a number of tokens, with nothing padded and nothing cut.

Which rows go together is decided by (seed, epoch) alone, so every worker computes the same plan by itself, and a
restarted worker finds its place again.
"""

import heapq
from collections.abc import Sequence
from random import Random

Pack = tuple[int, ...]


def plan_epoch(lengths: Sequence[int], capacity: int, multiple: int, seed: int, epoch: int) -> list[Pack]:
    """Share rows out over packs of up to `capacity` tokens, of nearly equal size so that no worker waits for another.

    The longest row goes first into the emptiest pack (Graham, 1969), ties in an order drawn from (seed, epoch). The
    number of packs follows from the lengths alone and is a multiple of `multiple` (workers * gradient accumulation);
    where there are fewer rows than packs the last ones stay empty. Rows within a pack are sorted by length.
    """
    rng = Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    order.sort(key=lambda row: -lengths[row])
    num_packs = multiple * max(1, -(-sum(lengths) // (capacity * multiple)))
    while (packs := _fill_packs(order, lengths, num_packs, capacity)) is None:
        num_packs += multiple
    filled = [pack for pack in packs if pack]
    rng.shuffle(filled)
    return [tuple(sorted(pack, key=lambda row: lengths[row])) for pack in filled] + [()] * (num_packs - len(filled))


def _fill_packs(order: Sequence[int], lengths: Sequence[int], num_packs: int, capacity: int) -> list[list[int]] | None:
    """The packs, or None where one of them got more than `capacity` tokens."""
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    heap = [(0, number) for number in range(num_packs)]
    for row in order:
        tokens, number = heap[0]
        if tokens + lengths[row] > capacity:
            return None
        packs[number].append(row)
        heapq.heapreplace(heap, (tokens + lengths[row], number))
    return packs
