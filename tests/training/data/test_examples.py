import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tandem.earlier import EARLIER
from training.data.answer_masks import Example
from training.data.examples import Examples

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


def saved(path: Path, num_rows: int = 50) -> Examples:
    rng = np.random.default_rng(0)
    rows = []
    for length in rng.integers(0, 30, num_rows):
        rows.append(Example(rng.integers(0, 150_000, length).tolist(), (rng.random(length) < 0.4).tolist()))
    examples = Examples.from_sequences(rows)
    examples.save(path)
    return examples


def is_same(one: Examples, other: Examples) -> bool:
    fields = ("token_ids", "is_answer", "offsets", "weights")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def test_tokens_are_read_where_they_lie_in_the_file(tmp_path: Path) -> None:
    written = saved(tmp_path / "r.npz")
    examples = Examples.load(tmp_path / "r.npz")
    assert isinstance(examples.token_ids, np.memmap)
    assert isinstance(examples.is_answer, np.memmap)
    assert is_same(examples, written)
    assert examples.num_answers == [int(written.sequence(number)[1].sum()) for number in range(50)]
    assert examples.num_answers == written.num_answers
    tokens, marks = examples.sequence(7)
    assert (tokens.flags.writeable, tokens.flags.aligned, marks.flags.owndata) == (True, True, True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_an_earlier_version_is_read(tmp_path: Path, save: Any) -> None:
    """Earlier versions wrote the same arrays; and numpy's other way to write them is no other format."""
    written = saved(tmp_path / "r.npz")
    arrays = {name: getattr(written, name) for name in ("token_ids", "is_answer", "offsets", "weights")}
    save(tmp_path / "earlier.npz", sequences_per_row=1, **arrays)
    assert is_same(Examples.load(tmp_path / "earlier.npz"), written)


def test_no_rows_are_read_too(tmp_path: Path) -> None:
    Examples.from_sequences([]).save(tmp_path / "none.npz")
    examples = Examples.load(tmp_path / "none.npz")
    assert (len(examples), examples.lengths, examples.num_answers) == (0, [], [])


def test_any_damage_is_seen(tmp_path: Path) -> None:
    saved(tmp_path / "r.npz")
    whole = (tmp_path / "r.npz").read_bytes()
    for place in range(200, len(whole), 97):
        (tmp_path / "r.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            unharmed = is_same(Examples.load(tmp_path / "r.npz"), saved(tmp_path / "again.npz"))
        except (zipfile.BadZipFile, ValueError, KeyError, OSError, NotImplementedError, EOFError):
            continue
        assert unharmed, f"byte {place} was changed, and other rows were read"
    for length in range(0, len(whole), 211):
        (tmp_path / "r.npz").write_bytes(whole[:length])
        with pytest.raises((zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError)):
            Examples.load(tmp_path / "r.npz")


def test_the_rows_of_the_depot_of_an_earlier_version_are_read() -> None:
    files = sorted(EARLIER.glob("**/training.npz"))
    assert files
    for file in files:
        with np.load(file) as arrays:
            examples = Examples.load(file)
            assert np.array_equal(examples.token_ids, arrays["token_ids"])
            assert np.array_equal(examples.is_answer, arrays["is_answer"])


def test_every_row_counts_once_where_nothing_is_said() -> None:
    examples = Examples.from_sequences([CHOSEN, REJECTED])
    assert (len(examples), examples.weights.tolist()) == (2, [1.0, 1.0])


def test_half_a_pair_is_no_row() -> None:
    with pytest.raises(AssertionError):
        Examples.from_sequences([CHOSEN, REJECTED, CHOSEN], sequences_per_row=2)
