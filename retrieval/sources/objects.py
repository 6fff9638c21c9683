"""Documents in object stores, and in whatever else an fsspec protocol reaches."""

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from cluster.errors import TandemError
from retrieval.source_config import ObjectSource
from retrieval.sources import clouds, jsonl, protocols
from retrieval.sources.document import Document, Gone, SourceUnavailable, Unreadable
from retrieval.sources.entry import Entry
from retrieval.sources.parsing import ROWS_SUFFIXES, SUFFIXES, check_size, read_markdown


def documents(source: ObjectSource, prefix: str) -> Iterator[Document]:
    """Every document below the URL. What is hidden is left out, as in folders.

    Raises:
        SourceUnavailable: the store cannot be listed, or does not answer while it is read.
    """
    for entry in _entries(source):
        name, suffix = prefix + entry.name, _suffix(entry)
        if suffix in ROWS_SUFFIXES:
            yield from jsonl.documents(name, _whole(source, entry), source.attributes, None)
        else:
            version, read = partial(_version, entry), partial(_read, entry, suffix)
            yield Document(name, source.attributes, version, read)


def check(source: ObjectSource) -> None:
    """Look for a first document.

    Raises:
        TandemError: the place cannot be listed, or holds none.
    """
    if next(_entries(source), None) is None:
        raise TandemError(
            f"No document was found in {source.path}.",
            f"Files that end in {' '.join(sorted(SUFFIXES))} are read.",
            "Name a folder of the store that holds some under retrieval.sources.",
        )


def check_overlap(sources: Sequence[ObjectSource]) -> None:
    """A folder inside another would be indexed twice, the second time for whom the outer one is for.

    Raises:
        TandemError: one lies in another and is for others.
    """
    for outer, inner in permutations(sources, 2):
        if f"{inner.path}/".startswith(f"{outer.path}/") and inner.attributes != outer.attributes:
            raise TandemError(
                f"The source {inner.path} lies in {outer.path}, which has another tenant, other labels or metadata.",
                "Sources that differ in these do not overlap: the documents would be found by those of both.",
                "Name the folders beside it instead of the one around it.",
            )


def _entries(source: ObjectSource) -> Iterator[Entry]:
    place = clouds if urlsplit(source.path).scheme in clouds.SCHEMES else protocols
    for entry in place.entries(source.path):
        is_hidden = any(part.startswith(".") for part in PurePosixPath(entry.name).parts)
        if not is_hidden and _suffix(entry) in SUFFIXES:
            yield entry


def _suffix(entry: Entry) -> str:
    return PurePosixPath(entry.name).suffix.lower()


def _whole(source: ObjectSource, entry: Entry) -> Iterator[bytes]:
    """The content of a file of which each row is a document: rows that cannot be read must not count as deleted."""
    try:
        yield from entry.chunks()
    except Gone:
        return
    except Unreadable as error:
        raise SourceUnavailable(
            f"{entry.name} in the source {source.path} {error}.",
            "A file that stays as it is while it is read, and that the credentials give access to.",
            "Run this again, or correct the credentials; what was indexed of it stays.",
        ) from None


def _version(entry: Entry) -> str:
    check_size(entry.size)
    return entry.version


def _read(entry: Entry, suffix: str) -> str:
    """The parsers take files."""
    check_size(entry.size)
    with tempfile.TemporaryDirectory(prefix="tandem-") as folder:
        path = Path(folder, f"document{suffix}")
        with path.open("wb") as file:
            for chunk in entry.chunks():
                file.write(chunk)
        return read_markdown(path)
