"""Documents in object stores, and in every other place that an fsspec protocol reaches: sftp, hdfs, memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from cluster.storage.buckets import SCHEMES
from retrieval.sources import clouds, rows
from retrieval.sources.config import ObjectSource
from retrieval.sources.document import CHUNK_BYTES, Document, Entry, Gone, Origin, SourceUnavailable, Unreadable
from retrieval.sources.left_out import kind_left_out
from retrieval.sources.markup import markup_of
from retrieval.sources.parsing.formats import ROWS_SUFFIXES, SUFFIXES, text_version
from retrieval.sources.parsing.limits import check_size
from retrieval.sources.parsing.parse import parse


def object_documents(source: ObjectSource, prefix: str, left_out: Counter[str] | None = None) -> Iterator[Document]:
    """Every document below the URL. What is hidden is left out, as in folders.

    Args:
        left_out: gets the numbers of the other objects by kind.

    Raises:
        SourceUnavailable: the store cannot be listed, or does not answer while it is read.
    """
    for entry in _entries(source, Counter() if left_out is None else left_out):
        name, suffix = prefix + entry.name, _suffix(entry)
        # A source may name one object itself.
        origin = Origin(source.path.removesuffix(f"/{entry.name}"), entry.name)
        if suffix in ROWS_SUFFIXES:
            yield from rows.row_documents(name, _whole(source, entry), source.attributes, None, origin)
        else:
            version, read = partial(_version, entry, source.encoding), partial(_read, entry, source.encoding)
            about = markup_of(suffix)
            yield Document(name, source.attributes, version, read, markup=about, is_object=True, origin=origin)


def check_object_source(source: ObjectSource) -> None:
    """Look for a first document.

    Raises:
        TandemError: the place cannot be listed, or holds none.
    """
    if next(_entries(source, Counter()), None) is None:
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


def _entries(source: ObjectSource, left_out: Counter[str]) -> Iterator[Entry]:
    is_cloud = urlsplit(source.path).scheme in SCHEMES
    for entry in clouds.list_objects(source.path) if is_cloud else list_entries(source.path):
        parts = PurePosixPath(entry.name).parts
        # An object whose name ends in / is how consoles show an empty folder.
        if not parts or entry.name.endswith("/") or any(part.startswith(".") for part in parts):
            continue
        if kind := kind_left_out(parts[-1]):
            left_out[kind] += 1
        else:
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


def _version(entry: Entry, encoding: str | None) -> str:
    check_size(entry.size)
    return text_version(entry.version, _suffix(entry), encoding)


def _read(entry: Entry, encoding: str | None) -> str:
    check_size(entry.size)
    content = b"".join(entry.chunks())
    return parse(content, _suffix(entry), encoding) if content else ""


def list_entries(url: str) -> Iterator[Entry]:
    """The files below a URL, or the one that it names.

    Raises:
        TandemError: fsspec has no such protocol.
        SourceUnavailable: the place cannot be listed.
    """
    system, root = _system(url)
    with _explained(url):
        if system.isfile(root):
            yield _entry(url, system, root, root.rpartition("/")[2])
            return
        for folder, _, files in system.walk(root, on_error="raise"):
            for name in sorted(files):
                path = f"{folder.rstrip('/')}/{name}"
                yield _entry(url, system, path, path.removeprefix(root).removeprefix("/"))


def _system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        with _explained(url):
            system, root = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise TandemError(
            f"The source {url} cannot be used: {error}.",
            "s3, gs, az, or a protocol of fsspec that is installed.",
            "Correct the URL, or install the package that fsspec names.",
        ) from None
    return system, str(root)


def _entry(url: str, system: Any, path: str, name: str) -> Entry:
    size = int(system.info(path)["size"] or 0)
    return Entry(name, size, digest_json([system.ukey(path), size]), partial(_chunks, url, system, path))


def _chunks(url: str, system: Any, path: str) -> Iterator[bytes]:
    try:
        with _explained(url), system.open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except SourceUnavailable as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise Gone("is no longer there") from None
        raise


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceUnavailable(
            f"The source {url} cannot be read: {error.strerror or error or 'it is not there'}.",
            "A place that exists, and credentials where its fsspec package looks for them.",
            "Correct the URL or the credentials; what was indexed of it stays.",
        ) from error
