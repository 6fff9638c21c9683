"""Whether storage can be written, read and renamed in, how fast it is, and whether all nodes see the same.

Each node leaves a file; once all have, each reads those of the others. A bucket is tried for conditional writes too.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cluster.preflight.finding import Finding
from cluster.storage.buckets import failure_reason, open_store

MIB = 2**20
FOLDER_PROBE_BYTES = 64 * MIB
SLOW_MIB_S = 20.0
# NFS keeps what it knows of a folder for up to a minute; by default for three to thirty seconds.
SEEN_S = 30.0
POLL_S = 0.2
FOLDER_REMEDY = (
    "Set `storage` to a folder that this user may write to and that has space (on a cluster one that all nodes mount)."
)


def check_folder(root: Path, num_bytes: int = FOLDER_PROBE_BYTES) -> Iterator[Finding]:
    """Write a file, have it on the disk, read it, rename it over another, link it once, delete it; with MiB/s."""
    folder = root / f".doctor-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True)
        values = _rates(folder / "probe", num_bytes)
        atomic = _renames(folder)
    except OSError as error:
        yield Finding("storage", "failed", f"{root} cannot be used: {error.strerror or error}", FOLDER_REMEDY)
        return
    finally:
        _remove(folder)
    shown = f"{root}: {values['write_mib_s']:.0f} MiB/s written, {values['read_mib_s']:.0f} MiB/s read"
    if not atomic:
        seen = f"{shown}, but it cannot link files, by which a version's number is taken once"
        remedy = "Use a file system with hard links (ext4, XFS, NFS), or a bucket."
        yield Finding("storage", "failed", seen, remedy, values=values)
    elif values["write_mib_s"] < SLOW_MIB_S:
        seen = f"{shown}; a checkpoint of 1 GiB takes {1024 / values['write_mib_s']:.0f} s"
        remedy = f"Use storage that writes at {SLOW_MIB_S:.0f} MiB/s or more."
        yield Finding("storage", "warning", seen, remedy, values=values)
    else:
        yield Finding("storage", "ok", f"{shown}; files are renamed and linked", values=values)


def leave_file(folder: Path, node: str) -> str:
    """A file of this node in the folder of all; gives the SHA-256 of what is in it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    content = os.urandom(MIB)
    beside = folder / f".{node}.part"
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / node)
    return hashlib.sha256(content).hexdigest()


def look_for_files(folder: Path, others: Mapping[str, str], limit_s: float = SEEN_S) -> Iterator[Finding]:
    """Whether the files that the other nodes left (SHA-256 by node) are seen here, and after how long."""
    started, missing = time.monotonic(), dict(others)
    while missing and time.monotonic() - started < limit_s:
        with suppress(OSError):
            list(folder.iterdir())  # has a client of NFS ask its server again
        missing = {node: digest for node, digest in missing.items() if _digest(folder / node) != digest}
        if missing:
            time.sleep(POLL_S)
    seconds = time.monotonic() - started
    if missing:
        yield Finding(
            "shared storage", "failed",
            f"what {', '.join(sorted(missing))} wrote to {folder.parent} is not seen here after {limit_s:.0f} s",
            "Mount one shared folder (NFS, a ReadWriteMany volume) at this path on every node, and set `storage` to "
            "it.",
        )  # fmt: skip
    else:
        yield Finding("shared storage", "ok", f"files of {len(others)} other nodes were read after {seconds:.1f} s",
                      values={"seconds": round(seconds, 3)})  # fmt: skip


def _rates(path: Path, num_bytes: int) -> dict[str, float]:
    block = os.urandom(MIB)
    started = time.monotonic()
    with path.open("wb") as file:
        for _ in range(max(1, num_bytes // MIB)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = time.monotonic()
        with suppress(OSError):  # read from the disk, where it can be said, and not from memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    reading = time.monotonic()
    with path.open("rb") as file:
        while file.read(MIB):
            pass
    size = max(1, num_bytes // MIB)
    ended = time.monotonic()
    return {"write_mib_s": size / max(written - started, 1e-9), "read_mib_s": size / max(ended - reading, 1e-9)}


def _renames(folder: Path) -> bool:
    """Whether a file replaces another, and a link is refused where there is a file. Raises OSError for the first."""
    new, old, once = folder / "new", folder / "old", folder / "once"
    old.write_text("old")
    new.write_text("new")
    new.replace(old)
    if old.read_text() != "new":
        return False
    try:
        os.link(old, once)
    except OSError:
        return False
    try:
        os.link(old, once)
    except FileExistsError:
        return True
    return False


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _remove(folder: Path) -> None:
    with suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def clear_folder(folder: Path) -> None:
    """Take away what the nodes left."""
    _remove(folder)


BUCKET_PROBE_BYTES = 8 * MIB
REQUEST_S = 20
BUCKET_REMEDY = (
    "Correct the address and the credentials in the environment (AWS_..., GOOGLE_..., AZURE_...); they need list, "
    "read, write and delete."
)


def check_bucket(url: str, num_bytes: int = BUCKET_PROBE_BYTES) -> Iterator[Finding]:
    """`url` is such as s3://bucket/prefix. What is written is deleted again."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        store, path = open_store(url, REQUEST_S)
        key = f"{path}/.doctor-{uuid.uuid4().hex}".lstrip("/")
        try:
            started = time.monotonic()
            store.put(key, os.urandom(num_bytes), mode="create")
            written = time.monotonic()
            size = len(store.get(key).bytes().to_bytes())
            ended = time.monotonic()
            try:
                store.put(key, b"", mode="create")
                is_once = False
            except AlreadyExistsError:
                is_once = True
        finally:
            with suppress(BaseError, OSError):
                store.delete(key)
    except (BaseError, OSError, ValueError) as error:
        yield Finding("storage", "failed", f"{url} cannot be used: {failure_reason(error)}", BUCKET_REMEDY)
        return
    speeds = {"write_mib_s": num_bytes / MIB / (written - started), "read_mib_s": size / MIB / (ended - written)}
    shown = f"{url}: {speeds['write_mib_s']:.0f} MiB/s written, {speeds['read_mib_s']:.0f} MiB/s read"
    if is_once:
        yield Finding("storage", "ok", f"{shown}; it refuses to replace what is to be written once", values=speeds)
    else:
        seen = f"{shown}, but it replaces what is to be written once: two publishers could get one number"
        yield Finding("storage", "failed", seen, "Use a bucket with conditional writes (If-None-Match).", values=speeds)
