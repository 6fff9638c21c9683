"""A document as every kind of source hands it over: a name, a version, and a way to read it.

An `Entry` is a file in an object store, from which a document is made.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from cluster.errors import TandemError
from retrieval.filters.rights import Attributes
from retrieval.sources.markup import Markup


class Unreadable(Exception):
    """Why one document cannot be indexed, in a few words that follow its name."""


class Gone(Unreadable):
    """The document was listed and is no longer there: what is stored of it is removed."""


class Emptied(Unreadable):
    """The document is there and says nothing: what is stored of it is removed."""


class PartialText(str):
    """A document's text of which something was left out: the index takes it and its report says what is missing.

    A string made of it by `replace` and the like no longer knows what was left out.
    """

    left_out: tuple[str, ...]
    """What was left out and what to do about it, each in a few words that follow the document's name."""

    def __new__(cls, text: str, left_out: Sequence[str]) -> "PartialText":
        made = super().__new__(cls, text)
        made.left_out = tuple(left_out)
        return made


def say_left_out(text: str, left_out: Sequence[str]) -> str:
    """The text, as a `PartialText` where anything was left out."""
    return PartialText(text, left_out) if left_out else text


class SourceUnavailable(TandemError):
    """A source cannot be listed or read now. What is stored of it stays, and the same run may work later."""


UNKNOWN = Attributes(access=("nobody: its tenant or labels are not known",))
"""Carried by a document of which nobody knows whom it is for. It equals what no document was stored with, so what the
collection holds of the document is removed."""


@dataclass(frozen=True)
class Origin:
    """Where a document is kept, whatever the project file calls its source."""

    root: str
    """The absolute path of a folder, the URL of a bucket's folder or of a site, a database and its table."""

    path: str
    """The document below it. Of a row it ends in `#` and the row's id; of a page it begins with `/`."""

    @property
    def whole(self) -> str:
        return f"{self.root.rstrip('/')}{'' if self.path.startswith(('/', '#')) else '/'}{self.path}"


@dataclass(frozen=True)
class Document:
    """One document of a source, which is read only where its version is not the stored one."""

    source: str
    """Its name in the index: unique, and the same in every run. Files have their path below the source, with `/`."""

    attributes: Attributes
    version: Callable[[], str]
    """Something short that changes whenever the document's text does, such as a digest. Raises Unreadable."""

    read: Callable[[], str]
    """The document's text, with `\\n` line ends; a `PartialText` where something was left out. Raises Unreadable."""

    path: Path | None = None
    """The local file, where it is one."""

    markup: Markup = "markdown"
    """What the text is written in."""

    signature: str | None = None
    """What the system says of that file without reading it: another content comes with another signature."""

    is_object: bool = False
    """Whether it is a file of an object store."""

    origin: Origin | None = None
    """Where it is kept; None where only a number says which one it is, such as that of a line without an id."""

    is_torn: bool = False
    """Whether it is a line that is no row: any row of its file may stand there, such as while the file is written."""

    @property
    def is_file(self) -> bool:
        """Whether any thread can read it, beside other documents and after its source was listed."""
        return self.path is not None or self.is_object


def unreadable(
    name: str,
    reason: "str | Unreadable",
    attributes: Attributes,
    path: Path | None = None,
    origin: Origin | None = None,
) -> Document:
    """A document that is known to be unreadable when it is listed."""

    def explain() -> str:
        raise reason if isinstance(reason, Unreadable) else Unreadable(reason)

    return Document(name, attributes, explain, explain, path, origin=origin)


def open_file(path: Path) -> BufferedReader:
    """Open a local file for reading. Nothing is waited for, as opening a named pipe would.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(number, "rb")


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
