"""Encoded rows on disk: one file, which every worker maps into its memory, with all token sequences end to end.

The file is numpy's own .npz, an archive that stores arrays as they are. Workers read the parts that they need where
they lie: those of one node share the pages, and what is not in use can be dropped from memory.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from training.data.answer_masks import Example
from training.data.encoding.encoded_rows import EncodedRow, EncodedSequence

Tokens = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]
READ_BYTES = 2**24


@dataclass(frozen=True)
class Examples:
    """`token_ids` and `is_answer` hold all sequences; sequence i is `offsets[i]` to `offsets[i + 1]`.

    A row is one sequence, or two in preference data: the chosen answer at 2 * row, the rejected one at 2 * row + 1.
    `weights` [num_rows] says how often each row is seen in an epoch. `loss_weights` says what each token counts in the
    loss where some answer tokens count other than 1, and is None elsewhere. `labels` [num_rows] says of each row
    whether its answer is a desired one (KTO), and is None where rows have no labels. A file holds the last two arrays
    only where they are not None.
    """

    token_ids: Tokens
    is_answer: Flags
    offsets: npt.NDArray[np.int64]
    weights: Weights
    sequences_per_row: int = 1
    loss_weights: Weights | None = None
    labels: Flags | None = None

    @classmethod
    def from_sequences(
        cls,
        sequences: Sequence[Example | EncodedSequence],
        sequences_per_row: int = 1,
        weights: Sequence[float] | None = None,
        labels: Sequence[bool] | None = None,
    ) -> "Examples":
        """Lay sequences end to end; each row counts once where no weights are given."""
        num_rows, rest = divmod(len(sequences), sequences_per_row)
        assert rest == 0, f"{len(sequences)} sequences do not make rows of {sequences_per_row}"
        offsets = np.cumsum([0, *(len(sequence.token_ids) for sequence in sequences)], dtype=np.int64)
        token_ids, is_answer = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.bool_)
        for sequence, start, end in zip(sequences, offsets[:-1], offsets[1:], strict=True):
            token_ids[start:end], is_answer[start:end] = sequence.token_ids, sequence.is_answer
        return cls(
            token_ids,
            is_answer,
            offsets,
            np.ones(num_rows, np.float32) if weights is None else np.array(weights, np.float32),
            sequences_per_row,
            _loss_weights(sequences, offsets, is_answer),
            None if labels is None else np.array(labels, np.bool_),
        )

    @classmethod
    def from_rows(cls, rows: Sequence[EncodedRow]) -> "Examples":
        """The sequences of encoded rows, in pairs where they are preference pairs."""
        per_row = 2 if any(row.row.rejected for row in rows) else 1
        sequences = _SequencesOf(rows)
        weights = [row.row.weight for row in rows for _ in row.sequences][::per_row]
        labels = [bool(row.row.label) for row in rows for _ in row.sequences] if _have_labels(rows) else None
        return cls.from_sequences(sequences, per_row, weights, labels)

    @classmethod
    def load(cls, path: Path) -> "Examples":
        """The rows of a file of this version or an earlier one. The tokens stay on the disk until they are used.

        Raises:
            zipfile.BadZipFile: the file is damaged or cut short.
        """
        with zipfile.ZipFile(path) as archive:
            tokens, marks = (_map_array(path, archive, name) for name in ("token_ids", "is_answer"))
            is_weighted = "loss_weights.npy" in archive.namelist()
            loss_weights = _map_array(path, archive, "loss_weights") if is_weighted else None
        with np.load(path) as arrays:
            return cls(
                tokens, marks, arrays["offsets"], arrays["weights"], int(arrays["sequences_per_row"]), loss_weights,
                arrays.get("labels"),
            )  # fmt: skip

    def save(self, path: Path) -> None:
        np.savez(
            path,
            token_ids=self.token_ids,
            is_answer=self.is_answer,
            offsets=self.offsets,
            weights=self.weights,
            sequences_per_row=self.sequences_per_row,
            **{name: value for name in ("loss_weights", "labels") if (value := getattr(self, name)) is not None},
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.weights)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [int(length) for length in np.diff(self.offsets)]

    @cached_property
    def row_lengths(self) -> list[int]:
        """Tokens of each row."""
        return [int(length) for length in np.diff(self.offsets[:: self.sequences_per_row])]

    @cached_property
    def num_answers(self) -> list[int]:
        """Answer tokens of each sequence."""
        numbers, filled = np.zeros(len(self.offsets) - 1, np.int64), np.diff(self.offsets) > 0
        if filled.any():
            numbers[filled] = np.add.reduceat(self.is_answer, self.offsets[:-1][filled], dtype=np.int64)
        return [int(number) for number in numbers]

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.lengths, default=0)

    @cached_property
    def answer_starts(self) -> list[int]:
        """The place of each sequence's first answer token, counted from the sequence's start; 0 where it has none."""
        places = np.append(np.flatnonzero(self.is_answer), len(self.is_answer))
        first = places[np.searchsorted(places, self.offsets[:-1])]
        return [int(place) for place in np.where(first < self.offsets[1:], first - self.offsets[:-1], 0)]

    @cached_property
    def row_answers(self) -> list[int]:
        """Answer tokens of each row."""
        per_row = self.sequences_per_row
        return [sum(self.num_answers[start : start + per_row]) for start in range(0, len(self.num_answers), per_row)]

    @cached_property
    def row_loss_weights(self) -> list[float]:
        """What the answer tokens of each row count in the loss, summed."""
        if self.loss_weights is None:
            return [float(number) for number in self.row_answers]
        bounds = self.offsets[:: self.sequences_per_row]
        sums = (np.sum(self.loss_weights[start:end], dtype=np.float64) for start, end in pairwise(bounds))
        return [float(total) for total in sums]

    def answer_weights(self, index: int) -> Weights:
        """What each answer token of a sequence counts in the loss."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        marks = self.is_answer[part]
        return np.ones(int(marks.sum()), np.float32) if self.loss_weights is None else self.loss_weights[part][marks]

    def sequence(self, index: int) -> tuple[Tokens, Flags]:
        """Token ids and answer marks of one sequence, in memory of their own."""
        start, end = self.offsets[index], self.offsets[index + 1]
        return np.array(self.token_ids[start:end]), np.array(self.is_answer[start:end])


