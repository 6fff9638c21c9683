"""The documents of all sources in one look after the other, and what a look leaves alone.

    for document in listing.documents(only, report, reads_all=False, on_unavailable=None): ...
    listing.keep_empty(report)              # before what is nowhere any more is deleted
    listing.complete(place)                 # what was read is in the collection now

`index` looks once. A watch looks again and again, and need not read the files that are as before.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

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
        self._rows: dict[Path, LocalFile] = {}
        self._failures: defaultdict[Path, list[Failure]] = defaultdict(list)

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

    def is_as_before(self, document: Document, report: IndexReport) -> bool:
        """Whether a document need not be read: its file is as it was when it was read last, as the report then says."""
        if self._reads_all or document.path is None or self.states is None:
            return False
        if not self.states.is_settled(document.path, document.signature):
            return False
        failures = self.states.failures(document.path)
        report.failed += failures
        if not failures and self.known.digest(document.source) is None:
            return False
        report.unchanged += not failures
        return True

    def note(self, document: Document, failures: Sequence[Failure]) -> None:
        """A document was read; `failures` say what could not be indexed."""
        if self.states is None or document.path is None:
            return
        if document.path in self._rows:
            self._failures[document.path] += failures
        else:
            self.states.note(document.path, document.signature, failures)

    def keep_empty(self, report: IndexReport, outgoing: IndexedDocuments | None = None) -> None:
        """Let the documents of a source that is suddenly empty count as unchanged, and say so.

        Args:
            outgoing: what the collection holds that is searched now, where another one is being built.

        Raises:
            TandemError: that one holds documents of the source, and the new one would not.
        """
        for source in self.sources:
            if source.title not in self.num_listed:
                continue
            names, is_empty = sources.names_of(source, self.sources), not self.num_listed[source.title]
            num_held = (outgoing or self.known).num_missing(names) if is_empty else 0
            if not num_held or self.empty.is_believed(source.title):
                self.empty.clear(source.title)
            elif outgoing:
                self.empty.keep()
                raise incomplete_copy(EmptySource(source.title, num_held))
            else:
                report.empty.append(EmptySource(source.title, num_held))
                report.unchanged += self.known.mark_names(names)

    def complete(self, place: str) -> None:
        """The look has ended, and what it read is in the collection `place`."""
        self.empty.keep(place)
        if self.states:
            for path, file in self._rows.items():
                self.states.note(path, file.signature, self._failures[path])
            self.states.commit()

    def _documents(self, source: SourceConfig, report: IndexReport) -> Iterator[Document]:
        num_listed, left_out = 0, Counter[str]()

        def skip_rows(file: LocalFile) -> bool:
            nonlocal num_listed
            if self.states is None or self._reads_all or not self.states.is_settled(file.path, file.signature):
                self._rows[file.path] = file
                return False
            num_rows, failures = self.known.mark_names((f"{file.name}#",)), self.states.failures(file.path)
            num_listed += num_rows + len(failures)
            report.unchanged += num_rows
            report.failed += failures
            return True

        for document in sources.source_documents(source, self.sources, left_out, skip_rows):
            num_listed += 1
            yield document
        self.num_listed[source.title] = num_listed
        counts = report.other_pages if isinstance(source, SitemapSource) else report.other_files
        for kind, count in left_out.items():
            counts[kind] = counts.get(kind, 0) + count
