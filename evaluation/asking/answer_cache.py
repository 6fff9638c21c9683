"""Answers that were paid for once, so that a comparison that was broken off goes on where it stopped.

answers = Answers(storage / "project" / "answers.sqlite")
answers.get(key), answers.put(key, reply)

A key is a digest of the arm, the version of its model and of its index, the messages and the decoding. Failures are
not kept. The file may be deleted at any time: a damaged one is, and begun anew.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import TandemError
from evaluation.asking.thinking import separate_thinking, without_empty_answer
from evaluation.replies import Reply

COMMIT_EVERY_S = 1.0
WAIT_S = 30.0
"""For another comparison of the same project that writes."""
_TABLES = """
CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passage (source TEXT, key TEXT, PRIMARY KEY (source, key)) WITHOUT ROWID;
"""


class AnswerCache:
    """Kept answers on disk. A killed process loses the last second of them.

    Every method raises TandemError where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            try:
                self._db = _opened(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged, or no database at all
                path.unlink()
                self._db = _opened(path)
        self._committed = time.monotonic()

    def get(self, key: str) -> Reply | None:
        """The answer under this key; None where it was not asked yet."""
        with self._explained():
            row = self._db.execute("SELECT reply FROM answer WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        reply = Reply.model_validate_json(row[0])
        # Earlier versions kept replies with the thinking in the text.
        return separate_thinking(reply) if reply.thinking is None else without_empty_answer(reply)

    def put(self, key: str, reply: Reply) -> None:
        """Keep an answer, with what it was read from."""
        kept = reply.model_copy(update={"grade": None, "ungradable": None}).model_dump_json(exclude_none=True)
        named = {source for citation in reply.citations for source in (citation.source, *citation.also_in)}
        with self._explained():
            self._db.execute("INSERT OR REPLACE INTO answer VALUES (?, ?)", (key, kept))
            self._db.executemany("INSERT OR IGNORE INTO passage VALUES (?, ?)", [(source, key) for source in named])
        if time.monotonic() - self._committed >= COMMIT_EVERY_S:
            self.commit()

    def forget(self, source: str) -> int:
        """Remove every answer that was given with a document in front; returns their number."""
        with self._explained():
            keys = self._db.execute("SELECT key FROM passage WHERE source = ?", (source,)).fetchall()
            for table in ("answer", "passage"):
                self._db.executemany(f"DELETE FROM {table} WHERE key = ?", keys)
        self.commit()
        return len(keys)

    def commit(self) -> None:
        with self._explained():
            self._db.commit()
        self._committed = time.monotonic()

    def close(self) -> None:
        try:
            self.commit()
        finally:
            self._db.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise TandemError(
                f"The answers kept in {self._path} cannot be read or written ({error}).",
                "A file that can be written, on a disk with room.",
                "Make room or correct the rights, or delete the file: what it holds is asked again.",
            ) from error


def forget_answers(path: Path, source: str) -> int:
    """Remove what was answered from a document, where there are kept answers; returns their number."""
    if not path.exists():
        return 0
    with contextlib.closing(AnswerCache(path)) as answers:
        return answers.forget(source)


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=WAIT_S)
    # Nothing here has to survive a power cut; a process that dies leaves a journal that the next one rolls back.
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
    db.executescript(_TABLES)
    return db
