"""How long a file may be, packed and unpacked; and its digest."""

import hashlib
from pathlib import Path
from zipfile import ZipFile

from retrieval.sources.document import Unreadable

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


def check_unpacked(archive: ZipFile) -> None:
    """A small archive may unpack to more than the memory holds.

    The sizes that it declares can be believed: Python's zipfile reads no more of a member than that.

    Raises:
        Unreadable: it unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        raise Unreadable(f"unpacks to {unpacked / 2**20:.0f} MiB, more than {MAX_UNPACKED_BYTES // 2**20}")
