"""Documents from folders and files: which there are, and what they say.

Markdown and plain text are read as UTF-8; other formats become Markdown through markitdown. A file that cannot be read
is a `Failure` with its reason, and the rest goes on.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from cluster.errors import TandemError
from retrieval.config import SourceConfig
from retrieval.rights import Attributes

TEXT_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text", ".rst"})
CONVERTED_SUFFIXES = frozenset({".html", ".htm", ".pdf", ".docx", ".pptx", ".xlsx", ".csv"})
PACKED_SUFFIXES = frozenset({".docx", ".pptx", ".xlsx"})
MAX_FILE_BYTES = 50 * 1024 * 1024
MAX_UNPACKED_BYTES = 500 * 1024 * 1024


@dataclass(frozen=True)
class SourceFile:
    """A document's file and its name in the index: the path below its source folder, with `/`."""

    source: str
    path: Path
    attributes: Attributes = field(default_factory=Attributes)


class Unreadable(Exception):
    """Why one file cannot be indexed, in a few words."""


def find_files(sources: Sequence[SourceConfig]) -> list[SourceFile]:
    """Every document below `sources`, ordered by name. Hidden files and folders are left out.

    With several sources a name begins with its source's own name.

    Raises:
        TandemError: a source is missing or unreadable, two have the same name, one lies in another and is for others,
            or there is no document at all.
    """
    _check([source.path for source in sources])
    _check_overlap(sources)
    files = [
        SourceFile(_name(source.path, parts, len(sources)), source.path.joinpath(*parts), source.attributes)
        for source in sources
        for parts in _documents(source.path)
    ]
    if not files:
        raise TandemError(
            f"No document was found in {', '.join(str(source.path) for source in sources)}.",
            f"Files that end in {' '.join(sorted(TEXT_SUFFIXES | CONVERTED_SUFFIXES))} are read.",
            "Name a folder that holds some under retrieval.sources.",
        )
    return sorted(files, key=lambda file: file.source)


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        Unreadable: it cannot be opened or is longer than `MAX_FILE_BYTES`.
    """
    try:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise Unreadable(f"has {size / 2**20:.0f} MiB, more than {MAX_FILE_BYTES // 2**20}")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def read_markdown(path: Path) -> str:
    """The document as Markdown or plain text, with `\\n` line ends.

    Raises:
        Unreadable: it is not UTF-8, not text, or markitdown cannot convert it.
    """
    text = _converted(path) if path.suffix.lower() in CONVERTED_SUFFIXES else _decoded(path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check(sources: Sequence[Path]) -> None:
    if not sources:
        raise TandemError(
            "retrieval.sources is empty.",
            "It lists the folders and files to index.",
            "Add a line such as `sources: [docs/]`.",
        )
    for source in sources:
        if not source.exists():
            raise TandemError(
                f"The source {source} does not exist.",
                "A source is a folder or a file.",
                "Correct its path under retrieval.sources; it is relative to the project file.",
            )
        if not os.access(source, os.R_OK | (os.X_OK if source.is_dir() else 0)):
            raise TandemError(
                f"The source {source} may not be read.",
                "Its owner decides who reads it.",
                "Change its permissions, or run as a user who may read it.",
            )
    name, count = Counter(source.name for source in sources).most_common(1)[0]
    if count > 1:
        raise TandemError(
            f"{count} sources are named {name}.",
            "The names of documents begin with the name of their source, so each needs its own.",
            "Rename one of them, or name the folder that holds both.",
        )


def _check_overlap(sources: Sequence[SourceConfig]) -> None:
    """A folder inside another would be indexed twice, the second time for whom the outer one is for."""
    for outer, inner in permutations(sources, 2):
        if inner.path.resolve().is_relative_to(outer.path.resolve()) and inner.attributes != outer.attributes:
            raise TandemError(
                f"The source {inner.path} lies in {outer.path}, which has another tenant, other labels or metadata.",
                "Sources that differ in these do not overlap: the documents would be found by those of both.",
                "Move the folder out, or name the folders beside it instead of the one around it.",
            )


def _name(source: Path, parts: tuple[str, ...], num_sources: int) -> str:
    return "/".join([source.name, *parts] if num_sources > 1 or not parts else parts)


def _documents(source: Path) -> Iterator[tuple[str, ...]]:
    """The path of every document below `source`, in parts; the empty path where `source` is itself one."""
    if source.is_file():
        yield ()
        return
    for folder, subfolders, names in os.walk(source):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        below = Path(folder).relative_to(source).parts
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in TEXT_SUFFIXES | CONVERTED_SUFFIXES:
                yield (*below, name)


def _decoded(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 (byte {error.start})") from error
    if "\0" in text:
        raise Unreadable("is not text (it holds NUL bytes)")
    return text


def _converted(path: Path) -> str:
    from markitdown import MarkItDown, MarkItDownException

    if path.suffix.lower() in PACKED_SUFFIXES:
        _check_unpacked_size(path)
    try:
        return str(MarkItDown(enable_plugins=False).convert_local(path).text_content)
    except (MarkItDownException, OSError, ValueError) as error:
        # markitdown names the cause in its last line.
        reason = str(error).strip().split("\n")[-1].strip(" -")[:200] or type(error).__name__
        raise Unreadable(f"cannot be converted: {reason}") from error


def _check_unpacked_size(path: Path) -> None:
    """An office document is a ZIP archive, and a small one may unpack to more than the memory holds.

    The sizes that it declares can be believed: Python's zipfile reads no more of a member than that.
    """
    try:
        with ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (BadZipFile, OSError) as error:
        raise Unreadable(f"cannot be opened as {path.suffix[1:]}: {error}") from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise Unreadable(f"unpacks to {unpacked / 2**20:.0f} MiB, more than {MAX_UNPACKED_BYTES // 2**20}")
