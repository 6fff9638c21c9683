from pathlib import Path

import pytest

from training.data.examples import Examples
from training.data.tokenize import Example

CHOSEN = Example([1, 2, 3], [False, True, True])
REJECTED = Example([1, 4], [False, True])


def test_rows_of_two_sequences_survive_the_way_to_disk(tmp_path: Path) -> None:
    Examples.from_sequences([CHOSEN, REJECTED, REJECTED, CHOSEN], sequences_per_row=2, weights=[1.0, 0.5]).save(
        tmp_path / "r.npz"
    )
    examples = Examples.load(tmp_path / "r.npz")
    assert (len(examples), examples.sequences_per_row) == (2, 2)
    assert examples.row_lengths == [5, 5]
    assert examples.weights.tolist() == [1.0, 0.5]
    assert examples.lengths == [3, 2, 2, 3]
    assert examples.num_answers == [2, 1, 1, 2]
    assert [array.tolist() for array in examples.sequence(1)] == [[1, 4], [False, True]]


def test_every_row_counts_once_where_nothing_is_said() -> None:
    examples = Examples.from_sequences([CHOSEN, REJECTED])
    assert (len(examples), examples.weights.tolist()) == (2, [1.0, 1.0])


def test_half_a_pair_is_no_row() -> None:
    with pytest.raises(AssertionError):
        Examples.from_sequences([CHOSEN, REJECTED, CHOSEN], sequences_per_row=2)
