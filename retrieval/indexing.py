"""Documents -> a collection that equals them: only what changed is cut and embedded again.

    report = index(config, "help-desk", uri, on_progress=print)
    follow(config, "help-desk", uri, on_report=print)             # and stay with the folders until Ctrl-C

A document whose digest and number of chunks stand in the store is left alone. Chunks have deterministic ids, so a run
that was killed half-way is finished by the next one, and a chunk that a changed document keeps keeps its vector.
"""

import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cluster.errors import TandemError
from retrieval import chunking
from retrieval.config import RetrievalConfig
from retrieval.embedding import Embedder
from retrieval.rights import Attributes
from retrieval.schema import Row, Settings
from retrieval.sources import SourceFile, Unreadable, digest, find_files, read_markdown
from retrieval.store import Store

BATCH_CHUNKS = 512
# How long the files must be left alone before they are read: an editor writes one in several steps.
_QUIET_MS = 100
Progress = Callable[[str], None]
Forgotten = Callable[[], Collection[str]]


@dataclass(frozen=True)
class Failure:
    """A document that was not indexed. What the collection held of it before stays, unless it is empty now."""

    source: str
    reason: str


@dataclass
class IndexReport:
    """What a run found and did. Counts are of documents, unless they say chunks."""

    collection: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    forgotten: list[str] = field(default_factory=list)
    """Documents that were found and left out, since `tandem forget` named them."""
    failed: list[Failure] = field(default_factory=list)
    num_chunks: int = 0
    """Chunks in the collection at the end."""
    num_embedded: int = 0
    """Chunks that were embedded in this run."""
    seconds: float = 0.0


@dataclass(frozen=True)
class _Stored:
    """A document in the store."""

    ids: frozenset[str]
    digest: str | None
    """None where its rows are of several states, or some are missing: an earlier run was killed."""


@dataclass(frozen=True)
class _Changed:
    file: SourceFile
    digest: str
    chunks: list[chunking.Chunk]
    stored: _Stored

    @property
    def source(self) -> str:
        return self.file.source


def index(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    on_progress: Progress = print,
    forgotten: Forgotten = tuple,
) -> IndexReport:
    """Make `collection` equal to the documents of `config.sources`.

    Args:
        uri: http(s) address of Milvus; for `local` the one that `local_server` gives.
        forgotten: tells which documents are left out and removed; asked in each pass.

    Raises:
        TandemError: bad sources, model or mode; the store is unreachable; the collection is being indexed already.
    """
    with _opened(config, collection, uri, on_progress, forgotten) as sync:
        return sync.run(find_files(config.sources))


def follow(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    on_report: Callable[[IndexReport], None],
    on_progress: Progress = print,
    stop: threading.Event | None = None,
    forgotten: Forgotten = tuple,
) -> None:
    """Make `collection` equal to the documents, and keep it so while they change, until `stop` is set.

    Only the files that the operating system names are read again. `on_report` gets what each pass found.

    Raises:
        TandemError: as `index`.
    """
    from watchfiles import watch

    with _opened(config, collection, uri, on_progress, forgotten) as sync:
        paths = [source.path for source in config.sources]
        is_first = True
        for changes in watch(*paths, stop_event=stop, step=_QUIET_MS, rust_timeout=_QUIET_MS, yield_on_timeout=True):
            # All of them once the watch stands, so that nothing is missed in between; then those that are named.
            if is_first or changes:
                named = None if is_first else {Path(path) for _, path in changes}
                on_report(sync.run(find_files(config.sources), named))
                is_first = False


@contextmanager
def _opened(
    config: RetrievalConfig, collection: str, uri: str, on_progress: Progress, forgotten: Forgotten
) -> "Iterator[_Sync]":
    find_files(config.sources)  # before a model or a store is looked for
    embedder = Embedder(config.embedding_model)
    with alone(uri, collection):
        store = Store(uri)
        try:
            check_mode(store, config)
            yield _Sync(config, collection, store, embedder, on_progress, forgotten)
        finally:
            store.close()


def check_mode(store: Store, config: RetrievalConfig) -> None:
    """Raises a TandemError where the server cannot search the way `config.mode` asks for."""
    if config.mode != "dense" and not store.has_bm25:
        raise TandemError(
            f"Milvus at {store.uri} is version {store.version}, which has no BM25.",
            f"retrieval.mode: {config.mode} needs Milvus 2.5 or newer, or Milvus Lite.",
            "Set retrieval.mode: dense, or use a newer server.",
        )


