"""A file in an object store before it is a document."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """A file as the store lists it."""

    name: str
    """Its path below the source, with `/`."""

    size: int
    """Bytes."""

    version: str
    """A digest of what the store says of its content: its ETag, or time and size."""

    chunks: Callable[[], Iterator[bytes]]
    """Its content, never more than `size`. Raises Unreadable, Gone and SourceUnavailable."""
