"""Documents in folders on this machine."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path

from cluster.errors import TandemError
from retrieval.sources import rows
from retrieval.sources.config import FolderSource
from retrieval.sources.document import Document
from retrieval.sources.markup import markup_of
from retrieval.sources.parsing.formats import ROWS_SUFFIXES, SUFFIXES, text_version
from retrieval.sources.parsing.limits import digest
from retrieval.sources.parsing.parse import read_markdown

CHUNK_BYTES = 2**20


def folder_documents(source: FolderSource, prefix: str) -> Iterator[Document]:
    """Every document below `source`, in the order of the folders. Hidden files and folders are left out.

    Args:
        prefix: stands in front of the names, such as `docs/`, or is empty.
    """
    for parts in _paths(source.path):
        path = source.path.joinpath(*parts)
        name = prefix + "/".join(parts) if parts else path.name
        if path.suffix.lower() in ROWS_SUFFIXES:
            yield from rows.row_documents(name, _chunks(path), source.attributes, path)
            continue
        version, read = partial(_version, path, source.encoding), partial(read_markdown, path, source.encoding)
        yield Document(name, source.attributes, version, read, path, markup_of(path.suffix))


def _version(path: Path, encoding: str | None) -> str:
    return text_version(digest(path), path.suffix, encoding)


def check_folder_source(sources: Sequence[FolderSource]) -> None:
    """Look at the folders and files before anything is started.

    Raises:
        TandemError: one is missing or may not be read, two have the same name, one lies in another and is for others,
            or there is no document in any of them.
    """
    for path in (source.path for source in sources):
        if not path.exists():
            raise TandemError(
                f"The source {path} does not exist.",
                "A source is a folder or a file.",
                "Correct its path under retrieval.sources; it is relative to the project file.",
            )
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise _not_allowed(path)
    _check_overlap(sources)
    if sources and not any(True for source in sources for _ in _paths(source.path)):
        raise TandemError(
            f"No document was found in {', '.join(str(source.path) for source in sources)}.",
            f"Files that end in {' '.join(sorted(SUFFIXES))} are read.",
            "Name a folder that holds some under retrieval.sources.",
        )


def _check_overlap(sources: Sequence[FolderSource]) -> None:
    """A folder inside another would be indexed twice, the second time for whom the outer one is for."""
    for outer, inner in permutations(sources, 2):
        if inner.path.resolve().is_relative_to(outer.path.resolve()) and inner.attributes != outer.attributes:
            raise TandemError(
                f"The source {inner.path} lies in {outer.path}, which has another tenant, other labels or metadata.",
                "Sources that differ in these do not overlap: the documents would be found by those of both.",
                "Move the folder out, or name the folders beside it instead of the one around it.",
            )


def _paths(source: Path) -> Iterator[tuple[str, ...]]:
    """The path of every document below `source`, in parts; the empty path where `source` is itself one."""
    if source.is_file():
        yield ()
        return
    for folder, subfolders, names in os.walk(source, onerror=_stop):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        below = Path(folder).relative_to(source).parts
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield (*below, name)


def _chunks(path: Path) -> Iterator[bytes]:
    """A file piece by piece. What stands in one that cannot be opened must not count as deleted either."""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        _stop(error)


def _stop(error: OSError) -> None:
    """What lies in a folder that cannot be listed must not count as deleted; a folder that has gone is gone."""
    if not isinstance(error, FileNotFoundError):
        raise _not_allowed(Path(error.filename)) from error


def _not_allowed(path: Path) -> TandemError:
    return TandemError(
        f"The source {path} may not be read.",
        "Its owner decides who reads it.",
        "Change its permissions, or run as a user who may read it.",
    )