class _Sync:
    """A collection that is brought up to date, once or again and again; `stored` is what it holds."""

    def __init__(
        self,
        config: RetrievalConfig,
        collection: str,
        store: Store,
        embedder: Embedder,
        on_progress: Progress,
        forgotten: Forgotten,
    ) -> None:
        self.config, self.store, self.embedder, self.on_progress = config, store, embedder, on_progress
        self.collection, self.report, self.forgotten = collection, IndexReport(collection), forgotten
        self.physical = self._open()
        store.load(self.physical)
        self.stored = _stored_documents(store, self.physical)

    def run(self, files: list[SourceFile], changed: set[Path] | None = None) -> IndexReport:
        """Take up every file, or those of `changed` alone; what is in no file any more is deleted."""
        started, self.report = time.monotonic(), IndexReport(self.collection)
        left_out = self.forgotten()
        self.report.forgotten = [file.source for file in files if file.source in left_out]
        files = [file for file in files if file.source not in left_out]
        batch: list[_Changed] = []
        for number, file in enumerate(files, start=1):
            if changed is not None and file.path not in changed and file.source in self.stored:
                self.report.unchanged += 1
            elif (document := self._changed(file)) is not None:
                batch.append(document)
            if sum(len(document.chunks) for document in batch) >= BATCH_CHUNKS:
                self._write(batch)
                batch = []
                self.on_progress(f"indexed {number} of {len(files)} documents")
        self._write(batch)
        self._delete_missing({file.source for file in files})
        if self.report.failed and self.report.added + self.report.changed + self.report.unchanged == 0:
            raise _nothing_readable(self.report)
        self.report.num_chunks = self.store.finish(self.physical)
        self.store.publish(self.report.collection, self.physical)
        self.report.seconds = round(time.monotonic() - started, 2)
        return self.report

    def _open(self) -> str:
        """The collection with these settings. The model is loaded only where its dimensions are not known yet."""
        current = self.store.current(self.report.collection)
        built = self.store.settings(current) if current else None
        if current and built and built == self._settings(built.dimensions):
            return current
        if current:
            self.on_progress("the settings have changed: building a new collection beside the old one")
        return self.store.ensure(self.report.collection, self._settings(self.embedder.dimensions))

    def _settings(self, dimensions: int) -> Settings:
        return Settings(
            embedding_model=self.embedder.identity,
            dimensions=dimensions,
            chunk_tokens=self.config.chunk_tokens,
            chunking_version=chunking.VERSION,
            bm25=self.store.has_bm25,
        )

    def _changed(self, file: SourceFile) -> _Changed | None:
        """The document cut into chunks; None where it is unchanged or cannot be read, which the report then says."""
        stored = self.stored.get(file.source, _Stored(frozenset(), None))
        try:
            content = _digest(file)
            if content == stored.digest:
                self.report.unchanged += 1
                return None
            chunks = self._chunks(file)
        except Unreadable as error:
            self.report.failed.append(Failure(file.source.encode(errors="backslashreplace").decode(), str(error)))
            if stored.digest is None or not stored.digest.endswith(_digest_of(file.attributes)):
                # What stands there is for others than it is for now, or nobody knows whom for.
                self.store.delete(self.physical, sorted(stored.ids))
                self.stored.pop(file.source, None)
            return None
        if not chunks:
            self.report.failed.append(Failure(file.source, "holds no text"))
            self.store.delete(self.physical, sorted(stored.ids))
            self.stored.pop(file.source, None)
            return None
        return _Changed(file, content, chunks, stored)

    def _chunks(self, file: SourceFile) -> list[chunking.Chunk]:
        limit = min(self.config.chunk_tokens, self.embedder.max_tokens)
        title = PurePosixPath(file.source).stem
        return chunking.chunk(read_markdown(file.path), title, limit, self.embedder.count_tokens)

    def _write(self, documents: list[_Changed]) -> None:
        """New rows first, then what they replace: a document is never missing, and a kill in between is seen."""
        ids = [_chunk_ids(document) for document in documents]
        vectors = self._vectors(documents, ids)
        rows = [
            Row(
                key,
                document.source,
                document.digest,
                len(keys),
                position,
                _content(chunk),
                vectors[key],
                document.file.attributes,
            )
            for document, keys in zip(documents, ids, strict=True)
            for position, (key, chunk) in enumerate(zip(keys, document.chunks, strict=True))
        ]
        self.store.upsert(self.physical, rows)
        stale = {key for document in documents for key in document.stored.ids} - {row.id for row in rows}
        self.store.delete(self.physical, sorted(stale))
        self.report.changed += sum(1 for document in documents if document.stored.ids)
        self.report.added += sum(1 for document in documents if not document.stored.ids)
        for document, keys in zip(documents, ids, strict=True):
            self.stored[document.source] = _Stored(frozenset(keys), document.digest)

    def _vectors(self, documents: list[_Changed], ids: list[list[str]]) -> dict[str, list[float]]:
        """By chunk id: taken from the store where the chunk is known, embedded where it is not."""
        texts = {
            key: _content(chunk)
            for document, keys in zip(documents, ids, strict=True)
            for key, chunk in zip(keys, document.chunks, strict=True)
        }
        known = [key for document in documents for key in document.stored.ids if key in texts]
        vectors = self.store.vectors(self.physical, known)
        new = [key for key in texts if key not in vectors]
        if new:
            embedded = self.embedder.embed_documents([texts[key] for key in new])
            vectors |= {key: vector.tolist() for key, vector in zip(new, embedded, strict=True)}
        self.report.num_embedded += len(new)
        return vectors

    def _delete_missing(self, present: set[str]) -> None:
        missing = [source for source in self.stored if source not in present]
        self.store.delete(self.physical, sorted(key for source in missing for key in self.stored.pop(source).ids))
        self.report.deleted = len(missing)


