"""What a watch remembers of the files on this machine: which of them need not be read to know that they are as before.

    states = FileStates()
    states.begin()                          # a pass over the folders
    if states.settled(path, signature) is None:
        ...                                 # its content is read and digested
        states.note(path, signature, failures)
    states.commit()                         # the pass has ended well

A signature (`retrieval.sources.folders.listing.file_signature`) that is as before means the same content only where the
file was read some time after it got that signature: two writes within the resolution of the file system's clock have
the same times. Until then, and from time to time afterwards, the content is read again.
"""

import json
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

from retrieval.index.report import Failure
from retrieval.sources.folders.file_systems import Mounts, is_local

SETTLE_S = 2.0
"""The coarsest clock of a file system (FAT)."""
OLD_S = 60.0
"""A file that has stood still for so long, by this machine's clock, is settled when it is read for the first time."""
LOCAL_S = 86_400.0
"""Seconds after which a file on a local disk is read again: writes through a memory mapping may leave no trace."""
REMOTE_S = 600.0
"""The same on other file systems, where size and time may be all that there is to compare, and of what failed."""

_TABLE = """CREATE TABLE file (path BLOB PRIMARY KEY, signature TEXT, first_seen REAL, digested REAL, may_trust INTEGER,
failures TEXT, is_new INTEGER) WITHOUT ROWID"""


class FileStates:
    """By path, and kept on disk: there may be any number. One writer."""

    def __init__(self) -> None:
        # An empty name is a private database in a temporary file, which SQLite removes itself.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(_TABLE)
        self._db.execute("BEGIN")  # never committed: nothing of this outlives the process
        self.begin()

    def begin(self) -> None:
        """A pass begins. What an earlier one noted and did not commit is forgotten."""
        self._db.execute("DELETE FROM file WHERE is_new")
        self._began, self._mounts = time.monotonic(), Mounts.read()

    def commit(self) -> None:
        """What was read in this pass is in the collection."""
        self._db.execute("UPDATE file SET is_new = 0 WHERE is_new")

    def settled(self, path: str, signature: str | None) -> list[Failure] | None:
        """What could not be indexed of a file when it was read last, where its content is the same; else None."""
        if signature is None:
            return None
        found = self._db.execute(
            "SELECT first_seen, digested, may_trust, failures FROM file WHERE path = ? AND signature = ?"
            " AND NOT is_new",
            (os.fsencode(path), signature),
        ).fetchone()
        if found is None:
            return None
        first_seen, digested, may_trust, failures = found
        if digested < first_seen + SETTLE_S or self._began >= digested + (LOCAL_S if may_trust else REMOTE_S):
            return None
        return [Failure(*each) for each in json.loads(failures)] if failures else []

    def note(self, path: str, signature: str | None, failures: Sequence[Failure] = ()) -> None:
        """The content was read in this pass, after the system had said this of it."""
        if signature is None:
            self._db.execute("DELETE FROM file WHERE path = ?", (os.fsencode(path),))
            return
        now, (device, *_, changed_ns) = time.monotonic(), signature.split(":")
        before = self._db.execute(
            "SELECT first_seen FROM file WHERE path = ? AND signature = ?", (os.fsencode(path), signature)
        ).fetchone()
        is_old = time.time() - int(changed_ns) / 1e9 > OLD_S + now - self._began
        first_seen = before[0] if before else self._began - SETTLE_S if is_old else now
        # What failed is tried again, since its cause may be in no time and no size.
        may_trust = not failures and is_local(self._mounts.kind_of(path, int(device)))
        written = json.dumps([[failure.source, failure.reason] for failure in failures]) if failures else ""
        self._db.execute(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, 1)",
            (os.fsencode(path), signature, first_seen, self._began, may_trust, written),
        )

    def close(self) -> None:
        with closing(self._db):
            pass
