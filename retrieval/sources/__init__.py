"""Where documents come from: `documents(sources)` gives every one of them, whatever kind of source it lies in.

A document that cannot be read raises Unreadable and the rest goes on; a source that cannot be listed raises a
TandemError, since what it holds must not be taken for deleted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from cluster.errors import TandemError
from retrieval.config import SourceConfig
from retrieval.sources import files
from retrieval.sources.document import Document, Unreadable
from retrieval.sources.parsing import read_markdown

__all__ = ["Document", "Unreadable", "check", "documents", "read_markdown"]


def documents(sources: Sequence[SourceConfig]) -> Iterator[Document]:
    """Every document of `sources`, in a fixed order and one at a time: there may be any number of them.

    With several sources a name begins with its source's own name.

    Raises:
        TandemError: a source cannot be listed.
    """
    for source in sources:
        yield from files.documents(source, f"{source.path.name}/" if len(sources) > 1 else "")


def check(sources: Sequence[SourceConfig]) -> None:
    """Look at the sources before anything is started.

    Raises:
        TandemError: there is none, two have the same name, or one of them cannot be used.
    """
    if not sources:
        raise TandemError(
            "retrieval.sources is empty.",
            "It lists the folders and files to index.",
            "Add a line such as `sources: [docs/]`.",
        )
    name, count = Counter(source.path.name for source in sources).most_common(1)[0]
    if count > 1:
        raise TandemError(
            f"{count} sources are named {name}.",
            "The names of documents begin with the name of their source, so each needs its own.",
            "Rename one of them, or name the folder that holds both.",
        )
    files.check(sources)
