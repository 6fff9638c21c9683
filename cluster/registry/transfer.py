"""The way of a version's files to a bucket and from there: in between nobody sees a part of it."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_folder
from cluster.storage.files import explained_disk, write_atomically

if TYPE_CHECKING:
    from cluster.storage.buckets import Bucket

MANIFEST = "manifest.json"


class DamagedVersion(TandemError):
    """A version whose files are not those of its manifest."""


def send_files(bucket: "Bucket", folder: Path, key: str) -> None:
    """Put all files of a folder but the manifest, with which they become a version."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / MANIFEST)
    for file in files:
        bucket.put(f"{key}/{file.relative_to(folder).as_posix()}", file)


def fetch_version(bucket: "Bucket", key: str, folder: Path, files: Iterable[str] | None = None) -> None:
    """Bring a version's files to `folder`, which is there with all of them or not at all.

    Args:
        files: their keys, where they are known.

    Raises:
        Damaged: they are not what the manifest says.
        TandemError: the bucket does not answer, or the disk is full.
    """

    def download(beside: Path) -> None:
        for file in files or bucket.listed(f"{key}/"):
            bucket.download(file, beside / file.removeprefix(f"{key}/"))
        manifest = (beside / MANIFEST).read_bytes()
        (beside / MANIFEST).unlink()
        if digest_folder(beside) != _digest_in(manifest):
            raise DamagedVersion(
                f"{key} in {bucket.url} is not what its manifest says.",
                "Files that nobody has changed since they were published.",
                "Publish the version anew, under a new number.",
            )
        write_atomically(beside / MANIFEST, manifest)

    _appear(folder, download)


def keep_version(staging: Path, manifest: bytes, folder: Path) -> None:
    """Keep what was just published, so that it need not be fetched."""

    def copy(beside: Path) -> None:
        shutil.copytree(staging, beside, dirs_exist_ok=True)
        write_atomically(beside / MANIFEST, manifest)

    _appear(folder, copy)


def _appear(folder: Path, fill: Callable[[Path], None]) -> None:
    beside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        with explained_disk(folder):
            beside.mkdir(parents=True)
            fill(beside)
            if not (folder / MANIFEST).exists():  # otherwise another process of this machine was first
                beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _digest_in(manifest: bytes) -> str | None:
    try:
        value = json.loads(manifest)
    except ValueError:
        return None
    return value.get("content_digest") if isinstance(value, dict) else None
