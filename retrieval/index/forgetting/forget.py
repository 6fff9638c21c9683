"""Removing a document for good: from every collection of a name, and from what later runs of the index take in.

    forgetting = forget_document("help-desk", "people/jane.md", uri, storage.forgotten("help-desk"))

The document is first put on a list in the storage (retrieval/index/forgetting/forgotten.py) and then removed, so a run
that is killed in between is finished by the next `tandem index`, which leaves out and removes what is on the list.
While the collection is being indexed, also by `--watch`, the process that does so removes it within a few seconds.
"""

import difflib
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cluster.errors import TandemError
from cluster.storage.objects import SharedRecord
from retrieval.config import MilvusConfig
from retrieval.errors import CollectionBusy, owned_documents
from retrieval.filters.filters import FieldComparison
from retrieval.index.forgetting.check import MANY, read_origin
from retrieval.index.forgetting.forgotten import Forgotten, ForgottenDocument, ForgottenList, change_list, read_list
from retrieval.index.forgetting.removal import find_rows, named_filter, remove_documents
from retrieval.index.forgetting.text_identity import identity_of, is_telling
from retrieval.sources.config import SourceConfig
from retrieval.sources.document import Document, Unreadable
from retrieval.sources.sources import all_documents
from retrieval.store.identity import ProjectIdentity
from retrieval.store.leases import hold_lease, is_held
from retrieval.store.rows import StoredChunk
from retrieval.store.store import DEFAULT, Store

MAX_NAMED = 10
OTHER_S = 4.0
"""Seconds for the process that indexes the collection to remove the document, before this one tries."""
OTHERS_S = 60.0
"""Seconds after which nobody has removed it."""
_LOOK_S = 0.25


@dataclass(frozen=True)
class Forgetting:
    """What was removed, and by what the document is known from now on."""

    document: ForgottenDocument
    reasons: tuple[str, ...]
    """Why it is known by less than its place and its text, in whole sentences."""
    rows: dict[str, int]
    """Number of rows by the document's name in the index: the same text may have stood there several times."""

    @property
    def num_rows(self) -> int:
        return sum(self.rows.values())


def forget_document(
    collection: str,
    source: str,
    uri: str,
    kept: SharedRecord,
    milvus: MilvusConfig = DEFAULT,
    sources: Sequence[SourceConfig] = (),
    owner: ProjectIdentity | None = None,
) -> Forgetting:
    """Remove a document from everything that was built for `collection`, also what is unfinished.

    Args:
        uri: http(s) address of Milvus; for `local` the one that `local_server` gives.
        kept: the list of what was forgotten.
        milvus: how the server is reached.
        sources: where a document is read that an earlier version indexed: its rows do not say what it is known by.
        owner: the project that asks; a document of another one's collection is refused.

    Raises:
        TandemError: there is no such document; the collection is another project's; the process that indexes the
            collection does not remove it; the store is unreachable.
    """
    store, forgotten = Store(uri, milvus, patience_s=milvus.retry_s), ForgottenList(kept)
    try:
        if owner and (other := store.other_owner(collection, owner)):
            raise owned_documents(collection, uri, f"`{other.project}`", other.where)
        rows = [row for physical in store.filled(collection) for row in _rows(store, physical, source)]
        if not rows:
            raise _unknown(store, collection, source, forgotten.read())
        document, reasons = _identified(store, collection, source, rows, sources)
        forgotten.add(document)
        document = replace(document, key=kept.key)
        return Forgetting(document, tuple(reasons), _removed(store, collection, forgotten.read(), document))
    finally:
        store.close()


def restore_document(collection: str, source: str, kept: SharedRecord) -> list[str]:
    """Let the next run of the index take in a document again, by any name under which it was left out.

    Returns:
        Why it may stay out all the same, in whole sentences.

    Raises:
        TandemError: it was not forgotten.
    """
    own, everything = read_list(kept), ForgottenList(kept).read()
    elsewhere = [each for each in everything.documents if each.key != kept.key and source in each.names]
    if not (lifted := [each for each in own if source in each.names]):
        names = {name for each in own for name in each.names}
        where = f" The list {elsewhere[0].key} of another collection has it." if elsewhere else ""
        raise TandemError(
            f"{source} is not among what {collection} has forgotten.{where}",
            f"Forgotten: {_listed(source, names) or 'nothing'}.",
            "Run this in the project of that collection." if elsewhere else "Name one of these.",
        )
    last = lifted[-1]
    change_list(kept, lambda documents: [each for each in documents if each != last])
    left = [f"Another document named {source} stays forgotten: run this again to let it in too."] * (len(lifted) > 1)
    others = {each.key for each in everything.documents if each != last and _same(each, last)} - {kept.key}
    left += [f"The list {key} of another collection has it too: run this in the project of that one." for key in others]
    return left