def _digest(file: SourceFile) -> str:
    """Two halves of 32 hex digits: what the document says, and what it carries (tenant, labels, metadata)."""
    try:
        file.source.encode()
    except UnicodeEncodeError:
        raise Unreadable("has a name that is not UTF-8") from None
    return digest(file.path)[:32] + _digest_of(file.attributes)


def _digest_of(attributes: Attributes) -> str:
    return attributes.digest[:32]


def _stored_documents(store: Store, physical: str) -> dict[str, _Stored]:
    ids: dict[str, set[str]] = {}
    states: dict[str, set[tuple[str, int]]] = {}
    for row in store.chunks(physical):
        ids.setdefault(row.source, set()).add(row.id)
        states.setdefault(row.source, set()).add((row.source_hash, row.num_chunks))
    return {source: _Stored(frozenset(ids[source]), _complete(states[source], len(ids[source]))) for source in ids}


def _complete(states: set[tuple[str, int]], num_rows: int) -> str | None:
    """The digest of a document whose rows are all there and all of one state."""
    content, num_chunks = next(iter(states))
    return content if len(states) == 1 and num_chunks == num_rows else None


def _chunk_ids(document: _Changed) -> list[str]:
    """SHA-256 (32 hex digits) of source, content and how often that content came before in the document."""
    seen: Counter[str] = Counter()
    ids = []
    for chunk in document.chunks:
        content = _content(chunk)
        ids.append(hashlib.sha256(f"{document.source}\0{seen[content]}\0{content}".encode()).hexdigest()[:32])
        seen[content] += 1
    return ids


def _content(chunk: chunking.Chunk) -> str:
    """What is embedded, searched by words, and stored. A title has no line end, so it can be split off again."""
    return f"{chunk.title}\n{chunk.text}"


@contextmanager
def alone(uri: str, collection: str) -> Iterator[None]:
    """Two writers of one collection would undo each other's work, and Milvus Lite does not bear them at all."""
    key = hashlib.sha256(f"{uri}\0{collection}".encode()).hexdigest()[:16]
    with Path(tempfile.gettempdir(), f"tandem-index-{os.getuid()}-{key}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TandemError(
                f"The collection {collection} is being indexed by another process.",
                "One process at a time writes to a collection.",
                "Wait until it has ended, then run this again.",
            ) from None
        yield


def _nothing_readable(report: IndexReport) -> TandemError:
    first = report.failed[0]
    return TandemError(
        f"None of the {len(report.failed)} documents could be indexed; {first.source} {first.reason}.",
        "Documents are UTF-8 text, Markdown, or files that markitdown converts.",
        "Correct the files, or name others under retrieval.sources.",
    )
