"""The storage: a folder, or a bucket with a folder of this machine before it."""

import fcntl
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from cluster.fingerprints.kept_digests import CACHE, cache_root
from cluster.storage.buckets import SCHEMES, Bucket, open_bucket
from cluster.storage.objects import Folder, Place, SharedRecord
from cluster.storage.run_copies import RunCopy


@dataclass(frozen=True)
class Storage:
    """The rooms under `storage`: runs by project, adapters, the local Milvus data, and what was forgotten.

    With a bucket, `root` is this machine's working folder: runs are written there and copied, versions of adapters are
    fetched there when they are used. What several machines change lies in the bucket only (`place`).
    """

    root: Path
    bucket: Bucket | None = field(default=None)

    @property
    def place(self) -> Place:
        """Where small things lie that several machines change."""
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
    def keys_place(self) -> Place:
        """Where keys are made and revoked."""
        return self.bucket.at("keys") if self.bucket else Folder(self.keys, mode=0o600)

    @property
    def keys_url(self) -> str | None:
        """Where the keys lie, where that is a bucket."""
        return f"{self.bucket.url}/keys" if self.bucket else None

    @property
    def logs(self) -> Path:
        """The endpoint's access log, and what callers let it keep."""
        return self.root / "logs"

    def forgotten(self, collection: str) -> SharedRecord:
        """The names of documents that are left out of a collection."""
        return SharedRecord(self.place, f"forgotten/{collection}.json")

    def identity(self, project: str) -> SharedRecord:
        """What a project is known by to the servers that it uses."""
        return SharedRecord(self.place, f"{project}/identity.json")

    def runs(self, project: str) -> Path:
        return self.root / project

    def copy(self, folder: Path) -> RunCopy | None:
        """A folder below `root` with its copy; None where there is no bucket."""
        return RunCopy(self.bucket.at(folder.relative_to(self.root).as_posix()), folder) if self.bucket else None

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
    return cache_root() / digest_json(url.rstrip("/"))[:16]


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
