"""Every other place that fsspec reaches: sftp, hdfs, memory and whatever is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.sources.document import Gone, SourceUnavailable
from retrieval.sources.entry import CHUNK_BYTES, Entry


def entries(url: str) -> Iterator[Entry]:
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
