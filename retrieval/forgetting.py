"""Removing a document for good: from every collection of a name, and from what later runs of the index take in.

    num_rows = forget("help-desk", "people/jane.md", uri, storage.forgotten("help-desk"))

The document is first put on a list in the storage and then removed, so a run that is killed in between is finished by
the next `tandem index`, which leaves out and removes what is on the list.
"""

import difflib
import json
from pathlib import Path

from cluster.errors import TandemError
from cluster.storage import write_atomically
from retrieval.filters import Comparison, unfit
from retrieval.indexing import alone
from retrieval.milvus_config import MilvusConfig
from retrieval.rows import EVERY_ROW
from retrieval.store import DEFAULT, Store

MAX_NAMED = 10


def forget(collection: str, source: str, uri: str, kept: Path, milvus: MilvusConfig = DEFAULT) -> int:
    """Remove a document from everything that was built for `collection`, also what is unfinished.

    Args:
        uri: http(s) address of Milvus; for `local` the one that `local_server` gives.
        kept: the file with the names of what was forgotten.
        milvus: how the server is reached.

    Returns:
        The number of rows that were removed.

    Raises:
        TandemError: there is no such document; the collection is being indexed; the store is unreachable.
    """
    with alone(uri, collection):
        store = Store(uri, milvus, patience_s=milvus.retry_s)
        try:
            found = {physical: _rows(store, physical, source) for physical in store.filled(collection)}
            if not any(found.values()):
                raise _unknown(store, collection, source, read(kept))
            _write(kept, read(kept) | {source})
            for physical, ids in found.items():
                store.delete(physical, ids)
                store.finish(physical)
                store.compact(physical)
        finally:
            store.close()
    return sum(map(len, found.values()))


def take_back(collection: str, source: str, kept: Path) -> None:
    """Let the next run of the index take in a document again.

    Raises:
        TandemError: it was not forgotten.
    """
    if source not in (forgotten := read(kept)):
        raise TandemError(
            f"{source} is not among what {collection} has forgotten.",
            f"Forgotten: {_listed(source, forgotten) or 'nothing'}.",
            "Name one of these.",
        )
    _write(kept, forgotten - {source})


def read(kept: Path) -> frozenset[str]:
    """The names of what was forgotten.

    Raises:
        TandemError: the file is damaged. Nothing is taken in before it is mended: a forgotten document would come back.
    """
    try:
        names = json.loads(kept.read_text(encoding="utf-8"))["forgotten"]
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return frozenset(names)
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise TandemError(
        f"{kept} cannot be read.",
        'The names of forgotten documents: {"forgotten": ["people/jane.md"]}.',
        "Mend the file, or remove it if nothing is to be forgotten.",
    )


def _rows(store: Store, physical: str, source: str) -> list[str]:
    store.load(physical)
    # A file may have a name that no filter can hold; then every row is looked at.
    where = EVERY_ROW if unfit(source) else Comparison("source", "==", source)
    return [row.id for row in store.chunks(physical, where) if row.source == source]


def _write(kept: Path, names: frozenset[str]) -> None:
    write_atomically(kept, json.dumps({"forgotten": sorted(names)}, indent=1) + "\n")


def _unknown(store: Store, collection: str, source: str, forgotten: frozenset[str]) -> TandemError:
    if source in forgotten:
        return TandemError(
            f"{source} was forgotten already: {collection} holds nothing of it.",
            "The index leaves it out.",
            "Nothing is to be done; `--undo` lets it in again.",
        )
    known = {row.source for physical in store.filled(collection) for row in store.chunks(physical)}
    return TandemError(
        f"The collection {collection} holds no document {source}.",
        f"Documents that it holds: {_listed(source, known) or 'none'}.",
        "Name one of these, as `tandem search` shows it.",
    )


def _listed(source: str, names: "set[str] | frozenset[str]") -> str:
    """A few of the names, those that are most like `source` first."""
    near = difflib.get_close_matches(source, names, MAX_NAMED, cutoff=0.4)
    shown = [*near, *sorted(names - set(near))][:MAX_NAMED]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
