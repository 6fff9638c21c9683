"""A watch whose collection is a dictionary of names and versions, listed as the index lists documents."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retrieval.config import RetrievalConfig
from retrieval.index.empty_sources import EmptySources
from retrieval.index.file_states import FileStates
from retrieval.index.following import follow_sources
from retrieval.index.indexed_documents import IndexedDocuments
from retrieval.index.listing import Listing, OnUnavailable
from retrieval.index.report import Failure, IndexReport
from retrieval.sources import sources
from retrieval.sources.config import SourceConfig
from retrieval.sources.document import Unreadable
from retrieval.store.rows import StoredChunk


class Properties:
    """What is kept with a collection."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def properties(self, place: str) -> dict[str, str]:
        return self.kept

    def set_properties(self, place: str, properties: Mapping[str, str]) -> None:
        self.kept |= properties


class Collection:
    """Equal to the documents of `config.sources` after each look."""

    def __init__(self, config: RetrievalConfig, store: Any = None, allow_empty: bool = False, watches: bool = True):
        self.config, self.held, self.known = config, dict[str, str](), IndexedDocuments()
        self.reports: list[IndexReport] = []
        self.said: list[str] = []
        self.num_read = 0
        titles = [source.title for source in config.sources]
        empty = EmptySources(store or Properties(), "here", titles, allow_empty, config.rescan_s if watches else None)
        self.listing = Listing(config, self.known, empty, FileStates() if watches else None)

    def look(
        self, only: Sequence[SourceConfig] | None = None, on_unavailable: OnUnavailable | None = None
    ) -> IndexReport:
        report, held = IndexReport("here"), dict(self.held)
        self.known.fill([StoredChunk(name, name, version, 1) for name, version in held.items()])
        self.known.begin()
        for document in self.listing.documents(only, report, on_unavailable=on_unavailable):
            self.known.mark(document.source)
            self.num_read += 1
            failures = []
            try:
                version = document.version()
                report.added += document.source not in held
                report.changed += held.get(document.source, version) != version
                held[document.source] = version
            except Unreadable as error:
                failures.append(Failure(document.source, str(error)))
            report.failed += failures
            self.listing.note(document, failures)
        self.listing.keep_empty(report, "here")
        for name in self.known.missing(1_000_000):
            del held[name]
            report.deleted += 1
        self.listing.complete("here")
        self.held = held
        return report

    def follow(self, stop: threading.Event) -> threading.Thread:
        """Follow the sources in a thread; returns once the first look has been made."""
        thread = threading.Thread(
            target=follow_sources, args=(self.config, self.look, self.reports.append, self.said.append, stop)
        )
        thread.start()
        assert eventually(lambda: bool(self.reports))
        return thread

    @property
    def is_right(self) -> bool:
        """Whether it holds what a clean index does, apart from documents that cannot be read now: they keep theirs."""
        wanted: dict[str, str] = {}
        unreadable = set()
        for document in sources.all_documents(self.config.sources):
            try:
                wanted[document.source] = document.version()
            except Unreadable:
                unreadable.add(document.source)
        return {name: version for name, version in self.held.items() if name not in unreadable} == wanted


def eventually(is_true: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Whether a condition becomes true in time."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if is_true():
            return True
        time.sleep(0.02)
    return is_true()
