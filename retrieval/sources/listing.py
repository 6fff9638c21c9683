"""What a database lists, kept on disk: there may be any number of rows.

with Listing() as listing:
    listing.add(Listed("7", 7, "a digest", Attributes()))
    for page in listing.pages(100): ...
"""

import json
import pickle
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from retrieval.rights import Attributes

_TABLE = "CREATE TABLE listed (name TEXT UNIQUE, key BLOB, version TEXT, attributes TEXT, reason TEXT)"


@dataclass(frozen=True)
class Listed:
    """A row of a query before its text is read."""

    name: str
    key: object
    """The id as the driver gave it, which is what it must get back."""
    version: str
    attributes: Attributes
    reason: str = ""
    """Why it cannot be indexed, or nothing."""


class Listing:
    """Rows in the order in which they were added. One writer."""

    def __init__(self) -> None:
        # An empty name is a private database in a temporary file, which SQLite removes itself.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(_TABLE)
        self._db.execute("BEGIN")  # never committed: nothing of this outlives the process

    def __enter__(self) -> "Listing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._db.close()

    def add(self, row: Listed) -> bool:
        """False where a row of that name is there already."""
        attributes = [row.attributes.tenant, row.attributes.access, dict(row.attributes.metadata)]
        # Pickled for its type: an id may be a number, a text, a UUID.
        values = (row.name, pickle.dumps(row.key), row.version, json.dumps(attributes), row.reason)
        return self._db.execute("INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?, ?)", values).rowcount > 0

    def pages(self, size: int) -> Iterator[list[Listed]]:
        """The rows, `size` at a time."""
        last = 0
        while page := self._page(last, size):
            yield [row for _, row in page]
            last = page[-1][0]

    def _page(self, last: int, size: int) -> list[tuple[int, Listed]]:
        found = self._db.execute("SELECT rowid, * FROM listed WHERE rowid > ? ORDER BY rowid LIMIT ?", (last, size))
        return [
            (number, Listed(name, pickle.loads(key), version, _attributes(attributes), reason))
            for number, name, key, version, attributes, reason in found.fetchall()
        ]


def _attributes(kept: str) -> Attributes:
    tenant, access, metadata = json.loads(kept)
    return Attributes(tenant, tuple(access), metadata)
