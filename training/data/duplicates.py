"""Rows that repeat each other, exactly or nearly, among the training rows and between them and the held-out rows.

Nearly is a Jaccard similarity of at least 0.8 between the sets of word 3-grams of two rows, questions and answers
together without the system message. Candidates come from MinHash and LSH (Broder, 1997; the numbers are datasketch's),
and each is measured exactly, so that only real duplicates are listed.

Of each row no more is kept in memory than a digest and nine hashes, and its words are read again where another row
shares one of these: most rows share none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.fingerprints import minhash as words
from cluster.fingerprints.minhash import similarity
from training.data.conversation import message_words
from training.data.rows import TrainingRow

MIN_SIMILARITY = 0.8
_NUM_PERMUTATIONS = 128
# What datasketch's MinHashLSH takes for a threshold of 0.8 and 128 permutations: rows are compared where one of so many
# parts of their numbers is the same.
NUM_BANDS, BAND_SIZE = 9, 13
_FACTORS = np.random.default_rng(0).integers(0, 2**63, BAND_SIZE, np.uint64) * np.uint64(2) + np.uint64(1)
_CHUNK_ROWS = 256
_NUM_KEPT = 4096


@dataclass(frozen=True)
class Duplicate:
    """A row, the earlier row that it repeats (both as file:line), and their similarity (0 to 1)."""

    where: str
    like: str
    similarity: float
    exact: bool
    between: bool
    """Whether the row is held out and the row that it repeats is trained on."""


@dataclass(frozen=True)
class RowMarks:
    """What finds repeated rows: `digests` [num_rows, 4] are theirs, `bands` [num_rows, 9] hashes of their MinHashes."""

    digests: npt.NDArray[np.uint64]
    bands: npt.NDArray[np.uint64]

    @classmethod
    def join(cls, parts: list["RowMarks"]) -> "RowMarks":
        """All marks of `parts`, which is empty afterwards: a million rows have 104 MB of them."""
        num_rows = sum(len(part.digests) for part in parts)
        joined = cls(np.empty((num_rows, 4), np.uint64), np.empty((num_rows, NUM_BANDS), np.uint64))
        while parts:
            part = parts.pop()
            start = num_rows - len(part.digests)
            joined.digests[start:num_rows], joined.bands[start:num_rows] = part.digests, part.bands
            num_rows = start
        return joined

    def take(self, places: npt.NDArray[np.int64]) -> "RowMarks":
        return RowMarks(self.digests[places], self.bands[places])


def find_duplicates(
    trained: Sequence[TrainingRow], held_out: Sequence[TrainingRow], marks: RowMarks | None = None
) -> list[Duplicate]:
    """For each row the first earlier one that it repeats; held-out rows stand behind the training rows.

    Args:
        marks: those of the training rows and then of the held-out rows; they are computed where they are not given.
    """
    rows = _Rows(trained, held_out)
    marks = marks or RowMarks.join([row_marks(part) for part in rows.chunks()])
    first = _first_with_digest(marks.digests)
    repeated = np.flatnonzero(first != np.arange(len(rows)))
    exact = [rows.duplicate(int(place), int(first[place]), 1.0, exact=True) for place in repeated]
    return exact + list(_find_near(rows, np.flatnonzero(first == np.arange(len(rows))), marks.bands))


def row_marks(rows: Sequence[TrainingRow]) -> RowMarks:
    """The marks of some rows."""
    digests = b"".join(bytes.fromhex(row.digest) for row in rows)
    signatures = words.minhash_many([row_shingles(row) for row in rows], _NUM_PERMUTATIONS)
    parts = signatures[:, : NUM_BANDS * BAND_SIZE].reshape(len(rows), NUM_BANDS, BAND_SIZE).astype(np.uint64)
    return RowMarks(np.frombuffer(digests, np.uint64).reshape(len(rows), 4), _hash_bands(parts))


def row_minhash(row: TrainingRow, num_permutations: int = _NUM_PERMUTATIONS) -> Any:
    """The MinHash of a row's shingles; cluster/fingerprints/minhash.py says how it is computed."""
    return words.minhash(row_shingles(row), num_permutations)


