"""Documents that were embedded -> rows in a store, by a thread, while the next ones are embedded.

writer = Writer(store, physical)
writer.hand_over(documents, vectors)
writer.settle()
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from retrieval.analysis.analyzer import Analyzer
from retrieval.filters.rights import Attributes
from retrieval.index.bulk_import import BulkImporter
from retrieval.index.chunking import Chunk
from retrieval.index.forgetting.check import written_origin
from retrieval.index.forgetting.forgotten import NOTHING, Forgotten, ForgottenSource
from retrieval.sources.document import Origin
from retrieval.store.collection import ChunkRow
from retrieval.store.rows import StoredChunk
from retrieval.store.store import Store

if TYPE_CHECKING:
    import numpy as np

Vectors: TypeAlias = "Mapping[str, Sequence[float] | np.ndarray[Any, Any]]"
WRITE_CHUNKS = 512


@dataclass(frozen=True)
class Changed:
    """A document that is to be written."""

    source: str
    attributes: Attributes
    digest: str
    chunks: list[Chunk]
    stored_ids: list[str]
    """What the collection holds of it now."""
    carries_other: bool = False
    """Whether that has another tenant, other labels or metadata, as far as is known."""
    identity: str = ""
    """What its text is known by (`identity_of`)."""
    origin: Origin | None = None
    analyzer: Analyzer | None = None
    """What makes terms of its chunks; None where the store's own analyzer does."""

    @cached_property
    def texts(self) -> dict[str, str]:
        """The content of each chunk, by its id, in the order of the document."""
        contents = [content(chunk) for chunk in self.chunks]
        return dict(zip(_chunk_ids(self.source, contents), contents, strict=True))

    @property
    def stored(self) -> Iterator[StoredChunk]:
        """Its rows as the store will give them back. What the document is known by stands in the first one."""
        known = (self.identity, written_origin(self.origin))
        for key in self.texts:
            yield StoredChunk(key, self.source, self.digest, len(self.chunks), *known)
            known = ("", "")

    @cached_property
    def languages(self) -> frozenset[str]:
        """Those that the document is in; none where the store's own analyzer reads it."""
        if self.analyzer is None:
            return frozenset()
        return self.analyzer.languages_of("\n".join(chunk.text for chunk in self.chunks))

    @cached_property
    def terms(self) -> dict[str, str | None]:
        """What BM25 counts of each chunk, by its id. Raises OverflowError where Milvus keeps no such text."""
        analyzer = self.analyzer
        return {
            key: analyzer.document_terms(text, self.languages) if analyzer else None for key, text in self.texts.items()
        }

    @property
    def unsearchable(self) -> str | None:
        """Why its words cannot be kept; None where they can."""
        try:
            assert self.terms.keys() == self.texts.keys()
        except OverflowError as error:
            return f"cannot be searched by words: {error}; lower retrieval.chunk_tokens"
        return None


class ChunkWriter:
    """Writes to one collection, one batch after the other and each of them whole: two writes to one collection at a
    time are not safe on Milvus Lite."""

    def __init__(
        self, store: Store, physical: str, importer: BulkImporter | None = None, forgotten: ForgottenSource = NOTHING
    ) -> None:
        self.store, self.physical, self.importer, self.forgotten = store, physical, importer, forgotten
        self.lock = threading.Lock()
        """Held by each write, whichever thread makes it."""
        self._languages = frozenset[str]()
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def hand_over(self, documents: Sequence[Changed], vectors: Vectors) -> None:
        """Returns once the batch before this one is written. Raises what the store raised there."""
        self.settle()
        self._pending = self._thread.submit(self._write, documents, vectors)

    def delete(self, ids: Sequence[str]) -> None:
        """After all that was handed over before; nothing is waited for without ids."""
        if not ids:
            return
        self.settle()
        with self.lock:
            self.store.delete(self.physical, ids)

    def settle(self) -> None:
        """Wait until what was handed over is written. Raises what the store raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def complete(self) -> None:
        """Wait until all that was handed over is in the collection."""
        self.settle()
        if self.importer:
            self.importer.complete()

    def close(self) -> None:
        """A batch that is being written is written to its end, also where the run has ended badly."""
        self._thread.shutdown()

    def _write(self, documents: Sequence[Changed], vectors: Vectors) -> None:
        """New rows first, then what they replace: a document is never missing, and a kill in between is seen."""
        with self.lock:
            # What was forgotten while it was embedded is not written: who forgets removes what stands there before or
            # after this, never in between.
            left_out = self.forgotten.read()
            wanted = [document for document in documents if not _is_forgotten(left_out, document)]
            self._write_wanted(wanted, vectors)
            if stored := {key for document in documents for key in document.stored_ids} - {
                key for document in wanted for key in document.stored_ids
            }:
                self.store.delete(self.physical, sorted(stored))

    def _write_wanted(self, documents: Sequence[Changed], vectors: Vectors) -> None:
        self._note_languages(documents)
        if self.importer:
            fresh = [document for document in documents if not document.stored_ids]
            self.importer.add([row for document in fresh for row in _rows(document, vectors)])
            documents = [document for document in documents if document.stored_ids]
        for start, end in _slices([len(document.chunks) for document in documents], WRITE_CHUNKS):
            rows = [row for document in documents[start:end] for row in _rows(document, vectors)]
            redressed = [
                key for document in documents[start:end] if document.carries_other for key in document.stored_ids
            ]
            if redressed and self.store.keeps_what_an_upsert_lacks:
                self.store.delete(self.physical, redressed)
            self.store.upsert(self.physical, rows)
            stale = {key for document in documents[start:end] for key in document.stored_ids} - {row.id for row in rows}
            self.store.delete(self.physical, sorted(stale))

    def _note_languages(self, documents: Sequence[Changed]) -> None:
        """Before their rows are there: a question must be analysed in their languages from then on."""
        found = frozenset[str]().union(*(document.languages for document in documents))
        if not found <= self._languages:
            self.store.add_languages(self.physical, found)
            self._languages |= found


def content(chunk: Chunk) -> str:
    """What is embedded, searched by words, and stored. A title has no line end, so it can be split off again."""
    return f"{chunk.title}\n{chunk.text}"


def _chunk_ids(source: str, contents: Sequence[str]) -> list[str]:
    """SHA-256 (32 hex digits) of source, content and how often that content came before in the document."""
    seen: Counter[str] = Counter()
    ids = []
    for text in contents:
        ids.append(hashlib.sha256(f"{source}\0{seen[text]}\0{text}".encode()).hexdigest()[:32])
        seen[text] += 1
    return ids


def _rows(document: Changed, vectors: Vectors) -> Iterator[ChunkRow]:
    for position, (row, text) in enumerate(zip(document.stored, document.texts.values(), strict=True)):
        vector = [float(x) for x in vectors[row.id]]
        yield ChunkRow(
            row.id, row.source, row.source_hash, row.num_chunks, position, text, vector, document.attributes,
            row.identity, row.origin, document.terms[row.id],
        )  # fmt: skip


def _is_forgotten(left_out: Forgotten, document: Changed) -> bool:
    found = left_out.find(document.source, document.origin) or left_out.find_text(document.identity, document.origin)
    return found is not None


def _slices(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of neighbours that together have at most `most`; what alone has more is a range of its own."""
    start = total = 0
    for end, size in enumerate(sizes):
        if end > start and total + size > most:
            yield start, end
            start, total = end, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)
