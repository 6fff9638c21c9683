"""Digests of large files, kept from one command to the next for as long as the files have not been touched.

    $TANDEM_CACHE/digests/<SHA-256 of the path>.json     the cache's folder is ~/.cache/tandem where that is not set

A digest is used again only where the file has the size, inode, device and both times (of its content and of its entry)
that it had when it was read, in the same boot of the machine. The second time (ctime) is set by the system at every
write and cannot be set back by a program, so a file that was replaced or written with an old date is seen too.

- A write right after the reading could leave the same times, since file systems count in ticks (up to two seconds) and
  a server's clock may differ. A file whose times are not older than `SETTLED_S` is therefore never kept.
- A network file system may answer from its own cache. It asks the server when a file is opened, so the times are taken
  from the open file.
- Entries are written beside and renamed, so that readers see a whole one; of two writers either is right. An entry that
  is damaged, or lies in a folder of another user, is not used. Where nothing can be written, every file is read.
"""

import hashlib
import json
import os
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from cluster.fingerprints.digests import digest_json

CACHE = "TANDEM_CACHE"
"""The environment variable that names the folder for what can be had again: copies from buckets, and digests."""

SETTLED_S = 60.0
"""Seconds that a file must have been left alone before its digest is kept."""

LARGE_BYTES = 16 * 2**20
"""A smaller file is read each time; it takes about 10 ms."""


def cache_root() -> Path:
    """The folder for what can be had again."""
    named = os.environ.get(CACHE)
    folder = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tandem"
    return folder.expanduser().resolve()


def digest_large_file(path: Path) -> str:
    """The digest of a file's bytes; of a large file that was not touched since it was last read, without reading it."""
    with path.open("rb") as file:
        before = _state(path, file)
        if before["size"] < LARGE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        entry = _entry(path)
        if entry and (known := _read(entry, before)):
            return known
        started = time.time()
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        newest = max(before["mtime_ns"], before["ctime_ns"]) / 1e9
        if entry and _state(path, file) == before and newest < started - SETTLED_S:
            _keep(entry, before, digest)
        return digest


def digest_large_folder(path: Path) -> str:
    """`digests.digest_folder` of all files, without reading large ones that were not touched since."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest_json([[file.relative_to(path).as_posix(), digest_large_file(file)] for file in files])


def _entry(path: Path) -> Path | None:
    """Where a file's digest is kept; None for a user without a home."""
    try:
        return cache_root() / "digests" / f"{digest_json(os.fspath(path.absolute()))}.json"
    except RuntimeError:
        return None


def _state(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """What changes when a file does."""
    status = os.fstat(file.fileno())
    return {
        "path": os.fspath(path.absolute()), "size": status.st_size, "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns, "inode": status.st_ino, "device": status.st_dev, "boot": _boot(),
    }  # fmt: skip


@cache
def _boot() -> str:
    """Numbers of inodes and devices mean something in one boot of one machine only."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{os.uname().nodename}-{os.getpid()}"  # not known: for this process alone


def _read(entry: Path, state: dict[str, Any]) -> str | None:
    """The digest in an entry that is whole, ours and of this state."""
    try:
        if entry.parent.stat().st_uid != os.getuid() or entry.stat().st_uid != os.getuid():
            return None
        values = json.loads(entry.read_bytes())
        digest, seal = str(values["digest"]), values["seal"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if seal == digest_json([state, digest]) else None


def _keep(entry: Path, state: dict[str, Any], digest: str) -> None:
    """Write an entry whole; a disk that is full or read-only is no failure."""
    beside = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    with suppress(OSError):
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(state | {"digest": digest, "seal": digest_json([state, digest])}) + "\n")
            beside.replace(entry)
        finally:
            beside.unlink(missing_ok=True)
