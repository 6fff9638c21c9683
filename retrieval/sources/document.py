"""A document as every kind of source hands it over: a name, a version, and a way to read it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrieval.rights import Attributes


class Unreadable(Exception):
    """Why one document cannot be indexed, in a few words that follow its name."""


@dataclass(frozen=True)
class Document:
    """One document of a source, which is read only where its version is not the stored one."""

    source: str
    """Its name in the index: unique, and the same in every run. Files have their path below the source, with `/`."""

    attributes: Attributes
    version: Callable[[], str]
    """Something short that changes whenever the document's text does, such as a digest. Raises Unreadable."""

    read: Callable[[], str]
    """The document as Markdown or plain text, with `\\n` line ends. Raises Unreadable."""

    path: Path | None = None
    """The local file, where it is one: `tandem index --watch` reads again those that are named by the system."""
