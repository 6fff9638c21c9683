"""How a file gets to disk: written atomically, or once and never again; a full disk is explained."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import TandemError
from cluster.fingerprints.kept_digests import CACHE


@contextmanager
def explained_disk(path: Path) -> Iterator[None]:
    """Says in our words that a disk is full or too small a share of it ours."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise TandemError(
            f"{path} cannot be written: {error.strerror}.",
            "Room for it on this disk; nothing is left of what was begun.",
            f"Make room, or set the environment variable {CACHE} to a folder on another disk.",
        ) from error


def write_atomically(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """Write a file so that readers see the old content or the new, never a part. `mode` are its rights."""
    _write_beside(path, content, mode).replace(path)


def write_once(path: Path, content: str | bytes, mode: int | None = None) -> bool:
    """Write a file only where there is none yet; of several writers exactly one gets True. `mode` are its rights."""
    temporary = _write_beside(path, content, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        # Over NFS a request whose answer was lost is sent again, and finds what it has done itself.
        return temporary.stat().st_nlink == 2
    finally:
        temporary.unlink()
    return True


def _write_beside(path: Path, content: str | bytes, mode: int | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            if mode is not None:
                temporary.chmod(mode)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # which says which disk is full
        raise
    return temporary