def _loss_weights(
    sequences: Sequence[Example | EncodedSequence], offsets: npt.NDArray[np.int64], is_answer: Flags
) -> Weights | None:
    if all(sequence.loss_weights is None for sequence in sequences):
        return None
    weights = is_answer.astype(np.float32)
    for sequence, start, end in zip(sequences, offsets[:-1], offsets[1:], strict=True):
        if sequence.loss_weights is not None:
            weights[start:end] = sequence.loss_weights
    return weights


def _have_labels(rows: Sequence[EncodedRow]) -> bool:
    return any(row.row.label is not None for row in rows)


class _SequencesOf(Sequence[EncodedSequence]):
    """The sequences of rows, each read from the disk when its turn comes."""

    def __init__(self, rows: Sequence[EncodedRow]) -> None:
        self._rows, self._length = rows, sum(len(row.sequences) for row in rows)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[EncodedSequence]:
        return (sequence for row in self._rows for sequence in row.sequences)

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]


def _map_array(path: Path, archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """An array of an .npz file where it lies in the file, after its checksum was compared.

    An archive of an earlier version has the same form; one that somebody compressed is read into memory.
    """
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        with np.load(path) as arrays:
            array: npt.NDArray[Any] = arrays[name]
            return array
    with path.open("rb") as file:
        # The local header: 30 bytes, of which the last four say how long the name and the extra field behind it are.
        file.seek(entry.header_offset)
        header = file.read(30)
        start = entry.header_offset + 30 + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        _compare_checksum(file, start, entry)
        file.seek(start)
        version: tuple[int, int] = npy.read_magic(file)  # type: ignore[no-untyped-call]
        read_header: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if not np.prod(shape):
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", file.tell(), shape)


def _compare_checksum(file: Any, start: int, entry: zipfile.ZipInfo) -> None:
    """What is mapped is not checked while it is read, as an archive's content otherwise is."""
    file.seek(start)
    checksum, left = 0, entry.file_size
    while left and (block := file.read(min(left, READ_BYTES))):
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    if left or checksum != entry.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {entry.filename!r} in {file.name}")
