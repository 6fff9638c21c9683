"""Encoded rows on disk: one file that every worker reads, with all rows laid end to end."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.template import Example

Tokens = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Examples:
    """`token_ids` and `is_answer` hold all sequences; sequence i is `offsets[i]` to `offsets[i + 1]`.

    A row is `sequences_per_row` of them: one, or for preferences the chosen and the rejected one. `weights` [num_rows]
    says how often each row is seen in an epoch.
    """

    token_ids: Tokens
    is_answer: Flags
    offsets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    sequences_per_row: int = 1

    @classmethod
    def of(
        cls, rows: Sequence[Example], weights: Sequence[float] | None = None, sequences_per_row: int = 1
    ) -> "Examples":
        lengths = [len(row.token_ids) for row in rows]
        num_rows = len(rows) // sequences_per_row
        return cls(
            np.array([token for row in rows for token in row.token_ids], dtype=np.int32),
            np.array([mark for row in rows for mark in row.is_answer], dtype=np.bool_),
            np.cumsum([0, *lengths], dtype=np.int64),
            np.array([1.0] * num_rows if weights is None else weights, dtype=np.float32),
            sequences_per_row,
        )

    @classmethod
    def load(cls, path: Path) -> "Examples":
        with np.load(path) as arrays:
            names = ("token_ids", "is_answer", "offsets", "weights")
            found = {name: arrays[name] for name in names}
            return cls(**found, sequences_per_row=int(arrays["sequences_per_row"]))

    def save(self, path: Path) -> None:
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

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

    def row(self, index: int) -> tuple[Tokens, Flags]:
        """Token ids and answer marks of one sequence."""
        start, end = self.offsets[index], self.offsets[index + 1]
        return self.token_ids[start:end], self.is_answer[start:end]
