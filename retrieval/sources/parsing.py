"""A file -> Markdown. Markdown and plain text are read as UTF-8; other formats are converted by markitdown."""

import hashlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from retrieval.sources.document import Unreadable

TEXT_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text", ".rst"})
CONVERTED_SUFFIXES = frozenset({".html", ".htm", ".pdf", ".docx", ".pptx", ".xlsx", ".csv"})
ROWS_SUFFIXES = frozenset({".jsonl", ".ndjson"})
SUFFIXES = TEXT_SUFFIXES | CONVERTED_SUFFIXES | ROWS_SUFFIXES
PACKED_SUFFIXES = frozenset({".docx", ".pptx", ".xlsx"})
MAX_FILE_BYTES = 50 * 1024 * 1024
MAX_UNPACKED_BYTES = 500 * 1024 * 1024


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        Unreadable: it cannot be opened or is longer than `MAX_FILE_BYTES`.
    """
    try:
        check_size(path.stat().st_size)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def check_size(num_bytes: int) -> None:
    """Raises Unreadable where a file is too long to be one document."""
    if num_bytes > MAX_FILE_BYTES:
        raise Unreadable(f"has {num_bytes / 2**20:.0f} MiB, more than {MAX_FILE_BYTES // 2**20}")


def read_markdown(path: Path) -> str:
    """The document as Markdown or plain text, with `\\n` line ends.

    Raises:
        Unreadable: it is not UTF-8, not text, or markitdown cannot convert it.
    """
    text = _converted(path) if path.suffix.lower() in CONVERTED_SUFFIXES else _decoded(path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
