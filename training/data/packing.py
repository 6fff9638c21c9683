"""Rows -> packs: whole rows laid end to end up to a number of tokens, with nothing padded and nothing cut.

Which rows go together is decided by (seed, epoch) alone, so every worker computes the same plan by itself, and a
restarted worker finds its place again.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from random import Random

from cluster.errors import TandemError

Pack = tuple[int, ...]


def plan_epoch(lengths: Sequence[int], capacity: int, multiple: int, seed: int, epoch: int) -> list[Pack]:
    """Share rows out over packs of up to `capacity` tokens, of nearly equal size so that no worker waits for another.

    The longest row goes first into the emptiest pack (Graham, 1969), ties in an order drawn from (seed, epoch). So a
    pack without its shortest row holds no more tokens than any other pack. `count_packs` says how many packs there are;
    where there are fewer rows than packs the last ones stay empty. Rows within a pack are sorted by length. It takes
    O(n log n) steps for n rows, whatever their lengths.

    Raises:
        TandemError: as `count_packs`.
    """
    num_packs = count_packs(lengths, capacity, multiple)
    rng = Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    order.sort(key=lengths.__getitem__, reverse=True)
    filled = [pack for pack in _fill_packs(order, lengths, num_packs) if pack]
    rng.shuffle(filled)
    return [tuple(sorted(pack, key=lengths.__getitem__)) for pack in filled] + [()] * (num_packs - len(filled))


def count_packs(lengths: Sequence[int], capacity: int, multiple: int) -> int:
    """How many packs `plan_epoch` makes, which the lengths alone decide.

    It is a multiple of `multiple` (workers * gradient accumulation): the smallest that holds all tokens where the rows
    fit into so many packs, and else a larger one, found by doubling what is added and then halving. It is never more
    than twice the smallest, but for one `multiple`: a row finds no room only while every pack is filled to more than
    its half.

    Raises:
        TandemError: a row is longer than a pack.
    """
    counts = sorted(Counter(lengths).items(), reverse=True)
    if counts and counts[0][0] > capacity:
        raise _too_long_for_a_pack(counts[0][0], capacity)
    total = sum(length * number for length, number in counts)
    fewest = max(1, -(-total // (capacity * multiple)))
    too_few, enough = fewest - 1, fewest
    while not _rows_fit(counts, enough * multiple, capacity):
        too_few, enough = enough, enough + max(1, 2 * (enough - fewest))
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _rows_fit(counts, middle * multiple, capacity):
            enough = middle
        else:
            too_few = middle
    return enough * multiple


def _rows_fit(counts: Sequence[tuple[int, int]], num_packs: int, capacity: int) -> bool:
    """Whether no pack gets more than `capacity` tokens; `counts` are lengths, from the longest, and rows of each.

    Packs with the same number of tokens are counted together, not listed.
    """
    packs_with, heap = {0: num_packs}, [0]
    for length, num_rows in counts:
        while num_rows and length:
            tokens = heap[0]
            if tokens + length > capacity:
                return False
            num_taken = min(num_rows, packs_with[tokens])
            num_rows -= num_taken
            packs_with[tokens] -= num_taken
            if not packs_with[tokens]:
                heapq.heappop(heap)
            if not packs_with.get(tokens + length):
                heapq.heappush(heap, tokens + length)
            packs_with[tokens + length] = packs_with.get(tokens + length, 0) + num_taken
    return True


def _fill_packs(order: Sequence[int], lengths: Sequence[int], num_packs: int) -> list[list[int]]:
    """The rows of each pack. The heap holds tokens * num_packs + number: ordered by tokens, then by number."""
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    heap = list(range(num_packs))
    for row in order:
        emptiest = heap[0]
        packs[emptiest % num_packs].append(row)
        heapq.heapreplace(heap, emptiest + lengths[row] * num_packs)
    return packs


def _too_long_for_a_pack(num_tokens: int, capacity: int) -> TandemError:
    return TandemError(
        f"A row of {num_tokens} tokens fits into no forward pass of {capacity} tokens.",
        "Rows, and preference pairs with both of their answers, of up to `training.micro_batch_size` * "
        "`training.sequence_length` tokens.",
        "Raise one of the two; `tandem data check` names the rows.",
    )
