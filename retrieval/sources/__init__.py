"""Where documents come from: `documents(sources)` gives every one of them, whatever kind of source it lies in.

A document that cannot be read raises Unreadable and the rest goes on; a source that cannot be listed raises a
TandemError, since what it holds must not be taken for deleted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from cluster.errors import TandemError
from retrieval.source_config import FolderSource, ObjectSource, SitemapSource, SourceConfig, SqlSource
from retrieval.sources import databases, files, objects, sitemaps
from retrieval.sources.document import Document, Gone, SourceUnavailable, Unreadable
from retrieval.sources.parsing import read_markdown
from retrieval.sources.polls import Polls, folders, polled

__all__ = [
    "Document",
    "Gone",
    "Polls",
    "SourceUnavailable",
    "Unreadable",
    "check",
    "documents",
    "folders",
    "polled",
    "prefix",
    "read_markdown",
]


def documents(sources: Sequence[SourceConfig], skipped: Sequence[SourceConfig] = ()) -> Iterator[Document]:
    """Every document of `sources` but the `skipped`, in a fixed order and one at a time: there may be any number.

    Raises:
        TandemError: a source cannot be listed.
    """
    for source in sources:
        if not any(source is each for each in skipped):
            yield from _documents_of(source, prefix(source, sources))


def _documents_of(source: SourceConfig, prefix: str) -> Iterator[Document]:
    if isinstance(source, FolderSource):
        return files.documents(source, prefix)
    if isinstance(source, ObjectSource):
        return objects.documents(source, prefix)
    if isinstance(source, SqlSource):
        return databases.documents(source, prefix)
    return sitemaps.documents(source, prefix)


def prefix(source: SourceConfig, sources: Sequence[SourceConfig]) -> str:
    """What the names of a source's documents begin with: nothing where files are the only source."""
    is_alone = len(sources) == 1 and isinstance(source, FolderSource | ObjectSource)
    return "" if is_alone else f"{source.title}/"


def check(sources: Sequence[SourceConfig]) -> None:
    """Look at the sources before anything is started.

    Raises:
        TandemError: there is none, two have the same name, or one of them cannot be used.
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
    files.check([source for source in sources if isinstance(source, FolderSource)])
    objects.check_overlap([source for source in sources if isinstance(source, ObjectSource)])
    for source in sources:
        if isinstance(source, ObjectSource):
            objects.check(source)
        elif isinstance(source, SqlSource):
            databases.check(source)
        elif isinstance(source, SitemapSource):
            sitemaps.check(source)
