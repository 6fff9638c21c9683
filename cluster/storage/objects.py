"""Small objects that several machines change: a folder and a bucket keep them with the same promises.

    place = Folder(Path("runs"))                       # or cluster.storage.buckets.open_bucket("s3://bucket/prefix")
    update(place, "aliases/live.json", lambda old: b"...")

`create` succeeds for one of all writers; `replace` only where nobody was faster; readers see the old or the new, whole.
"""

import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cluster.storage.files import write_atomically, write_once


@dataclass(frozen=True)
class StoredObject:
    """What was read, and by what its place knows that it is still the same."""

    content: bytes
    tag: Any = None


class Place(Protocol):
    """Where objects lie by their keys, such as `support/aliases/live.json`."""

    def read(self, key: str) -> StoredObject | None: ...
    def create(self, key: str, content: bytes) -> bool: ...
    def replace(self, key: str, old: StoredObject | None, content: bytes) -> bool: ...
    def delete(self, key: str) -> None: ...
    def glob(self, pattern: str) -> list[str]: ...


@dataclass(frozen=True)
class Folder:
    """A folder on a local disk, or on a mount that has hard links and locks (NFSv4)."""

    root: Path
    mode: int | None = None
    """The rights of what is created; None leaves them to the umask."""

    def __str__(self) -> str:
        return str(self.root)

    def read(self, key: str) -> StoredObject | None:
        try:
            return StoredObject((self.root / key).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, key: str, content: bytes) -> bool:
        return write_once(self.root / key, content, self.mode)

    def replace(self, key: str, old: StoredObject | None, content: bytes) -> bool:
        if old is None:
            return self.create(key, content)
        with self._alone(key):
            if self.read(key) != old:
                return False
            write_atomically(self.root / key, content)
            return True

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    def glob(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern) if path.is_file())

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class SharedRecord:
    """One object of a place."""

    place: Place
    key: str

    def read(self) -> bytes | None:
        stored = self.place.read(self.key)
        return stored.content if stored else None

    def update(self, change: Callable[[bytes | None], bytes]) -> bool:
        return update_object(self.place, self.key, change)

    def __str__(self) -> str:
        return f"{self.place}/{self.key}"


def update_object(place: Place, key: str, change: Callable[[bytes | None], bytes]) -> bool:
    """Change an object by compare-and-swap: `change` gets what is there, again for as long as others are faster.

    Returns:
        Whether there was anything to change.
    """
    written: bytes | None = None
    while True:
        stored = place.read(key)
        if stored and stored.content == written:  # only the answer to our own put was lost
            return True
        written = change(stored.content if stored else None)
        if stored and stored.content == written:
            return False
        if place.replace(key, stored, written):
            return True


def key_matches(key: str, pattern: str) -> bool:
    """Whether a key is one that a pattern names, in which `*` stands for what has no `/`."""
    return re.fullmatch("[^/]*".join(map(re.escape, pattern.split("*"))), key) is not None
