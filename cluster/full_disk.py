"""A full disk in words: which one it is, and what to do.

    except OSError as error:
        raise explain_full_disk(error, folder, "Make room there, and run the command again.") or error

The error has many shapes: an OSError, a text of pyarrow, of a Rust library, of PyTorch's writer or of an object store,
and the text of a process that Ray reports. A disk that is read-only, or whose quota is used up, ends work in the same
way and is explained here too.
"""

import errno
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import TandemError, last_line

_MUCH_BYTES = 64 << 20
"""A disk with more room than this is not taken for the full one."""
# What Linux, pyarrow, Rust ("os error 28"), PyTorch, Ray and object stores write, by the error that it means.
_TEXTS = {
    errno.ENOSPC: re.compile(
        rf"{os.strerror(errno.ENOSPC)}|\berrno {errno.ENOSPC}\b|\bos error {errno.ENOSPC}\b|OutOfDiskError"
        r"|PytorchStreamWriter failed writing|basic_ios::clear: iostream error"
        r"|inline_container\.cc:\d+\] \. unexpected pos|XMinioStorageFull|InsufficientStorage",
        re.IGNORECASE,
    ),
    errno.EDQUOT: re.compile(
        rf"{os.strerror(errno.EDQUOT)}|\berrno {errno.EDQUOT}\b|\bos error {errno.EDQUOT}\b|QuotaExceeded",
        re.IGNORECASE,
    ),
    errno.EROFS: re.compile(
        rf"{os.strerror(errno.EROFS)}|\berrno {errno.EROFS}\b|\bos error {errno.EROFS}\b", re.IGNORECASE
    ),
}  # fmt: skip
_REASONS = {
    errno.ENOSPC: "",
    errno.EDQUOT: " (its quota is used up)",
    errno.EROFS: " or read-only (it refuses to write)",
}


class DiskFull(TandemError):
    """A disk, a quota or a bucket takes no more bytes."""


@contextmanager
def full_disk_explained(folder: Path, remedy: str) -> Iterator[None]:
    """Raise DiskFull for any error of a full disk inside the block; `folder` is where the block writes."""
    try:
        yield
    except Exception as error:
        if explained := explain_full_disk(error, folder, remedy):
            raise explained from error
        raise


def explain_full_disk(error: BaseException, folder: Path, remedy: str) -> DiskFull | None:
    """The error in words; None where it is not one of a full disk.

    Args:
        folder: where was written, for an error that does not name a file. The disk of temporary files is named in its
            place where that has less room.
    """
    if isinstance(error, DiskFull):
        return error
    if isinstance(error, TandemError) or (found := _find_cause(error)) is None:
        return None
    number, file = found
    path = file or min((folder, Path(tempfile.gettempdir())), key=_free_bytes)
    disk = f"{_mount_point(path)} on {socket.gethostname()}, where {path} is written"
    if file is None and number == errno.ENOSPC and _free_bytes(path) > _MUCH_BYTES:
        disk = f"the error does not name it ({last_line(error)[:300].rstrip('.')})"
    return DiskFull(f"A disk is full{_REASONS[number]}: {disk}.", _describe_room(path), remedy)


def _find_cause(error: BaseException) -> tuple[int, Path | None] | None:
    """The error number, and the file where an error in the chain names one."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    for each in seen:
        if isinstance(each, OSError) and each.errno in _TEXTS:
            # A copy names its source first.
            name = each.filename2 or each.filename
            return each.errno, Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    text = "\n".join(map(str, seen))
    return next(((number, None) for number, pattern in _TEXTS.items() if pattern.search(text)), None)


def _describe_room(path: Path) -> str:
    return f"Room for what is written; {_free_bytes(path) / 2**20:,.1f} MiB are free at {_mount_point(path)}."


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next((each for each in (path, *path.parents) if each.exists()), path)


def _mount_point(path: Path) -> Path:
    existing = _existing(path)
    return next((each for each in (existing, *existing.parents) if os.path.ismount(each)), existing)


def _free_bytes(path: Path) -> int:
    """Bytes that this user may still write there; 0 on a disk that is read-only or takes no more files."""
    try:
        disk = os.statvfs(_existing(path))
    except OSError:
        return 0
    takes_no_file = disk.f_files > 0 and disk.f_favail == 0
    return 0 if disk.f_flag & os.ST_RDONLY or takes_no_file else disk.f_bavail * disk.f_frsize
