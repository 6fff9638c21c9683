"""How long a file may be, packed and unpacked; and its digest."""

import hashlib
from pathlib import Path
from zipfile import ZipFile

from retrieval.sources.document import Gone, Unreadable, open_file

MAX_FILE_BYTES = 50 * 1024 * 1024
MAX_UNPACKED_BYTES = 500 * 1024 * 1024
MAX_XML_BYTES = 64 * 1024 * 1024
"""A part that is read as a whole: its elements take twenty times its bytes and more in memory."""
MAX_CELLS = 10_000_000
MAX_TABLE_CHARACTERS = 100 * 1024 * 1024
"""A text that is stored once may stand in any number of cells."""


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        Gone: it was removed since it was listed.
        Unreadable: it cannot be opened or is longer than `MAX_FILE_BYTES`.
    """
    try:
        check_size(path.stat().st_size)
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            raise Gone("is no longer there") from None
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def check_size(num_bytes: int) -> None:
    """Raises Unreadable where a file is too long to be one document."""
    if num_bytes > MAX_FILE_BYTES:
        raise Unreadable(f"has {num_bytes / 2**20:.0f} MiB, more than {MAX_FILE_BYTES // 2**20}")


def check_unpacked(archive: ZipFile) -> None:
    """A small archive may unpack to more than the memory holds.

    The sizes that it declares can be believed: Python's zipfile reads no more of a member than that.

    Raises:
        Unreadable: it unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        raise Unreadable(f"unpacks to {unpacked / 2**20:.0f} MiB, more than {MAX_UNPACKED_BYTES // 2**20}")


def check_table(rows: list[list[str]]) -> None:
    """Raises Unreadable where a table has more cells or more text than a document may have."""
    num_cells, num_characters = sum(map(len, rows)), sum(len(cell) for row in rows for cell in row)
    if num_cells > MAX_CELLS:
        raise Unreadable(f"has a table of {num_cells:,} cells, more than {MAX_CELLS:,}: divide it, or load it as JSONL")
    if num_characters > MAX_TABLE_CHARACTERS:
        raise Unreadable(f"has a table of {num_characters / 2**20:.0f} MiB, more than {MAX_TABLE_CHARACTERS // 2**20}")
