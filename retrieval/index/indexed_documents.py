"""What a collection holds, by document: kept on disk, since there may be any number of rows.

known = Known()
store.read_rows(physical, known.fill)
known.digest("iron.md"), known.ids("iron.md")
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from retrieval.store.rows import StoredChunk

_TABLES = """
CREATE TABLE chunk (
    id TEXT PRIMARY KEY, source TEXT, digest TEXT, num_chunks INTEGER, identity TEXT, origin TEXT
) WITHOUT ROWID;
CREATE INDEX by_source ON chunk (source);
CREATE INDEX by_identity ON chunk (identity) WHERE identity != '';
CREATE TABLE present (source TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class IndexedDocuments:
    """The rows of a collection, and which documents the present run has come by. One writer."""

    def __init__(self) -> None:
        # An empty name is a private database in a temporary file, which SQLite removes itself.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")  # never committed: nothing of this outlives the process

    def fill(self, rows: Iterable[StoredChunk]) -> int:
        """Hold exactly these rows; returns their number."""
        self._db.execute("DELETE FROM chunk")
        values = ((row.id, row.source, row.source_hash, row.num_chunks, row.identity, row.origin) for row in rows)
        self._db.executemany("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?)", values)
        return int(self._db.execute("SELECT count(*) FROM chunk").fetchone()[0])

    def digest(self, source: str) -> str | None:
        """The digest of a document whose rows are all there and of one state; None where it must be written again."""
        least, most, num_chunks, num_rows = self._db.execute(
            "SELECT min(digest), max(digest), max(num_chunks), count(*) FROM chunk WHERE source = ?", (source,)
        ).fetchone()
        return str(most) if num_rows and least == most and num_rows == num_chunks else None

    def documents(self) -> Iterator[tuple[str, str]]:
        """Every document with its digest, in the order of the names."""
        rows = self._db.execute("SELECT source, max(digest) FROM chunk GROUP BY source ORDER BY source")
        yield from ((source, digest) for source, digest in rows)

    def identities(self) -> Iterator[tuple[str, str, str]]:
        """Every document with what its text is known by and where it is kept; both empty where an earlier version
        wrote it."""
        yield from self._db.execute("SELECT source, max(identity), max(origin) FROM chunk GROUP BY source")

    def text(self, source: str) -> str:
        """What the text of a document is known by, or nothing."""
        found = self._db.execute("SELECT max(identity) FROM chunk WHERE source = ?", (source,)).fetchone()
        return str(found[0] or "")

    def num_saying(self, identity: str) -> int:
        """How many documents of the collection have this text."""
        condition = "identity = ? AND identity != ''"
        found = self._db.execute(f"SELECT count(DISTINCT source) FROM chunk WHERE {condition}", (identity,))
        return int(found.fetchone()[0])

    def ids(self, source: str) -> list[str]:
        """The ids of a document's rows, in their order; none where there is no such document."""
        return [key for (key,) in self._db.execute("SELECT id FROM chunk WHERE source = ? ORDER BY id", (source,))]

    def replace(self, source: str, rows: Iterable[StoredChunk]) -> None:
        """Take up what was written of a document."""
        self.forget(source)
        values = [(row.id, source, row.source_hash, row.num_chunks, row.identity, row.origin) for row in rows]
        self._db.executemany("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget(self, source: str) -> None:
        self._db.execute("DELETE FROM chunk WHERE source = ?", (source,))

    def begin(self) -> None:
        """A new run, which has come by no document."""
        self._db.execute("DELETE FROM present")

    def mark(self, source: str) -> bool:
        """The run has come by a document; False where it had done so before."""
        return self._db.execute("INSERT OR IGNORE INTO present VALUES (?)", (source,)).rowcount > 0

    def mark_known(self, source: str) -> bool:
        """Let the run come by a document, if the collection holds it and the run has not done so before."""
        return (
            self._db.execute(
                "INSERT OR IGNORE INTO present SELECT source FROM chunk WHERE source = ? LIMIT 1", (source,)
            ).rowcount
            > 0
        )

    def mark_names(self, names: Sequence[str]) -> int:
        """Let the run come by every document that one of `names` means: a beginning (empty, or with `/` or `#` at its
        end), or a whole name. Returns their number."""
        return self._db.execute(
            f"INSERT OR IGNORE INTO present SELECT DISTINCT source FROM chunk WHERE {_condition(names)}", _values(names)
        ).rowcount

    def num_missing(self, names: Sequence[str] = ("",)) -> int:
        """How many of the documents that `names` mean the run has not come by."""
        found = self._db.execute(
            f"SELECT count(DISTINCT source) FROM chunk WHERE source NOT IN (SELECT source FROM present)"
            f" AND ({_condition(names)})",
            _values(names),
        )
        return int(found.fetchone()[0])

    def unmark(self, source: str) -> None:
        """The run has found that a document is no longer there."""
        self._db.execute("DELETE FROM present WHERE source = ?", (source,))

    def missing(self, limit: int) -> list[str]:
        """Documents of the collection that the run has not come by: at most so many of them."""
        rows = self._db.execute(
            "SELECT DISTINCT source FROM chunk WHERE source NOT IN (SELECT source FROM present) LIMIT ?",
            (limit,),
        )
        return [source for (source,) in rows]

    def close(self) -> None:
        self._db.close()


def _condition(names: Sequence[str]) -> str:
    return " OR ".join("source >= ? AND source < ?" for _ in names)


def _values(names: Sequence[str]) -> list[str]:
    # What follows a whole name in the order of texts is the name with the smallest character behind it.
    is_beginning = [not name or name[-1] in "/#" for name in names]
    ends = [name + ("\U0010ffff" if each else "\0") for name, each in zip(names, is_beginning, strict=True)]
    return [value for pair in zip(names, ends, strict=True) for value in pair]
