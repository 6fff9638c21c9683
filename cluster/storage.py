"""The storage: a folder, or a bucket with a folder of this machine before it; and the ways in which a file gets there.

A file is written atomically, or once and never again.
"""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.digests import digest_json
from cluster.errors import TandemError

if TYPE_CHECKING:
    from cluster.buckets import Bucket
    from cluster.copies import Copy
    from cluster.places import Place, Record

CACHE = "TANDEM_CACHE"
"""The environment variable that names the folder for copies of what lies in buckets."""


@dataclass(frozen=True)
class Storage:
    """The rooms under `storage`: runs by project, adapters, the local Milvus data, and what was forgotten.

    With a bucket, `root` is this machine's working folder: runs are written there and copied, versions of adapters are
    fetched there when they are used. What several machines change lies in the bucket only (`place`).
    """

    root: Path
    bucket: "Bucket | None" = field(default=None)

    @property
    def place(self) -> "Place":
        """Where small things lie that several machines change."""
        from cluster.places import Folder

        return self.bucket or Folder(self.root)

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def adapters_url(self) -> str | None:
        """Where the registry lies, where that is a bucket."""
        return f"{self.bucket.url}/adapters" if self.bucket else None

    @property
    def milvus(self) -> Path:
        return self.root / "milvus"

    @property
    def keys(self) -> Path:
        """The API keys of the endpoint; with a bucket this machine's copy of them."""
        return self.root / "keys"

    @property
    def keys_place(self) -> "Place":
        """Where keys are made and revoked."""
        from cluster.places import Folder

        return self.bucket.at("keys") if self.bucket else Folder(self.keys, mode=0o600)

    @property
    def keys_url(self) -> str | None:
        """Where the keys lie, where that is a bucket."""
        return f"{self.bucket.url}/keys" if self.bucket else None

    @property
    def logs(self) -> Path:
        """The endpoint's access log, and what callers let it keep."""
        return self.root / "logs"

    def forgotten(self, collection: str) -> "Record":
        """The names of documents that are left out of a collection."""
        from cluster.places import Record

        return Record(self.place, f"forgotten/{collection}.json")

    def runs(self, project: str) -> Path:
        return self.root / project

    def copy(self, folder: Path) -> "Copy | None":
        """A folder below `root` with its copy; None where there is no bucket."""
        from cluster.copies import Copy

        return Copy(self.bucket.at(folder.relative_to(self.root).as_posix()), folder) if self.bucket else None

    def fetch(self, project: str, *patterns: str) -> None:
        """Bring what other machines left of a project's runs, such as `compare-*/report.json`.

        What a process of this machine is writing is not touched: it is newer here.
        """
        if self.bucket is None:
            return
        there = self.bucket.at(project)
        for run in sorted({key.partition("/")[0] for pattern in patterns for key in there.glob(pattern)}):
            if (copy := self.copy(self.runs(project) / run)) and not _is_held(copy.folder / "lock"):
                copy.pull(*(pattern.partition("/")[2] for pattern in patterns))

    def answers(self, project: str) -> Path:
        """The file that keeps what arms answered in comparisons."""
        return self.runs(project) / "answers.sqlite"


def _is_held(lock: Path) -> bool:
    """Whether a process of this machine is at a run."""
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def open_storage(location: str, folder: Path) -> Storage:
    """The storage at `location`, a folder or the URL of a bucket; relative paths are relative to `folder`.

    Raises:
        TandemError: it cannot be written; a bucket is not there, does not answer or refuses the credentials.
    """
    if "://" in location:
        return _open_bucket(location)
    root = (folder / Path(location).expanduser()).resolve()
    _check_writable(root, "Set `storage` in the project file, or change the folder's rights.")
    return Storage(root)


def _open_bucket(url: str) -> Storage:
    from cluster.buckets import SCHEMES, open_bucket

    if url.partition("://")[0] not in SCHEMES:
        raise TandemError(
            f"storage is {url!r}.",
            "A folder, or a bucket: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix.",
            "Set `storage: ./runs`, or the URL of a bucket.",
        )
    bucket = open_bucket(url)
    root = cache_folder(url)
    _check_writable(root, f"Set the environment variable {CACHE} to a folder on a disk with room.")
    bucket.check()
    return Storage(root, bucket)


def cache_folder(url: str) -> Path:
    """This machine's folder for what lies in a bucket."""
    named = os.environ.get(CACHE)
    caches = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tandem"
    return caches.expanduser().resolve() / digest_json(url.rstrip("/"))[:16]


def _check_writable(root: Path, remedy: str) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TandemError(
            f"The storage folder {root} cannot be written ({error.strerror}).",
            "A folder that you may write to.",
            remedy,
        ) from error


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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
