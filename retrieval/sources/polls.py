"""When to look again: folders are watched by the operating system, everything else from time to time."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from retrieval.source_config import FolderSource, ObjectSource, SitemapSource, SourceConfig, SqlSource

PolledConfig = ObjectSource | SqlSource | SitemapSource


def folders(sources: Sequence[SourceConfig]) -> list[Path]:
    """The folders and files that the operating system tells of."""
    return [source.path for source in sources if isinstance(source, FolderSource)]


def polled(sources: Sequence[SourceConfig]) -> list[PolledConfig]:
    """The sources that nothing tells of."""
    return [source for source in sources if not isinstance(source, FolderSource)]


class Polls:
    """The time until each source is due."""

    def __init__(self, sources: Sequence[SourceConfig]) -> None:
        self._sources = polled(sources)
        self._next = dict.fromkeys(map(id, self._sources), 0.0)

    def begin(self, sources: Iterable[SourceConfig]) -> None:
        """These have just been looked at."""
        for source in sources:
            if not isinstance(source, FolderSource):
                self._next[id(source)] = time.monotonic() + source.poll_s

    def due(self) -> list[PolledConfig]:
        """Those whose time has come."""
        return [source for source in self._sources if time.monotonic() >= self._next[id(source)]]
