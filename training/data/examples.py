"""Encoded rows on disk: one file that every worker reads, with all token sequences laid end to end."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.tokenize import EncodedRow, Example

Tokens = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """`token_ids` and `is_answer` hold all sequences; sequence i is `offsets[i]` to `offsets[i + 1]`.

    A row is one sequence, or two in preference data: the chosen answer at 2 * row, the rejected one at 2 * row + 1.
    `weights` [num_rows] says how often each row is seen in an epoch.
    """

    token_ids: Tokens
    is_answer: Flags
    offsets: npt.NDArray[np.int64]
    weights: Weights
    sequences_per_row: int = 1

    @classmethod
    def from_sequences(
        cls, sequences: Sequence[Example], sequences_per_row: int = 1, weights: Sequence[float] | None = None
    ) -> "Examples":
        """Lay sequences end to end; each row counts once where no weights are given."""
        num_rows, rest = divmod(len(sequences), sequences_per_row)
        assert rest == 0, f"{len(sequences)} sequences do not make rows of {sequences_per_row}"
        lengths = [len(sequence.token_ids) for sequence in sequences]
        return cls(
            np.array([token for sequence in sequences for token in sequence.token_ids], dtype=np.int32),
            np.array([mark for sequence in sequences for mark in sequence.is_answer], dtype=np.bool_),
            np.cumsum([0, *lengths], dtype=np.int64),
            np.ones(num_rows, np.float32) if weights is None else np.array(weights, np.float32),
            sequences_per_row,
        )

    @classmethod
    def from_rows(cls, rows: Sequence[EncodedRow]) -> "Examples":
        """The sequences of encoded rows, in pairs where they are preference pairs."""
        per_row = 2 if any(row.row.rejected for row in rows) else 1
        sequences = [sequence for row in rows for sequence in row.sequences]
        weights = [row.row.weight for row in rows for _ in row.sequences][::per_row]
        return cls.from_sequences(sequences, per_row, weights)

    @classmethod
    def load(cls, path: Path) -> "Examples":
        with np.load(path) as arrays:
            return cls(
                arrays["token_ids"],
                arrays["is_answer"],
                arrays["offsets"],
                arrays["weights"],
                int(arrays["sequences_per_row"]),
            )

    def save(self, path: Path) -> None:
        np.savez(
            path,
            token_ids=self.token_ids,
            is_answer=self.is_answer,
            offsets=self.offsets,
            weights=self.weights,
            sequences_per_row=self.sequences_per_row,
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
        before = np.concatenate([[0], np.cumsum(self.is_answer)])
        return [int(number) for number in np.diff(before[self.offsets])]

    @cached_property
    def row_answers(self) -> list[int]:
        """Answer tokens of each row."""
        per_row = self.sequences_per_row
        return [sum(self.num_answers[start : start + per_row]) for start in range(0, len(self.num_answers), per_row)]

    def sequence(self, index: int) -> tuple[Tokens, Flags]:
        """Token ids and answer marks of one sequence."""
        start, end = self.offsets[index], self.offsets[index + 1]
        return self.token_ids[start:end], self.is_answer[start:end]
