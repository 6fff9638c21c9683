"""Documents in folders on this machine."""

import contextlib
import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from unicodedata import normalize

from cluster.errors import TandemError
from retrieval.sources import rows
from retrieval.sources.config import FolderSource
from retrieval.sources.document import Document, Gone, Origin, SourceUnavailable, Unreadable, open_file
from retrieval.sources.left_out import kind_left_out
from retrieval.sources.markup import markup_of
from retrieval.sources.parsing.formats import ROWS_SUFFIXES, SUFFIXES, text_version
from retrieval.sources.parsing.limits import digest
from retrieval.sources.parsing.parse import read_markdown

CHUNK_BYTES = 2**20
_ROWS = tuple(ROWS_SUFFIXES)
_SPECIAL = {stat.S_IFDIR: "links to folders", stat.S_IFIFO: "named pipes", stat.S_IFSOCK: "sockets"}


@dataclass(frozen=True)
class LocalFile:
    """A file as the folder lists it."""

    name: str
    """Its name in the index: the source's prefix and the path below the source, with `/`. A file that is itself a
    source has its own name."""

    location: str
    """Its path on this machine."""
    signature: str | None
    """`file_signature` of it; None where the system does not say."""

    @property
    def path(self) -> Path:
        return Path(self.location)

    @property
    def holds_rows(self) -> bool:
        """Whether each of its rows is a document."""
        return self.location.lower().endswith(_ROWS)


IsUnchanged = Callable[[LocalFile], bool]


def folder_documents(
    source: FolderSource,
    prefix: str,
    left_out: Counter[str] | None = None,
    skip: IsUnchanged = lambda file: False,
) -> Iterator[Document]:
    """Every document below `source`, in the order of the folders. Hidden files and folders are left out.

    Args:
        prefix: what the names begin with, such as `docs/`, or nothing.
        left_out: gets the numbers of the other files by kind.
        skip: whether a file is as before, so that neither it nor its rows are needed.

    Raises:
        SourceUnavailable: the folder is missing, one in it may not be listed, or another one has taken its place
            meanwhile: what was not listed must not count as deleted.
    """
    for file in _files(source, prefix, Counter() if left_out is None else left_out):
        if skip(file):
            continue
        origin = _origin(source.path, file.path)
        if file.holds_rows:
            yield from rows.row_documents(file.name, _chunks(file.path), source.attributes, file.path, origin)
            continue
        version = partial(_version, file.path, source.encoding)
        read, markup = partial(_read, file.path, source.encoding), markup_of(file.path.suffix)
        yield Document(file.name, source.attributes, version, read, file.path, markup, file.signature, origin=origin)


def _version(path: Path, encoding: str | None) -> str:
    return text_version(digest(path), path.suffix, encoding)


def _read(path: Path, encoding: str | None) -> str:
    """An emptied file says nothing, also where no bytes are no document of its format."""
    try:
        return "" if _is_empty(path) else read_markdown(path, encoding)
    except Unreadable:
        if path.exists() or path.is_symlink():
            raise
        raise Gone("is no longer there") from None


def _is_empty(path: Path) -> bool:
    try:
        state = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_size == 0


def _origin(source: Path, path: Path) -> Origin:
    """In one Unicode form: some systems give letters with accents as two characters."""
    root, below = (source, path.relative_to(source).as_posix()) if path != source else (source.parent, path.name)
    return Origin(normalize("NFC", str(root)), normalize("NFC", below))


def check_folders(sources: Sequence[FolderSource]) -> None:
    """Look at the folders and files before anything is started.

    Raises:
        TandemError: one is missing or may not be read, two have the same name, or one lies in another and is for
            others.
    """
    for source in sources:
        _look_at(source.path)
    _check_overlap(sources)


def require_folder_documents(sources: Sequence[FolderSource]) -> None:
    """Raises a TandemError where there is no document in any of them."""
    if sources and not any(True for source in sources for _ in _files(source, "", Counter())):
        raise TandemError(
            f"No document was found in {', '.join(str(source.path) for source in sources)}.",
            f"Files that end in {' '.join(sorted(SUFFIXES))} are read.",
            "Name a folder that holds some under retrieval.sources.",
        )


def file_signature(state: os.stat_result) -> str:
    """What changes with a file's content: device, inode, size, and times of content and inode in nanoseconds.

    `cp -p`, rsync and touch set the time of the content; that of the inode is the kernel's own.
    """
    return f"{state.st_dev}:{state.st_ino}:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}"


