"""By which revision of the chunker the documents of a collection were cut.

A document that stays as it is is not read again, so what an earlier revision left out of it would stay out. The first
whole run of a later one reads every document again, and writes those of which it makes other chunks.
"""

import hashlib

from retrieval.index.chunking import FIRST_REVISION, REVISION
from retrieval.sources.document import Document, Unreadable
from retrieval.store.store import Store

PROPERTY = "tandem.chunking_revision"


class CutRevision:
    """What is known of one collection, and is kept with it. One that is empty begins with the present revision."""

    def __init__(self, store: Store, physical: str, is_empty: bool) -> None:
        self.store, self.physical = store, physical
        self.num_left = 0
        """Documents that an earlier revision cut and that could not be read again."""
        written = (store.properties(physical) or {}).get(PROPERTY, "")
        self.is_earlier = (int(written) if written.isdecimal() else FIRST_REVISION) < REVISION
        if is_empty and self.is_earlier:
            self._keep()

    def begin(self) -> list[str]:
        """A run of all sources begins; returns what a person should know of it, in whole sentences."""
        self.num_left = 0
        return ["Documents are cut into chunks in another way now: all of them are read again."] * self.is_earlier

    def complete(self) -> None:
        """Every document was read, but for those that are left for the next run."""
        if self.is_earlier and not self.num_left:
            self._keep()

    def _keep(self) -> None:
        self.store.set_properties(self.physical, {PROPERTY: str(REVISION)})
        self.is_earlier = False


Digests = list[str]


def digests_of(document: Document) -> Digests:
    """Two halves of 32 hex digits each: what the document says, and what it carries (tenant, labels, metadata).

    The first is for a document that is new or has changed. The others are for one of which a later revision of the
    chunker made other chunks: kept answers that were given from the earlier ones are not found by them.

    Raises:
        Unreadable: it has gone, is too long, or has a name that cannot be stored.
    """
    if document.source != printable(document.source):
        raise Unreadable("has a name that is not UTF-8")
    version, carried = document.version(), attributes_digest(document)
    revisions = (f"\0chunking {revision}" for revision in range(FIRST_REVISION + 1, REVISION + 1))
    return [hashlib.sha256(f"{version}{end}".encode()).hexdigest()[:32] + carried for end in ("", *revisions)]


def printable(source: str) -> str:
    """A file's name may hold bytes that are no character."""
    return source.encode(errors="backslashreplace").decode()


def attributes_digest(document: Document) -> str:
    return document.attributes.digest[:32]
