"""Encoded rows: their token ids lie in temporary files, their lengths in memory."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.data.answer_masks import Example
from training.data.disk_lists import ByNumber, DiskBytes, Selection, as_array
from training.data.rows import TrainingRow


@dataclass(frozen=True)
class EncodedSequence:
    """An `Example` in arrays, which take 5 bytes a token where the lists take about 44."""

    token_ids: npt.NDArray[np.int32]
    is_answer: npt.NDArray[np.bool_]
    loss_weights: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, example: Example) -> "EncodedSequence":
        weights = None if example.loss_weights is None else np.array(example.loss_weights, np.float32)
        return cls(np.array(example.token_ids, np.int32), np.array(example.is_answer, np.bool_), weights)

    @property
    def num_weighted(self) -> int:
        """Learnt tokens that count other than 1 in the loss."""
        return 0 if self.loss_weights is None else int(((self.loss_weights != 1) & self.is_answer).sum())


@dataclass(frozen=True)
class EncodedRow:
    """A row and its sequences; those of a preference pair are the chosen answer's and the rejected one's."""

    rows: Sequence[TrainingRow]
    place: int
    sequences: tuple[EncodedSequence, ...]

    @property
    def row(self) -> TrainingRow:
        """The row as it was read, from the disk where it lies there."""
        return self.rows[self.place]

    @property
    def num_tokens(self) -> int:
        """Tokens of its longest sequence."""
        return max(len(sequence.token_ids) for sequence in self.sequences)


class EncodedRows(ByNumber[EncodedRow]):
    """The rows that were encoded, in their order. `rows` has more where some could not be: `places` are theirs."""

    def __init__(self, rows: Sequence[TrainingRow]) -> None:
        self._rows = rows
        self._files = {name: DiskBytes() for name in ("token_ids", "is_answer")}
        self._places, self._ends = array("q"), array("q", [0])
        self._row_ends, self._num_learnt, self._num_weighted = array("q", [0]), array("q"), array("q")
        self._weights: dict[int, npt.NDArray[np.float32]] = {}

    def append(self, place: int, sequences: Sequence[EncodedSequence]) -> None:
        """Add the sequences of row `place` of `rows`."""
        for sequence in sequences:
            self._files["token_ids"].append(sequence.token_ids.tobytes())
            self._files["is_answer"].append(sequence.is_answer.tobytes())
            self._ends.append(self._ends[-1] + len(sequence.token_ids))
            self._num_learnt.append(int(sequence.is_answer.sum()))
            self._num_weighted.append(sequence.num_weighted)
            if sequence.loss_weights is not None:
                self._weights[len(self._ends) - 2] = sequence.loss_weights
        self._places.append(place)
        self._row_ends.append(len(self._ends) - 1)

    def __len__(self) -> int:
        return len(self._places)

    def item(self, number: int) -> EncodedRow:
        return EncodedRow(self._rows, self._places[number], self._sequences(number))

    def _sequences(self, number: int) -> tuple[EncodedSequence, ...]:
        first, last = self._row_ends[number], self._row_ends[number + 1]
        ends = self._ends[first : last + 1]
        tokens = np.frombuffer(self._files["token_ids"].read(4 * ends[0], 4 * ends[-1]), np.int32)
        marks = np.frombuffer(self._files["is_answer"].read(ends[0], ends[-1]), np.bool_)
        bounds = [(start - ends[0], end - ends[0]) for start, end in pairwise(ends)]
        return tuple(
            EncodedSequence(tokens[start:end], marks[start:end], self._weights.get(place))
            for place, (start, end) in enumerate(bounds, start=first)
        )

    @property
    def rows(self) -> Sequence[TrainingRow]:
        """The rows that were encoded, as they were read."""
        return Selection(self._rows, self.places)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """[num_rows] the place of each among the rows that were read."""
        return as_array(self._places, np.int64)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[num_sequences] tokens of each sequence."""
        return np.diff(as_array(self._ends, np.int64))

    @cached_property
    def num_learnt(self) -> npt.NDArray[np.int64]:
        """[num_sequences] learnt tokens of each sequence."""
        return as_array(self._num_learnt, np.int64)

    @cached_property
    def num_weighted(self) -> npt.NDArray[np.int64]:
        """[num_sequences] learnt tokens of each sequence that count other than 1 in the loss."""
        return as_array(self._num_weighted, np.int64)

    @cached_property
    def first_sequences(self) -> npt.NDArray[np.int64]:
        """[num_rows] the number of each row's first sequence."""
        return as_array(self._row_ends, np.int64)[:-1]

    @property
    def num_sequences(self) -> npt.NDArray[np.int64]:
        """[num_rows] sequences of each row."""
        return np.diff(as_array(self._row_ends, np.int64))

    @property
    def longest(self) -> npt.NDArray[np.int64]:
        """[num_rows] tokens of each row's longest sequence."""
        return np.maximum.reduceat(self.lengths, self.first_sequences) if len(self) else np.empty(0, np.int64)

    @property
    def num_tokens(self) -> npt.NDArray[np.int64]:
        """[num_rows] tokens of all sequences of each row."""
        return np.add.reduceat(self.lengths, self.first_sequences) if len(self) else np.empty(0, np.int64)
