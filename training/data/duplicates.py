"""Rows that repeat each other, exactly or nearly, among the training rows and between them and the held-out rows.

Nearly is a Jaccard similarity of at least 0.8 between the sets of word 3-grams of two rows, questions and answers
together without the system message. Candidates come from MinHash and LSH (Broder, 1997; datasketch), and each is
measured exactly, so that only real duplicates are listed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.fingerprints import minhash as words
from cluster.fingerprints.minhash import similarity
from training.data.conversation import message_words
from training.data.rows import TrainingRow

MIN_SIMILARITY = 0.8
_NUM_PERMUTATIONS = 128


@dataclass(frozen=True)
class Duplicate:
    """A row, the earlier row that it repeats (both as file:line), and their similarity (0 to 1)."""

    where: str
    like: str
    similarity: float
    exact: bool
    between: bool
    """Whether the row is held out and the row that it repeats is trained on."""


def find_duplicates(trained: Sequence[TrainingRow], held_out: Sequence[TrainingRow]) -> list[Duplicate]:
    """For each row the first earlier one that it repeats; held-out rows stand behind the training rows."""
    rows = [(row, False) for row in trained] + [(row, True) for row in held_out]
    return list(_find_exact(rows)) + list(_find_near(rows))


def row_minhash(row: TrainingRow, num_permutations: int = _NUM_PERMUTATIONS) -> Any:
    """The MinHash of a row's shingles; cluster/fingerprints/minhash.py says how it is computed."""
    return words.minhash(row_shingles(row), num_permutations)


def row_shingles(row: TrainingRow) -> set[str]:
    """The word 3-grams of a row without its system message, or of its text, case folded."""
    if row.text is not None:
        return words.word_shingles(row.text)
    messages = [*row.messages, *(row.rejected or ())[-1:]]
    return words.word_shingles(" ".join(message_words(message) for message in messages if message["role"] != "system"))


def _find_exact(rows: Sequence[tuple[TrainingRow, bool]]) -> Iterator[Duplicate]:
    first: dict[str, tuple[TrainingRow, bool]] = {}
    for row, held_out in rows:
        earlier, earlier_held_out = first.setdefault(row.digest, (row, held_out))
        if earlier is not row:
            yield Duplicate(row.where, earlier.where, 1.0, True, held_out and not earlier_held_out)


def _find_near(rows: Sequence[tuple[TrainingRow, bool]]) -> Iterator[Duplicate]:
    """Only rows unlike all earlier rows are indexed, so that a thousand similar rows do not make a million pairs."""
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=MIN_SIMILARITY, num_perm=_NUM_PERMUTATIONS)
    seen: set[str] = set()
    for number, (row, held_out) in enumerate(rows):
        if row.digest in seen:
            continue
        seen.add(row.digest)
        signature, mine = row_minhash(row), row_shingles(row)
        alike = [(similarity(mine, row_shingles(rows[other][0])), -other) for other in index.query(signature)]
        best, negated_number = max(alike, default=(0.0, 0))
        if best < MIN_SIMILARITY:
            index.insert(number, signature)
            continue
        earlier, earlier_held_out = rows[-negated_number]
        yield Duplicate(row.where, earlier.where, round(best, 3), False, held_out and not earlier_held_out)
