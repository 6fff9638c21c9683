"""Where documents come from: `all_documents(sources)` gives every document of every kind of source.

A document that cannot be read raises Unreadable and the rest is read; a source that cannot be listed raises a
TandemError, since its documents must not be taken for deleted. The operating system reports changes of folders; every
other source is polled (`PollSchedule`).
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cluster.errors import TandemError
from retrieval.sources import object_stores, sql
from retrieval.sources.config import FolderSource, ObjectSource, SitemapSource, SourceConfig, SqlSource
from retrieval.sources.document import Document
from retrieval.sources.folders.listing import IsUnchanged, check_folders, folder_documents, require_folder_documents
from retrieval.sources.sites.documents import check_sitemap_source, site_documents


def all_documents(sources: Sequence[SourceConfig]) -> Iterator[Document]:
    """Every document of `sources`, in a fixed order and one at a time: there may be any number.

    Raises:
        TandemError: a source cannot be listed.
    """
    for source in sources:
        yield from source_documents(source, sources, Counter())


def source_documents(
    source: SourceConfig,
    sources: Sequence[SourceConfig],
    left_out: Counter[str],
    skip: IsUnchanged = lambda file: False,
) -> Iterator[Document]:
    """Every document of one of `sources`.

    Args:
        left_out: gets the numbers of the files that are no documents by kind, or of pages by the reason.
        skip: whether a file on this machine is as before, so that neither it nor its rows are needed.

    Raises:
        TandemError: the source cannot be listed.
    """
    prefix = source_prefix(source, sources)
    if isinstance(source, FolderSource):
        return folder_documents(source, prefix, left_out, skip)
    if isinstance(source, ObjectSource):
        return object_stores.object_documents(source, prefix, left_out)
    if isinstance(source, SqlSource):
        return sql.sql_documents(source, prefix)
    return site_documents(source, prefix, left_out)


def source_prefix(source: SourceConfig, sources: Sequence[SourceConfig]) -> str:
    """What the names of a source's documents begin with: nothing where files are the only source."""
    is_alone = len(sources) == 1 and isinstance(source, FolderSource | ObjectSource)
    return "" if is_alone else f"{source.title}/"


def names_of(source: SourceConfig, sources: Sequence[SourceConfig]) -> tuple[str, ...]:
    """What tells the documents of a source by their names: a beginning (empty, or with `/` or `#` at its end), or a
    whole name, since a file that is itself a source has no prefix."""
    prefix = source_prefix(source, sources)
    if not prefix or not isinstance(source, FolderSource):
        return (prefix,)
    return (prefix, source.path.name, f"{source.path.name}#")


def check_sources(sources: Sequence[SourceConfig]) -> None:
    """Look at the sources before anything is started.

    Raises:
        TandemError: there is none, two have the same name, one of them cannot be used, or there is no document.
    """
    check_source_settings(sources)
    require_documents(sources)


def check_source_settings(sources: Sequence[SourceConfig]) -> None:
    """What can be said without looking for documents.

    Raises:
        TandemError: there is no source, two have the same name, or one of them cannot be used.
    """
    if not sources:
        raise TandemError(
            "retrieval.sources is empty.",
            "It lists the folders, files, object stores, databases and sitemaps to index.",
            "Add a line such as `sources: [docs/]`.",
        )
    name, count = Counter(source.title for source in sources).most_common(1)[0]
    if count > 1:
        raise TandemError(
            f"{count} sources are named {name}.",
            "The names of documents begin with the name of their source, so each needs its own.",
            "Give one of them another `name`, or name the folder that holds both.",
        )
    check_folders(folder_sources(sources))
    object_stores.check_overlap([source for source in sources if isinstance(source, ObjectSource)])
    for source in sources:
        if isinstance(source, SqlSource):
            sql.check_sql_source(source)


def require_documents(sources: Sequence[SourceConfig]) -> None:
    """Raises a TandemError where the folders hold no document, or an object store or a site has none: its address may
    be wrong."""
    require_folder_documents(folder_sources(sources))
    for source in sources:
        if isinstance(source, ObjectSource):
            object_stores.check_object_source(source)
        elif isinstance(source, SitemapSource):
            check_sitemap_source(source)


PolledConfig = ObjectSource | SqlSource | SitemapSource


def folder_sources(sources: Sequence[SourceConfig]) -> list[FolderSource]:
    """The folders and files, of which the operating system reports changes."""
    return [source for source in sources if isinstance(source, FolderSource)]


def polled_sources(sources: Sequence[SourceConfig]) -> list[PolledConfig]:
    """The sources whose changes nothing reports."""
    return [source for source in sources if not isinstance(source, FolderSource)]


class PollSchedule:
    """The time until each source is due."""

    def __init__(self, sources: Sequence[SourceConfig]) -> None:
        self._sources = polled_sources(sources)
        self._next = dict.fromkeys(map(id, self._sources), 0.0)

    def begin(self, sources: Iterable[SourceConfig]) -> None:
        """These have just been looked at."""
        for source in sources:
            if not isinstance(source, FolderSource):
                self._next[id(source)] = time.monotonic() + source.poll_s

    def due(self) -> list[PolledConfig]:
        """Those whose time has come."""
        return [source for source in self._sources if time.monotonic() >= self._next[id(source)]]