def _identified(
    store: Store, collection: str, source: str, rows: Sequence[StoredChunk], sources: Sequence[SourceConfig]
) -> tuple[ForgottenDocument, list[str]]:
    """What the document is known by, and why by less than place and text."""
    text, origin = max(row.identity for row in rows), read_origin(max(row.origin for row in rows))
    if not text and (found := _document(source, sources)):
        origin, text = found.origin, _text(found)
    reasons = []
    if not text and origin:
        reasons.append("Its text could not be read any more, so a copy of it elsewhere is not recognised.")
    elif not text:
        reasons.append(
            "An earlier version indexed it and it could not be read any more, so it is known by its name alone."
        )
    elif not is_telling(text) and origin:
        text = ""
        reasons.append("Its text is a word or two, so a document elsewhere that says the same is not left out.")
    elif origin and (others := _others(store, collection, source, text)) >= MANY:
        text = ""
        reasons.append(f"{others} other documents have the same text. They stay, and it is known by its place alone.")
    if text and not origin:
        reasons.append("It has no id, so it is known by its text alone: another text on its line is another document.")
    return ForgottenDocument((source,), (origin,) if origin else (), (text,) if text else ()), reasons


def _document(source: str, sources: Sequence[SourceConfig]) -> Document | None:
    with suppress(TandemError):
        return next((document for document in all_documents(sources) if document.source == source), None)
    return None


def _text(document: Document) -> str:
    with suppress(Unreadable, TandemError):
        return identity_of(document.read())
    return ""


def _others(store: Store, collection: str, source: str, text: str) -> int:
    """Documents with the same text under other names."""
    same = FieldComparison("identity", "==", text)
    found = {row.source for physical in store.filled(collection) for row in store.chunks(physical, same)}
    return len(found - {source})


def _removed(store: Store, collection: str, left_out: Forgotten, document: ForgottenDocument) -> dict[str, int]:
    """Remove the document, or wait until the process that indexes the collection has done so."""
    counts = _counted(store, collection, left_out, document)
    started = time.monotonic()
    while time.monotonic() - started < OTHERS_S:
        waited = time.monotonic() - started
        if waited > OTHER_S and not store.is_lite:
            remove_documents(store, collection, left_out, [document])
        elif waited > OTHER_S or not is_held(store, collection):
            with suppress(CollectionBusy), hold_lease(store, collection, lambda line: None):
                remove_documents(store, collection, left_out, [document])
        if not _counted(store, collection, left_out, document):
            return counts
        time.sleep(_LOOK_S)
    raise TandemError(
        f"{document.names[0]} is on the list of what is forgotten, and the process that indexes {collection} has not "
        f"removed it within {OTHERS_S:.0f} s.",
        "A process of this version removes it within a few seconds, and no later run takes it in.",
        "End that process, then run `tandem index`.",
    )


def _counted(store: Store, collection: str, left_out: Forgotten, document: ForgottenDocument) -> dict[str, int]:
    counts: dict[str, int] = {}
    for physical in store.filled(collection):
        store.load(physical)
        for name, rows in find_rows(store, physical, left_out, document).items():
            counts[name] = counts.get(name, 0) + len(rows)
    return counts


def _same(one: ForgottenDocument, other: ForgottenDocument) -> bool:
    return bool({*one.texts} & {*other.texts} or {*one.origins} & {*other.origins})


def _rows(store: Store, physical: str, source: str) -> list[StoredChunk]:
    store.load(physical)
    return [row for row in store.chunks(physical, named_filter((source,))) if row.source == source]


def _unknown(store: Store, collection: str, source: str, forgotten: Forgotten) -> TandemError:
    if any(source in document.names for document in forgotten.documents):
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


def _listed(source: str, names: "set[str]") -> str:
    """A few of the names, those that are most like `source` first."""
    near = difflib.get_close_matches(source, names, MAX_NAMED, cutoff=0.4)
    shown = [*near, *sorted(names - set(near))][:MAX_NAMED]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
