"""A run's folder and its copy in a bucket: object stores cannot append, so files are written here and sent again.

    copy = Copy(bucket.at("helpdesk/train-..."), folder)
    copy.pull("job.json")
    with copy.kept_up():      # sent every few seconds, and once more at the end
        ...

`.copied.json` in the folder says what was sent or brought last, so that nothing goes over the line twice.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.storage.buckets import Bucket, BucketUnreachable
from cluster.storage.files import explained_disk, write_atomically
from cluster.storage.objects import StoredObject, key_matches

EVERY_S = 10.0
"""Between two copies."""
DEAD_AFTER_S = 40.0
"""Without a sign of life, of which there is one every quarter of that."""
LONG_AGO_S = 600.0
SMALL = 64 << 20
NOT_COPIED = "checkpoints/"
"""What Ray Train writes into the bucket by itself."""
HELD, _INDEX = ".held.json", ".copied.json"


@dataclass
class RunCopy:
    """What lies below `bucket` is the copy of `folder`."""

    bucket: Bucket
    folder: Path
    _one: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def push(self) -> list[str]:
        """Send every file that has changed here since it was sent or brought; hidden ones stay here.

        Raises:
            TandemError: the store does not take them; what was sent is known.
        """
        sent = []
        with self._one, self._index() as index:
            for name, stat in sorted(self._files()):
                if index.get(name, [])[:2] != stat:
                    path = self.folder / name
                    # A file that grows while it is sent would not be as long as was said.
                    content = path.read_bytes() if stat[0] < SMALL else path
                    index[name] = [*stat, self.bucket.put(name, content)]
                    sent.append(name)
        return sent

    def pull(self, *patterns: str) -> list[str]:
        """Bring every file that is another one there than was sent or brought; `patterns` as of `Bucket.glob`, or all.

        Raises:
            TandemError: the store does not answer, or the disk is full; files are here whole or as they were.
        """
        brought = []
        with self._one, self._index() as index, explained_disk(self.folder):
            for name, (tag, changed) in self.bucket.listed().items():
                is_selected = not patterns or any(key_matches(name, pattern) for pattern in patterns)
                if not is_selected or name.startswith(NOT_COPIED) or not _is_plain(name):
                    continue
                if (self.folder / name).exists() and index.get(name, [None])[-1] == tag:
                    continue
                with suppress(FileNotFoundError):  # removed since it was listed
                    index[name] = self._bring(name, changed)
                    brought.append(name)
        return brought

    def remove(self, name: str) -> None:
        """Remove a file here and there."""
        (self.folder / name).unlink(missing_ok=True)
        self.bucket.delete(name)

    @contextmanager
    def kept_up(self, every_s: float = EVERY_S) -> Iterator[None]:
        """Send what changes during a block, and the rest at its end. A store that is away for a while costs nothing.

        Raises:
            TandemError: it is away at the end; everything is in the folder then.
        """
        try:
            with _every(every_s, self.push):
                yield
        except BaseException:
            with suppress(BucketUnreachable, OSError):  # what went wrong first is what counts
                self.push()
            raise
        self.push()

    def _bring(self, name: str, changed: datetime) -> list[Any]:
        to, beside = self.folder / name, (self.folder / name).with_name(f".{uuid.uuid4().hex}")
        try:
            tag = self.bucket.download(name, beside)
            os.utime(beside, (changed.timestamp(), changed.timestamp()))
            beside.replace(to)
        finally:
            beside.unlink(missing_ok=True)
        return [*_stat(to), tag]

    def _files(self) -> Iterator[tuple[str, list[int]]]:
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and _is_plain(name) and not name.startswith(NOT_COPIED) and name != "lock":
                yield name, _stat(path)

    @contextmanager
    def _index(self) -> Iterator[dict[str, list[Any]]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _INDEX
        index: dict[str, list[Any]] = json.loads(path.read_text()) if path.exists() else {}
        before = dict(index)
        try:
            yield index
        finally:
            if index != before:
                write_atomically(path, json.dumps(index))


@dataclass
class RunClaim:
    """That one process of all machines is at a run: an object that it renews, and that nobody else takes meanwhile."""

    bucket: Bucket
    dead_after_s: float = DEAD_AFTER_S
    _found: StoredObject | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take the run for a block; waits until it is sure that a process which left no word is dead.

        Raises:
            TandemError: another process is at it.
        """
        self._take()
        try:
            with _every(self.dead_after_s / 4, self._renew):
                yield
        finally:
            with suppress(BucketUnreachable):
                if self._is_ours():
                    self.bucket.delete(HELD)

    def _renew(self) -> None:
        if self._is_ours():
            self._put(self._found)

    def _take(self) -> None:
        holder, began = self.bucket.read(HELD), time.monotonic()
        last = self.bucket.listed(HELD).get(HELD)
        wait_s = self.dead_after_s if last and _age_s(last[1]) < LONG_AGO_S else 0.0
        while holder and time.monotonic() - began < wait_s:
            time.sleep(min(1.0, wait_s / 5))
            if (now := self.bucket.read(HELD)) is None or now.content != holder.content:
                if now is None:
                    holder = None
                    break
                raise self._taken(now)
        if not self._put(holder):
            raise self._taken(self.bucket.read(HELD))

    def _put(self, old: StoredObject | None) -> bool:
        me = {"host": socket.gethostname(), "process": os.getpid(), "sign": uuid.uuid4().hex}
        if not self.bucket.replace(HELD, old, json.dumps(me).encode()):
            return False
        self._found = self.bucket.read(HELD)
        return True

    def _is_ours(self) -> bool:
        there = self.bucket.read(HELD)
        return there is not None and self._found is not None and there.content == self._found.content

    def _taken(self, by: StoredObject | None) -> TandemError:
        host = json.loads(by.content)["host"] if by else "another machine"
        return TandemError(
            f"The run {self.bucket.url} is still going on in another process, on {host}.",
            "A run whose command has ended.",
            "Wait for it, or stop it first.",
        )


@contextmanager
def _every(seconds: float, do: Callable[[], object]) -> Iterator[None]:
    """Do something now and then during a block; what a store or a full disk refuses is tried again the next time."""
    ended = threading.Event()

    def again() -> None:
        while not ended.wait(seconds):
            with suppress(BucketUnreachable, OSError):
                do()

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _is_plain(name: str) -> bool:
    """Neither hidden nor above the folder."""
    return not any(part.startswith(".") for part in name.split("/"))


def _age_s(changed: datetime) -> float:
    return (datetime.now(UTC) - changed).total_seconds()
