"""Documents -> a collection that equals them: only what changed is cut and embedded again.

    report = index_documents(config, "help-desk", uri, on_progress=print)
    follow_changes(config, "help-desk", uri, on_report=print)     # and stay with the documents until Ctrl-C

A document whose digest and number of chunks stand in the store is left alone. Chunks have deterministic ids, so a run
that was killed half-way is finished by the next one, and a chunk that a changed document keeps keeps its vector.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import PurePosixPath
from typing import Any

from retrieval.config import RetrievalConfig
from retrieval.embedding.documents import AnyEmbedder, make_documents_embedder
from retrieval.embedding.precision import choose_precision
from retrieval.index import bulk_import, chunking
from retrieval.index.collection_settings import collection_settings, longest_chunk, make_analyzer
from retrieval.index.cut_revision import CutRevision, Digests, attributes_digest, digests_of, printable
from retrieval.index.empty_sources import EmptySources
from retrieval.index.file_states import FileStates
from retrieval.index.following import follow_sources
from retrieval.index.forgetting.check import ForgottenCheck
from retrieval.index.forgetting.forgotten import NOTHING, ForgottenSource
from retrieval.index.forgetting.removal import Remover
from retrieval.index.forgetting.text_identity import identity_of
from retrieval.index.indexed_documents import IndexedDocuments
from retrieval.index.listing import Listing, OnUnavailable
from retrieval.index.report import Failure, IndexReport, nothing_readable
from retrieval.index.writer import Changed, ChunkWriter, Vectors
from retrieval.sources import sources
from retrieval.sources.config import SourceConfig
from retrieval.sources.document import Document, Emptied, Gone, PartialText, Unreadable
from retrieval.sources.parsing.processes import ParserProcesses
from retrieval.sources.read_ahead import read_ahead
from retrieval.store.collection import CollectionSettings
from retrieval.store.identity import ProjectIdentity
from retrieval.store.leases import hold_lease
from retrieval.store.store import Store, require_search_mode

BATCH_CHUNKS = 512
Progress = Callable[[str], None]


def index_documents(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    on_progress: Progress = print,
    forgotten: ForgottenSource = NOTHING,
    on_documents: Callable[[Iterator[tuple[str, str]]], None] | None = None,
    owner: ProjectIdentity | None = None,
    take_over: bool = False,
    allow_empty: bool = False,
) -> IndexReport:
    """Make `collection` equal to the documents of `config.sources`.

    Args:
        uri: http(s) address of Milvus; for `local` the one that `local_server` gives.
        forgotten: which documents are left out and removed; read before and after each write too.
        on_documents: gets every document of the collection with its digest, at the end.
        owner: the project that the collection belongs to; a collection of another one is refused.
        take_over: let a collection of another project belong to `owner` from now on.
        allow_empty: whether a source without documents is believed to have none at once, and not the second time.

    Raises:
        TandemError: bad sources, model or mode; the store is unreachable; the collection is being indexed already, or
            belongs to another project.
    """
    with _opened(config, collection, uri, on_progress, forgotten, owner, take_over, allow_empty, None) as sync:
        report = sync.run()
        if on_documents:
            on_documents(sync.known.documents())
        sync.embedder.keep_export()
        return report


def follow_changes(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    on_report: Callable[[IndexReport], None],
    on_progress: Progress = print,
    stop: threading.Event | None = None,
    forgotten: ForgottenSource = NOTHING,
    owner: ProjectIdentity | None = None,
    take_over: bool = False,
    allow_empty: bool = False,
) -> None:
    """Make `collection` equal to the documents, and keep it so while they change, until `stop` is set.

    Folders are looked at when the system reports a change, and at the latest after `config.rescan_s`; what is in no
    folder is looked at again after its source's `poll_s`. `on_progress` gets a line for a source that is away
    then, whose documents are kept. `on_report` gets what the first look found, and what later ones found that is new.

    Raises:
        TandemError: as `index_documents`.
    """
    with (
        closing(FileStates()) as states,
        _opened(config, collection, uri, on_progress, forgotten, owner, take_over, allow_empty, states) as sync,
    ):

        def report_and_export(report: IndexReport) -> None:
            on_report(report)
            sync.embedder.keep_export()

        is_outdated = sync.remover.noticed.is_set
        follow_sources(config, sync.run, report_and_export, on_progress, stop or threading.Event(), is_outdated)


@contextmanager
def _opened(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    on_progress: Progress,
    forgotten: ForgottenSource,
    owner: ProjectIdentity | None,
    take_over: bool,
    allow_empty: bool,
    states: FileStates | None,
) -> "Iterator[_Sync]":
    sources.check_source_settings(config.sources)  # before a model or a store is looked for
    embedder = make_documents_embedder(config)
    store, known = Store(uri, config.milvus, patience_s=config.milvus.retry_s), IndexedDocuments()
    try:
        require_search_mode(store, config)
        is_new = store.current(collection) is None
        if is_new and not allow_empty:
            sources.require_documents(config.sources)
        if config.milvus.bulk_import:
            bulk_import.check_bulk_import(store, config.milvus.bulk_import)
        with hold_lease(store, collection, on_progress):
            notes = store.claim(collection, owner, take_over)
            with closing(
                _Sync(config, collection, store, embedder, known, on_progress, forgotten, allow_empty, states)
            ) as sync:
                sync.notes = notes
                if not is_new and not allow_empty:
                    sync.listing.require_documents()
                yield sync
    finally:
        known.close()
        store.close()


class _Sync:
    """A collection that is brought up to date, once or again and again; `known` is what it holds."""

    def __init__(
        self,
        config: RetrievalConfig,
        collection: str,
        store: Store,
        embedder: AnyEmbedder,
        known: IndexedDocuments,
        on_progress: Progress,
        forgotten: ForgottenSource,
        allow_empty: bool,
        states: FileStates | None,
    ) -> None:
        self.config, self.store, self.embedder, self.known = config, store, embedder, known
        self.on_progress, self.forgotten = on_progress, ForgottenCheck(forgotten, known)
        self.collection, self.report, self.notes = collection, IndexReport(collection), list[str]()
        self.previous: str | None = None
        self.physical = self._open()
        store.load(self.physical)
        self.writer = ChunkWriter(store, self.physical, self._importer(), forgotten)
        store.read_rows(self.physical, known.fill)
        self.cut = CutRevision(store, self.physical, is_empty=next(known.documents(), None) is None)
        place, titles = store.current(collection) or self.physical, [source.title for source in config.sources]
        empty = EmptySources(store, place, titles, allow_empty, config.rescan_s if states else None)
        self.listing = Listing(config, known, empty, states)
        self.remover = Remover(store, collection, forgotten, self.writer.lock)
        self.parsers = ParserProcesses(config.parsing, on_progress)

    def run(
        self, only: Sequence[SourceConfig] | None = None, on_unavailable: OnUnavailable | None = None
    ) -> IndexReport:
        """Take up every document, or those of `only` these sources; what is nowhere any more is deleted."""
        started, self.report, self.notes = time.monotonic(), IndexReport(self.collection, notes=self.notes), []
        self.known.begin()
        self.forgotten.begin(self.report)
        self._remove_forgotten()
        if only is None:
            self.report.notes += self.cut.begin()
        batch: list[Changed] = []
        num_chunks, enough = 0, max(BATCH_CHUNKS, self.embedder.round_chunks)
        # The text of a page may be asked for already to see whether it has changed.
        with self.parsers.used(), closing(read_ahead(self._wanted(only, on_unavailable), self.parsers)) as ready:
            for document, digests, read in ready:
                num_failed = len(self.report.failed)
                if (changed := self._changed(document, digests, read)) is not None:
                    batch.append(changed)
                    num_chunks += len(changed.chunks)
                self.listing.note(document, self.report.failed[num_failed:])
                if num_chunks >= enough:
                    self._write(batch)
                    batch, num_chunks = [], 0
                    self.on_progress(f"indexed {self.report.num_taken} documents")
        self._write(batch)
        # Documents come as they are read; two runs say the same in the same order.
        self.report.failed.sort(key=lambda failure: failure.source)
        self.report.left_out.sort(key=lambda part: part.source)
        self.embedder.release()
        self.writer.complete()
        self.forgotten.end()
        found = self._remove_forgotten()
        self.report.forgotten = sorted([*self.report.forgotten, *found])
        self.report.forgotten_as |= {name: known for name, known in found.items() if name != known}
        if only is None and self.report.failed and self.report.num_taken == 0:
            raise nothing_readable(self.report)
        self.listing.keep_empty(self.report, self.physical)
        self._delete_missing()
        if only is None or self.report.has_changes:
            with self.writer.lock:
                self.report.num_chunks = self.store.finish(self.physical, flush=only is None or self.store.is_lite)
                self.store.publish(self.report.collection, self.physical)
            self.report.languages = self.store.languages(self.physical)
            self.previous = None
            if advice := self.store.outgrown(self.physical, self.report.num_chunks):
                self.on_progress(advice)
        if only is None:
            self.cut.complete()
        self.listing.complete(self.physical)
        self.report.seconds = round(time.monotonic() - started, 2)
        return self.report

    def _wanted(
        self, only: Sequence[SourceConfig] | None, on_unavailable: OnUnavailable | None
    ) -> Iterator[tuple[Document, Digests]]:
        """The documents that are to be read, each with its digests."""
        for document in self._present(only, on_unavailable):
            num_failed = len(self.report.failed)
            try:
                digests = digests_of(document)
                is_stored = self.known.digest(printable(document.source)) in digests
                if not is_stored or self.cut.is_earlier or not self.forgotten.is_settled(document.source):
                    yield document, digests
                    continue
                self.report.unchanged += 1
            except Unreadable as error:
                self._fail(document, error)
            self.listing.note(document, self.report.failed[num_failed:])

    def _present(self, only: Sequence[SourceConfig] | None, on_unavailable: OnUnavailable | None) -> Iterator[Document]:
        """The documents of all sources, or of `only` these, without those that were forgotten."""
        reads_all = self.forgotten.has_changed
        for document in self.listing.documents(only, self.report, reads_all, on_unavailable):
            if self.forgotten.leaves_out(document, reads=only is None):
                continue
            if self.known.mark(printable(document.source)):
                yield document
            else:
                self.report.failed.append(Failure(printable(document.source), "has the name of another document"))

    def _remove_forgotten(self) -> dict[str, str]:
        """Remove what the collection holds of documents that were put on the list since it was read last: by its name
        the one that was forgotten."""
        self.remover.noticed.clear()
        found = dict(self.forgotten.found_in_collection())
        self._remove([*found])
        self.report.deleted += len(found)
        return found

    def _open(self) -> str:
        """The collection with these settings. The model is loaded only where its dimensions are not known yet."""
        current = self.store.current(self.report.collection)
        built = self.store.settings(current) if current else None
        same_model = built and built.embedding_model == self.embedder.identity
        self.embedder.precision = choose_precision(
            self.config.embedding_precision, built.precision if built and same_model else None, self.embedder.hardware
        )
        if current and built and built == self._settings(built.dimensions):
            return current
        if current:
            self.on_progress("the settings have changed: building a new collection beside the old one")
        settings = self._settings(self.embedder.dimensions)
        if current and built and built.embeds_like(settings):
            self.previous = current
            self.store.load(current)
        return self.store.ensure(self.report.collection, settings)

    def _importer(self) -> bulk_import.BulkImporter | None:
        """For a collection that nobody searches yet, where the project file asks for it."""
        place = self.config.milvus.bulk_import
        if place is None or self.store.current(self.collection) == self.physical:
            return None
        importer = bulk_import.BulkImporter(self.store, self.physical, self._settings(self.embedder.dimensions), place)
        importer.await_earlier()
        return importer

    def _settings(self, dimensions: int) -> CollectionSettings:
        return collection_settings(self.config, self.store, self.embedder, dimensions)

    def _changed(self, document: Document, digests: Digests, read: Callable[[], str]) -> Changed | None:
        """The document cut into chunks; None where these are stored, where it is forgotten, or where it cannot be read,
        which the report then says."""
        try:
            text = read()
            identity = identity_of(text)
            if self.forgotten.leaves_out_text(document, identity):
                self.known.unmark(document.source)
                return None
            chunks = self._chunks(document, text)
        except Unreadable as error:
            self._fail(document, error)
            return None
        if not chunks:
            self.report.failed.append(Failure(document.source, "holds no text"))
            self._remove([document.source])
            return None
        stored, ids = self.known.digest(printable(document.source)), self.known.ids(document.source)
        digest = digests[-1] if stored in digests else digests[0]
        known = (self._carries_other(document), identity, document.origin, make_analyzer(self.config, self.store))
        changed = Changed(document.source, document.attributes, digest, chunks, ids, *known)
        if (reason := changed.unsearchable) is not None:
            self.report.failed.append(Failure(document.source, reason))
            return None
        is_settled = stored in digests and self.forgotten.is_settled(document.source)
        if is_settled and set(ids) == set(changed.texts):
            self.report.unchanged += 1
            return None
        return changed

    def _fail(self, document: Document, error: Unreadable) -> None:
        """Report a document that cannot be read. What stands of it stays, where it is for whom it was for."""
        source = printable(document.source)
        if isinstance(error, Gone):
            # It is present no more, and deleted with what is missing.
            self.known.unmark(source)
            return
        self.report.failed.append(Failure(source, str(error)))
        self.cut.num_left += self.known.digest(source) is not None
        if self._carries_other(document) or isinstance(error, Emptied):
            # What stands there is for others than it is for now, or nobody knows whom for; or it says nothing now.
            self._remove([source])

    def _carries_other(self, document: Document) -> bool:
        """Whether nothing is stored of a document that is for whom it is for now."""
        stored = self.known.digest(printable(document.source))
        return stored is None or not stored.endswith(attributes_digest(document))

    def _chunks(self, document: Document, text: str) -> list[chunking.Chunk]:
        title = PurePosixPath(document.source).stem
        if isinstance(text, PartialText):
            self.report.left_out += [Failure(document.source, reason) for reason in text.left_out]
        count = self.embedder.count_tokens
        return chunking.chunk_document(text, title, longest_chunk(self.config, self.embedder), count, document.markup)

    def _write(self, documents: list[Changed]) -> None:
        """Embed documents, and have them written while the next ones are embedded."""
        self.writer.hand_over(documents, self._vectors(documents))
        for document in documents:
            self.known.replace(document.source, document.stored)
        num_changed = sum(1 for document in documents if document.stored_ids)
        self.report.changed += num_changed
        self.report.added += len(documents) - num_changed

    def _vectors(self, documents: list[Changed]) -> Vectors:
        """By chunk id: taken from the store where the chunk is known, embedded where it is not."""
        texts = {key: text for document in documents for key, text in document.texts.items()}
        known = [key for document in documents for key in document.stored_ids if key in texts]
        vectors: dict[str, Any] = dict(self.store.vectors(self.physical, known))
        if self.previous:
            # The same id is the same text: what the old collection holds of it needs no embedding.
            vectors |= self.store.vectors(self.previous, [key for key in texts if key not in vectors])
        new = [key for key in texts if key not in vectors]
        if new:
            vectors |= zip(new, self.embedder.embed_documents([texts[key] for key in new]), strict=True)
        self.report.num_embedded += len(new)
        return vectors

    def close(self) -> None:
        self.parsers.close()
        self.embedder.release()
        self.remover.close()
        self.writer.close()

    def _remove(self, documents: Sequence[str]) -> None:
        self.writer.delete([key for source in documents for key in self.known.ids(source)])
        for source in documents:
            self.known.forget(source)

    def _delete_missing(self) -> None:
        while missing := self.known.missing(BATCH_CHUNKS):
            self._remove(missing)
            self.report.deleted += len(missing)