def row_shingles(row: TrainingRow) -> set[str]:
    """The word 3-grams of a row without its system message, or of its text, case folded."""
    if row.text is not None:
        return words.word_shingles(row.text)
    messages = [*row.messages, *(row.rejected or ())[-1:]]
    return words.word_shingles(" ".join(message_words(message) for message in messages if message["role"] != "system"))


def _hash_bands(parts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """[num_rows, 9] of [num_rows, 9, 13] numbers. Rows that it takes for alike wrongly are measured and dropped."""
    hashes: npt.NDArray[np.uint64] = (parts * _FACTORS).sum(axis=2, dtype=np.uint64)
    return hashes


def _first_with_digest(digests: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """[num_rows] the first row with the digest of each row: itself, where it repeats none."""
    order = np.lexsort(digests.T)  # a stable sort: rows of one digest stay in their order
    ordered = digests[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[np.flatnonzero(begins)][np.cumsum(begins) - 1] if len(order) else order
    return first


def _find_near(rows: "_Rows", places: npt.NDArray[np.int64], bands: npt.NDArray[np.uint64]) -> Iterator[Duplicate]:
    """Only rows unlike all earlier rows are indexed, so that a thousand similar rows do not make a million pairs.

    The rows of a group, which share a hash, are a chain: `heads` is the last one that was indexed, `links` leads from
    each to the one before.
    """
    groups = np.stack([_group(bands[places, band]) for band in range(NUM_BANDS)], axis=1)
    shared = np.flatnonzero((groups >= 0).any(axis=1))
    places, groups = places[shared], groups[shared]
    heads = [np.full(groups[:, band].max(initial=-1) + 1, -1, np.int32) for band in range(NUM_BANDS)]
    links = np.full((len(places), NUM_BANDS), -1, np.int32)

    @lru_cache(_NUM_KEPT)
    def shingles(number: int) -> set[str]:
        return row_shingles(rows[int(places[number])])

    for number in range(len(places)):
        alike = set()
        own = [(band, int(group)) for band, group in enumerate(groups[number]) if group >= 0]
        for band, group in own:
            other = int(heads[band][group])
            while other >= 0:
                alike.add(other)
                other = int(links[other, band])
        measured = [(similarity(shingles(number), shingles(other)), -other) for other in alike]
        best, negated = max(measured, default=(0.0, 0))
        if best >= MIN_SIMILARITY:
            yield rows.duplicate(int(places[number]), int(places[-negated]), round(best, 3), exact=False)
            continue
        for band, group in own:
            links[number, band], heads[band][group] = heads[band][group], number


def _group(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """[num_rows] the same number, from 0, for rows with the same hash; -1 where no other row has it."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    begins = np.ones(len(order), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    number = np.cumsum(begins) - 1
    sizes = np.bincount(number) if len(order) else np.empty(0, np.int64)
    names = np.where(sizes > 1, np.cumsum(sizes > 1) - 1, -1).astype(np.int32)
    groups = np.empty(len(order), np.int32)
    groups[order] = names[number]
    return groups


class _Rows:
    """Training rows, and held-out rows behind them."""

    def __init__(self, trained: Sequence[TrainingRow], held_out: Sequence[TrainingRow]) -> None:
        self._parts, self._num_trained = (trained, held_out), len(trained)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, place: int) -> TrainingRow:
        trained, held_out = self._parts
        return trained[place] if place < self._num_trained else held_out[place - self._num_trained]

    def chunks(self) -> Iterator[list[TrainingRow]]:
        for part in self._parts:
            for start in range(0, len(part), _CHUNK_ROWS):
                yield list(part[start : start + _CHUNK_ROWS])

    def duplicate(self, place: int, like: int, how_alike: float, exact: bool) -> Duplicate:
        between = place >= self._num_trained > like
        return Duplicate(self[place].where, self[like].where, how_alike, exact, between)
