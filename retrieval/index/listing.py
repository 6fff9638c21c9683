"""The documents of all sources in one look after the other, and what a look leaves alone.

    for document in listing.documents(only, report, reads_all=False, on_unavailable=None): ...
    listing.keep_empty(report, physical)    # before what is nowhere any more is deleted
    listing.complete(physical)              # what was read is in the collection now

`index` looks once. A watch looks again and again, and need not read the files that are as before.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from retrieval.config import RetrievalConfig
from retrieval.index.empty_sources import EmptySources
from retrieval.index.file_states import FileStates
from retrieval.index.indexed_documents import IndexedDocuments
from retrieval.index.report import EmptySource, Failure, IndexReport, incomplete_copy
from retrieval.sources import sources
from retrieval.sources.config import SitemapSource, SourceConfig
from retrieval.sources.document import Document, SourceUnavailable
from retrieval.sources.folders.listing import LocalFile

OnUnavailable = Callable[[SourceConfig, SourceUnavailable], None]


class Listing:
    """One look at a time. `states` is what a watch remembers of files; without it every file is read."""

    def __init__(
        self, config: RetrievalConfig, known: IndexedDocuments, empty: EmptySources, states: FileStates | None
    ) -> None:
        self.sources, self.known, self.empty, self.states = config.sources, known, empty, states
        self.num_listed: Counter[str] = Counter()
        self._rows: dict[str, LocalFile] = {}
        self._failures: defaultdict[str, list[Failure]] = defaultdict(list)

    def documents(
        self,
        only: Sequence[SourceConfig] | None,
        report: IndexReport,
        reads_all: bool = False,
        on_unavailable: OnUnavailable | None = None,
    ) -> Iterator[Document]:
        """Every document of all sources, or of `only` these; those of the others count as unchanged.

        Args:
            report: gets the numbers of the files and pages that are no documents.
            reads_all: whether also files that are as before are read.
            on_unavailable: gets a source that cannot be listed now, whose documents then count as unchanged.

        Raises:
            SourceUnavailable: there is no `on_unavailable`.
        """
        self.num_listed.clear()
        self._rows.clear()
        self._failures.clear()
        self._reads_all = reads_all or self.states is None
        if self.states:
            self.states.begin()
        for source in self.sources:
            if only is not None and all(source is not each for each in only):
                report.unchanged += self.known.mark_names(sources.names_of(source, self.sources))
                continue
            try:
                yield from self._documents(source, report)
            except SourceUnavailable as error:
                if on_unavailable is None:
                    raise
                on_unavailable(source, error)
                report.unchanged += self.known.mark_names(sources.names_of(source, self.sources))

    def note(self, document: Document, failures: Sequence[Failure]) -> None:
        """A document was read; `failures` say what could not be indexed."""
        if self.states is None or document.path is None:
            return
        if (location := str(document.path)) in self._rows:
            self._failures[location] += failures
        else:
            self.states.note(location, document.signature, failures)

    def require_documents(self) -> None:
        """Raises a TandemError where an object store or a site has no document, and never had one: its address may be
        wrong."""
        polled = sources.polled_sources(self.sources)
        unknown = [source for source in polled if not self.known.num_missing(sources.names_of(source, self.sources))]
        sources.require_documents([source for source in unknown if not self.empty.was_found(source.title)])

    def keep_empty(self, report: IndexReport, physical: str) -> None:
        """Let the documents of a source that is suddenly empty count as unchanged, and say so.

        Args:
            physical: the collection that is written.

        Raises:
            TandemError: another one is searched now and holds documents of the source; the new one would not.
        """
        looked_at = [source for source in self.sources if source.title in self.num_listed]
        for source in looked_at:
            if self.num_listed[source.title]:
                self.empty.found_documents(source.title)
        if all(self.num_listed.values()):
            return
        with self._searched(physical) as searched:
            for source in looked_at:
                if not self.num_listed[source.title]:
                    self._keep(source, report, searched)

    def _keep(self, source: SourceConfig, report: IndexReport, searched: IndexedDocuments) -> None:
        names = sources.names_of(source, self.sources)
        num_held, is_believed = searched.num_missing(names), self.empty.found_empty(source.title)
        if not num_held or is_believed:
            report.empty.append(EmptySource(source.title, 0))
        elif searched is not self.known:
            self.empty.keep()
            raise incomplete_copy(EmptySource(source.title, num_held))
        else:
            report.empty.append(EmptySource(source.title, num_held))
            report.unchanged += self.known.mark_names(names)

    @contextmanager
    def _searched(self, physical: str) -> Iterator[IndexedDocuments]:
        """What the collection holds that is searched now, where that is another one than `physical`."""
        if self.empty.place == physical:
            yield self.known
            return
        with closing(IndexedDocuments()) as searched:
            self.empty.store.load(self.empty.place)
            self.empty.store.read_rows(self.empty.place, searched.fill)
            yield searched

    def complete(self, physical: str) -> None:
        """The look has ended, and what it read is in the collection `physical`, which is searched now."""
        self.empty.keep(physical)
        if self.states:
            for location, file in self._rows.items():
                self.states.note(location, file.signature, self._failures[location])
            self.states.commit()

    def _documents(self, source: SourceConfig, report: IndexReport) -> Iterator[Document]:
        num_listed, left_out = 0, Counter[str]()

        def skip(file: LocalFile) -> bool:
            nonlocal num_listed
            states = None if self._reads_all else self.states
            failures = states.settled(file.location, file.signature) if states else None
            if failures is None:
                if file.holds_rows:
                    self._rows[file.location] = file
                return False
            num_known = self._mark(file)
            if not num_known and not failures and not file.holds_rows:
                return False  # it was removed, or forgotten, and is there again
            num_listed += num_known + sum(1 for failure in failures if not failure.source.startswith(f"{file.name}:"))
            report.unchanged += num_known - sum(1 for failure in failures if self.known.ids(failure.source))
            report.failed += failures
            return True

        for document in sources.source_documents(source, self.sources, left_out, skip):
            num_listed += not document.is_torn
            yield document
        self.num_listed[source.title] = num_listed
        counts = report.other_pages if isinstance(source, SitemapSource) else report.other_files
        for kind, count in left_out.items():
            counts[kind] = counts.get(kind, 0) + count

    def _mark(self, file: LocalFile) -> int:
        """Let the look come by what is known of a file; the number of documents."""
        return self.known.mark_names((f"{file.name}#",)) if file.holds_rows else int(self.known.mark_known(file.name))
