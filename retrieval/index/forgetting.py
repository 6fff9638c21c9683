"""Removing a document for good: from every collection of a name, and from what later runs of the index take in.

    num_rows = forget("help-desk", "people/jane.md", uri, storage.forgotten("help-desk"))

The document is first put on a list in the storage and then removed, so a run that is killed in between is finished by
the next `tandem index`, which leaves out and removes what is on the list.
"""

import difflib
import json
from collections.abc import Callable

from cluster.errors import TandemError
from cluster.storage.objects import SharedRecord
from retrieval.config import MilvusConfig
from retrieval.filters.filters import FieldComparison, unfit
from retrieval.store.leases import hold_lease
from retrieval.store.rows import EVERY_ROW
from retrieval.store.store import DEFAULT, Store

MAX_NAMED = 10


def forget_document(collection: str, source: str, uri: str, kept: SharedRecord, milvus: MilvusConfig = DEFAULT) -> int:
    """Remove a document from everything that was built for `collection`, also what is unfinished.

    Args:
        uri: http(s) address of Milvus; for `local` the one that `local_server` gives.
        kept: the names of what was forgotten.
        milvus: how the server is reached.

    Returns:
        The number of rows that were removed.

    Raises:
        TandemError: there is no such document; the collection is being indexed; the store is unreachable.
    """
    store = Store(uri, milvus, patience_s=milvus.retry_s)
    try:
        with hold_lease(store, collection):
            found = {physical: _rows(store, physical, source) for physical in store.filled(collection)}
            if not any(found.values()):
                raise _unknown(store, collection, source, read_forgotten(kept))
            _change(kept, lambda names: names | {source})
            for physical, ids in found.items():
                store.delete(physical, ids)
                store.finish(physical)
                store.compact(physical)
    finally:
        store.close()
    return sum(map(len, found.values()))


def restore_document(collection: str, source: str, kept: SharedRecord) -> None:
    """Let the next run of the index take in a document again.

    Raises:
        TandemError: it was not forgotten.
    """
    if source not in (forgotten := read_forgotten(kept)):
        raise TandemError(
            f"{source} is not among what {collection} has forgotten.",
            f"Forgotten: {_listed(source, forgotten) or 'nothing'}.",
            "Name one of these.",
        )
    _change(kept, lambda names: names - {source})


def read_forgotten(kept: SharedRecord) -> frozenset[str]:
    """The names of what was forgotten.

    Raises:
        TandemError: the file is damaged. Nothing is taken in before it is mended: a forgotten document would come back.
    """
    try:
        return _names(kept, kept.read())
    except OSError:
        return _names(kept, b"")


def _names(kept: SharedRecord, content: bytes | None) -> frozenset[str]:
    if content is None:
        return frozenset()
    try:
        names = json.loads(content)["forgotten"]
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return frozenset(names)
    except (ValueError, KeyError, TypeError):
        pass
    raise TandemError(
        f"{kept} cannot be read.",
        'The names of forgotten documents: {"forgotten": ["people/jane.md"]}.',
        "Mend the file, or remove it if nothing is to be forgotten.",
    )


def _change(kept: SharedRecord, change: Callable[[frozenset[str]], frozenset[str]]) -> None:
    """By compare-and-swap: what others forget meanwhile is forgotten too."""

    def changed(there: bytes | None) -> bytes:
        return (json.dumps({"forgotten": sorted(change(_names(kept, there)))}, indent=1) + "\n").encode()

    kept.update(changed)


def _rows(store: Store, physical: str, source: str) -> list[str]:
    store.load(physical)
    # A file may have a name that no filter can hold; then every row is looked at.
    where = EVERY_ROW if unfit(source) else FieldComparison("source", "==", source)
    return [row.id for row in store.chunks(physical, where) if row.source == source]


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
