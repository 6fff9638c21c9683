"""Sequences whose items lie in temporary files, so that a million rows take no more memory than their places do."""

import os
import pickle
import tempfile
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from cluster.full_disk import full_disk_explained

T = TypeVar("T")
_BUFFER_BYTES = 2**18
_MAKE_ROOM = (
    "Make room there, about three times the size of the training data, or set the environment variable TMPDIR to a "
    "folder on another disk; then run the command again."
)


class DiskBytes:
    """Bytes that are only appended to, in a temporary file that goes with this object."""

    def __init__(self) -> None:
        with _explained_disk():
            self._file = tempfile.TemporaryFile(prefix="tandem-rows-")  # noqa: SIM115 - open as long as this object
        self._pending = bytearray()
        self._num_written = 0

    def __len__(self) -> int:
        return self._num_written + len(self._pending)

    def append(self, data: bytes) -> None:
        """Raises DiskFull where the disk is full."""
        self._pending += data
        if len(self._pending) > _BUFFER_BYTES:
            self._flush()

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`."""
        if end > self._num_written and self._pending:
            self._flush()
        parts = []
        while start < end and (part := os.pread(self._file.fileno(), end - start, start)):
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _flush(self) -> None:
        with _explained_disk():
            self._file.write(self._pending)
            self._file.flush()
        self._num_written += len(self._pending)
        self._pending.clear()


class ByNumber(Sequence[T]):
    """A sequence that gets each item by its number when it is asked for; a part of it is a `Selection`."""

    @abstractmethod
    def item(self, number: int) -> T:
        """The item at a place from 0 up to the length."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return Selection(self, np.arange(len(self))[place])
        return self.item(range(len(self))[place])

    def __iter__(self) -> Iterator[T]:
        return map(self.item, range(len(self)))


class DiskList(ByNumber[T]):
    """A list of values that can be pickled; each is read from the disk when it is asked for."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._bytes = DiskBytes()
        self._ends = array("q", [0])
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        self._bytes.append(pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def item(self, number: int) -> T:
        item: T = pickle.loads(self._bytes.read(self._ends[number], self._ends[number + 1]))
        return item

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), 256):
            for data in self.pickled(range(start, min(start + 256, len(self)))):
                yield pickle.loads(data)

    def pickled(self, places: range) -> list[bytes]:
        """Neighbouring items as they lie on the disk."""
        if not places:
            return []
        first = self._ends[places.start]
        data = self._bytes.read(first, self._ends[places.stop])
        return [data[self._ends[place] - first : self._ends[place + 1] - first] for place in places]


class Selection(ByNumber[T]):
    """Some items of a sequence, in an order of their own."""

    def __init__(self, items: Sequence[T], places: npt.NDArray[np.int64] | Sequence[int]) -> None:
        self.items, self.places = items, np.asarray(places, np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def item(self, number: int) -> T:
        return self.items[int(self.places[number])]


class Joined(ByNumber[T]):
    """Two sequences, one behind the other."""

    def __init__(self, first: Sequence[T], second: Sequence[T]) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def item(self, number: int) -> T:
        behind = number - len(self.first)
        return self.first[number] if behind < 0 else self.second[behind]


def _explained_disk() -> AbstractContextManager[None]:
    return full_disk_explained(Path(tempfile.gettempdir()), _MAKE_ROOM)


def as_array(values: "array[Any]", dtype: Any) -> npt.NDArray[Any]:
    """A copy of an `array` as a numpy array."""
    return np.frombuffer(values, dtype).copy() if values else np.empty(0, dtype)