def _check_overlap(sources: Sequence[FolderSource]) -> None:
    """A folder inside another would be indexed twice, the second time for whom the outer one is for."""
    for outer, inner in permutations(sources, 2):
        if inner.path.resolve().is_relative_to(outer.path.resolve()) and inner.attributes != outer.attributes:
            raise TandemError(
                f"The source {inner.path} lies in {outer.path}, which has another tenant, other labels or metadata.",
                "Sources that differ in these do not overlap: the documents would be found by those of both.",
                "Move the folder out, or name the folders beside it instead of the one around it.",
            )


def _look_at(path: Path) -> os.stat_result:
    """What a source is now. Raises SourceUnavailable where it cannot be listed or read."""
    try:
        state = path.stat()
    except FileNotFoundError:
        raise SourceUnavailable(
            f"The source {path} does not exist.",
            "A source is a folder or a file.",
            "Correct its path under retrieval.sources, which is relative to the project file, or mount it. "
            "What was indexed of it stays.",
        ) from None
    except OSError as error:
        raise _not_readable(path, error) from error
    if not stat.S_ISDIR(state.st_mode) and not stat.S_ISREG(state.st_mode):
        raise SourceUnavailable(
            f"The source {path} is neither a folder nor a file.",
            "A folder or a regular file; named pipes, sockets and devices are not read.",
            "Correct its path under retrieval.sources.",
        )
    if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(state.st_mode) else 0)):
        raise _not_readable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return state


def _files(source: FolderSource, prefix: str, left_out: Counter[str]) -> Iterator[LocalFile]:
    """The documents of a source that is the same folder at the end as at the beginning."""
    state = _look_at(source.path)
    if stat.S_ISREG(state.st_mode):
        yield LocalFile(source.path.name, str(source.path), file_signature(state))
        return
    yield from _below(source, prefix, left_out)
    after = _look_at(source.path)
    if (after.st_dev, after.st_ino) != (state.st_dev, state.st_ino):
        raise SourceUnavailable(
            f"The source {source.path} was replaced while it was read.",
            "A folder that stays in its place meanwhile.",
            "Run this again; what was indexed of it stays.",
        )


def _below(source: FolderSource, prefix: str, left_out: Counter[str]) -> Iterator[LocalFile]:
    folders, apart = [(str(source.path), prefix)], set(_identities(source.apart))
    inodes = {inode for _, inode in apart}
    while folders:
        location, begins = folders.pop()
        subfolders = []
        for entry in _entries(location):
            if entry.inode() in inodes and apart.issuperset(_identities([Path(entry.path)])):
                left_out["the project's own"] += 1
            elif entry.is_dir(follow_symlinks=False):
                subfolders.append((entry.path, f"{begins}{entry.name}/"))
            elif kind := _special_kind(entry) or kind_left_out(entry.name):
                left_out[kind] += 1
            else:
                try:
                    signature = _signature(entry)
                except FileNotFoundError:
                    continue  # it has gone since the folder was listed
                yield LocalFile(begins + entry.name, entry.path, signature)
        folders += reversed(subfolders)


def _identities(paths: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """The device and inode of each path that there is."""
    for path in paths:
        with contextlib.suppress(OSError):
            state = path.stat()
            yield state.st_dev, state.st_ino


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder cannot count as deleted where it cannot be listed; a folder that has gone is gone."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
            return sorted(shown, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _not_readable(Path(folder), error) from error


def _special_kind(entry: os.DirEntry[str]) -> str | None:
    """What is counted of an entry that is no file, links followed: opening a pipe would wait for ever."""
    if entry.is_file(follow_symlinks=False):
        return None
    try:
        kind = stat.S_IFMT(entry.stat().st_mode)
    except OSError:
        return None  # a link to nothing, which the index reports
    return None if kind == stat.S_IFREG else _SPECIAL.get(kind, "devices")


def _signature(entry: os.DirEntry[str]) -> str | None:
    """None where the system does not say; FileNotFoundError where the entry itself has gone."""
    try:
        return file_signature(entry.stat())
    except FileNotFoundError:
        if entry.is_symlink():
            return None
        raise
    except OSError:
        return None


def _chunks(path: Path) -> Iterator[bytes]:
    """A file piece by piece. What stands in one that cannot be opened must not count as deleted either."""
    try:
        with open_file(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_readable(path, error) from error


def _not_readable(path: Path, error: OSError) -> SourceUnavailable:
    if error.errno not in (errno.EACCES, errno.EPERM):
        return SourceUnavailable(
            f"The source {path} cannot be read: {error.strerror or error}.",
            "A folder or file that the system reads.",
            "Look at the disk or mount that it lies on, then run this again; what was indexed of it stays.",
        )
    return SourceUnavailable(
        f"The source {path} may not be read.",
        "Its owner decides who reads it.",
        "Change its permissions, or run as a user who may read it; what was indexed of it stays.",
    )
