"""The text of a project's documents, as far as it can be read without an index: Markdown and plain text in folders.

found = read_documents(config.retrieval)
print(len(found.documents), found.not_read)
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cluster.errors import TandemError
from evaluation.questions.sources import document_name
from retrieval.config import RetrievalConfig

SUFFIXES = (".md", ".markdown", ".txt")
MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class DraftDocument:
    """One file. `source` is its path in its folder, after the folder's name where there are several sources."""

    source: str
    path: Path
    text: str


@dataclass(frozen=True)
class Documents:
    """What was read, and in words what was not."""

    documents: tuple[DraftDocument, ...]
    not_read: tuple[str, ...]

    def find(self, source: str) -> list[DraftDocument]:
        """The documents of this path; like citations, paths are compared from their ends."""
        name = document_name(source)
        same = (each for each in self._by_last_part.get(name.split("/")[-1], ()) if _ends_alike(each.source, name))
        return sorted(same, key=lambda each: each.source != name)

    @cached_property
    def _by_last_part(self) -> dict[str, list[DraftDocument]]:
        documents: dict[str, list[DraftDocument]] = {}
        for each in self.documents:
            documents.setdefault(each.source.split("/")[-1], []).append(each)
        return documents


def read_documents(config: RetrievalConfig) -> Documents:
    """Read every Markdown and text file of the project's folders, in the order of their names.

    A file that cannot be read, that is no text in UTF-8 or that has more than MAX_BYTES is named in `not_read`.

    Raises:
        TandemError: no source is named, or there is no such folder.
    """
    if not config.sources:
        raise TandemError(
            "The project file names no documents.", "`retrieval.sources`: folders with documents.", "Name one."
        )
    # A source with a URL, a query or a sitemap has none, or one that is a text.
    folders = [
        (source.title, path) for source in config.sources if isinstance(path := getattr(source, "path", 0), Path)
    ]
    titles = {title for title, _ in folders}
    not_read = [f"{each.title} (no folder on this machine)" for each in config.sources if each.title not in titles]
    documents, other = [], Counter[str]()
    for title, folder in folders:
        for path in _files(folder):
            if path.suffix.lower() in SUFFIXES:
                name = path.name if path == folder else path.relative_to(folder).as_posix()
                source = f"{title}/{name}" if len(config.sources) > 1 else name
                try:
                    documents.append(DraftDocument(source, path, _text(path)))
                except _UnreadableFile as error:
                    not_read.append(f"{source} ({error})")
            else:
                other[path.suffix.lower() or "no ending"] += 1
    not_read += [f"{number} files with {suffix}" for suffix, number in sorted(other.items())]
    return Documents(tuple(documents), tuple(not_read))


def _files(path: Path) -> Sequence[Path]:
    if not path.exists():
        raise TandemError(f"There is no {path}.", "A folder or a file with documents.", "Correct `retrieval.sources`.")
    return [path] if path.is_file() else sorted(_below(path))


def _below(folder: Path) -> Iterator[Path]:
    """Hidden files and folders are left out, as in the index."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


class _UnreadableFile(ValueError):
    """Why a file is not read, in a few words."""


def _text(path: Path) -> str:
    # Bytes, so that offsets count every character: opened as text, "\r\n" would be one.
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise _UnreadableFile(f"{size / 2**20:,.1f} MiB, and at most {MAX_BYTES // 2**20} are read")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _UnreadableFile(error.strerror or "unknown error") from error
    except UnicodeDecodeError as error:
        raise _UnreadableFile(f"not UTF-8 at byte {error.start + 1}") from error
    if "\0" in text:
        raise _UnreadableFile("not a text")
    return text


def _ends_alike(one: str, other: str) -> bool:
    return one == other or one.endswith("/" + other) or other.endswith("/" + one)
