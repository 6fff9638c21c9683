"""The object stores of the clouds, and what speaks as they do: listed and read through obstore.

obstore lists page by page with ETags, so that a bucket of any size takes little memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cluster.fingerprints.digests import digest_json
from cluster.storage.buckets import failure_reason, open_store
from retrieval.sources.document import CHUNK_BYTES, Entry, Gone, SourceUnavailable, Unreadable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

REQUEST_S = 60


def list_objects(url: str) -> Iterator[Entry]:
    """The objects below a URL, or the one that it names.

    Raises:
        SourceUnavailable: the bucket is missing, is not for us, or does not answer.
    """
    store, path = open_source_bucket(url)
    is_empty = True
    with _explained(url):
        for page in store.list(path or None):
            for each in page:
                is_empty = False
                yield _entry(url, store, each, each["path"].removeprefix(path).removeprefix("/"))
        if is_empty and path and (meta := _one(store, path)):
            yield _entry(url, store, meta, path.rpartition("/")[2])


def open_source_bucket(url: str) -> "tuple[ObjectStore, str]":
    """The bucket and the path in it.

    Raises:
        SourceUnavailable: there can be no such bucket.
    """
    from obstore.exceptions import BaseError

    try:
        return open_store(url, REQUEST_S)
    except (BaseError, ValueError) as error:
        raise _unavailable(url, error) from None


def _one(store: "ObjectStore", path: str) -> Any:
    from obstore.exceptions import NotFoundError

    try:
        return store.head(path)
    except (NotFoundError, FileNotFoundError):
        return None


def _entry(url: str, store: "ObjectStore", meta: Any, name: str) -> Entry:
    # Without an ETag a store gives a version, or at least a time.
    version = meta["e_tag"] or meta["version"] or meta["last_modified"].isoformat()
    chunks = partial(_chunks, url, store, meta["path"], meta["size"], meta["e_tag"])
    return Entry(name, meta["size"], digest_json([version, meta["size"]]), chunks)


def _chunks(url: str, store: "ObjectStore", path: str, size: int, tag: str | None) -> Iterator[bytes]:
    """Piece by piece, each with a request of its own: a large file is read for as long as its rows take."""
    from obstore.exceptions import NotFoundError, PermissionDeniedError, PreconditionError, UnauthenticatedError

    for start in range(0, size, CHUNK_BYTES):
        options: Any = {"range": (start, min(start + CHUNK_BYTES, size))} | ({"if_match": tag} if tag else {})
        try:
            with _explained(url):
                chunk = bytes(store.get(path, options=options).bytes())
        except SourceUnavailable as error:
            # What concerns this object alone does not end the run.
            if isinstance(error.__cause__, NotFoundError | FileNotFoundError):
                raise Gone("is no longer there") from None
            if isinstance(error.__cause__, PermissionDeniedError | UnauthenticatedError):
                raise Unreadable("may not be read with these credentials") from None
            if isinstance(error.__cause__, PreconditionError):
                raise Unreadable("was changed while it was read; the next run takes it") from None
            raise
        yield chunk


@contextmanager
def _explained(url: str) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise _unavailable(url, error) from error


def _unavailable(url: str, error: Exception) -> SourceUnavailable:
    return SourceUnavailable(
        f"The source {url} cannot be read: {failure_reason(error)}.",
        "A bucket or container that exists, and credentials in the environment (for S3: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL; AWS_ALLOW_HTTP=true for http; AWS_SKIP_SIGNATURE=true "
        "for a public bucket).",
        "Correct the URL or the credentials; what was indexed of it stays.",
    )
