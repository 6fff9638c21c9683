"""Encoded rows on disk: one file that every worker reads, with all rows laid end to end."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.template import Example

Tokens = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Examples:
    """`token_ids` and `is_answer` hold all rows; row i is `offsets[i]` to `offsets[i + 1]`."""

    token_ids: Tokens
    is_answer: Flags
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Example]) -> "Examples":
        lengths = [len(row.token_ids) for row in rows]
        return cls(
            np.array([token for row in rows for token in row.token_ids], dtype=np.int32),
            np.array([mark for row in rows for mark in row.is_answer], dtype=np.bool_),
            np.cumsum([0, *lengths], dtype=np.int64),
        )

    @classmethod
    def load(cls, path: Path) -> "Examples":
        with np.load(path) as arrays:
            return cls(arrays["token_ids"], arrays["is_answer"], arrays["offsets"])

    def save(self, path: Path) -> None:
        np.savez(path, token_ids=self.token_ids, is_answer=self.is_answer, offsets=self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [int(length) for length in np.diff(self.offsets)]

    @cached_property
    def num_answers(self) -> list[int]:
        """Answer tokens of each row."""
        before = np.concatenate([[0], np.cumsum(self.is_answer)])
        return [int(number) for number in np.diff(before[self.offsets])]

    def row(self, index: int) -> tuple[Tokens, Flags]:
        """Token ids and answer marks of one row."""
        start, end = self.offsets[index], self.offsets[index + 1]
        return self.token_ids[start:end], self.is_answer[start:end]
