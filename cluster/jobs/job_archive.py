"""A user's data as one package: which files go into it, which stay here, and what it weighs.

Nothing is taken that the project does not name, and nothing that looks like a secret.
"""

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster.errors import TandemError
from cluster.jobs.wheel import member

UPLOAD_LIMIT = 100 * 2**20
"""Bytes that Ray's dashboard takes in one upload (DASHBOARD_CLIENT_MAX_SIZE in ray/_private/ray_constants.py of 2.60;
more is answered with 413). The 512 MiB of GCS_STORAGE_MAX_SIZE are for drivers that talk to the cluster itself."""

_SECRET_NAME = re.compile(
    r"\.env(\..*)?|.*\.(env|key|p12|pfx|jks|kdbx)|id_(rsa|dsa|ecdsa|ed25519)(\..*)?|\.?netrc|\.pgpass|\.npmrc|\.pypirc"
    r"|\.?kubeconfig|\.?auth_token|credentials(\.(json|ini|ya?ml|txt))?",
    re.IGNORECASE,
)
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_LOOKED_AT = 2**20
"""Bytes at the start of a file in which a private key is looked for."""
_SHOWN = 5


@dataclass(frozen=True)
class UserFile:
    """A file or folder of the user's, and where it goes."""

    path: Path
    to: str
    """Its name in the package, as in project/data/train.jsonl."""

    key: str
    """The setting that names it, for messages."""

    suffixes: frozenset[str] | None = None
    """In a folder: the suffixes that are read; None takes every file."""


@dataclass(frozen=True)
class PackedFile:
    """One file of a package: on this machine, or made for it."""

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes, uncompressed."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class LeftOutFile:
    """Something in a folder that stays here."""

    path: Path
    why: str


@dataclass(frozen=True)
class JobArchive:
    """What is sent of the user's, by name, and what is not."""

    files: tuple[PackedFile, ...]
    folders: tuple[str, ...]
    left_out: tuple[LeftOutFile, ...]

    @property
    def size(self) -> int:
        """Bytes, uncompressed."""
        return sum(file.size for file in self.files)

    def write_zip(self, to: Path, limit: int = UPLOAD_LIMIT) -> None:
        """Write the package as a zip: the same bytes for the same files.

        Raises:
            TandemError: it is larger than `limit` bytes; `to` is gone then.
        """
        with to.open("wb") as raw, zipfile.ZipFile(raw, "w") as archive:
            for folder in self.folders:
                archive.writestr(zipfile.ZipInfo(f"{folder}/"), b"")
            # As soon as it is too large nothing more is read: there may be terabytes.
            fits = all(_add(archive, file, lambda: raw.tell() <= limit) for file in self.files)
        if not fits or to.stat().st_size > limit:
            to.unlink()
            raise self._too_large(limit)

    def write_folder(self, to: Path) -> None:
        """Write the package's files below a folder."""
        for folder in self.folders:
            (to / folder).mkdir(parents=True, exist_ok=True)
        for file in self.files:
            (to / file.name).parent.mkdir(parents=True, exist_ok=True)
            (to / file.name).write_bytes(file.read())

    def _too_large(self, limit: int) -> TandemError:
        largest = sorted(self.files, key=lambda file: file.size, reverse=True)[:_SHOWN]
        named = ", ".join(f"{file.name} ({format_bytes(file.size)})" for file in largest)
        return TandemError(
            f"The project's {len(self.files)} files ({format_bytes(self.size)}) do not fit into one upload; "
            f"the largest: {named}.",
            f"At most {format_bytes(limit)} compressed, which is what Ray's dashboard takes.",
            "Put the large ones where every node reads them (a shared folder, an object store) and name them there in "
            "the project file; `--shared FOLDER` keeps what lies below a folder that this machine mounts too.",
        )


def pack_files(wanted: Iterable[UserFile], storage: Path | None) -> JobArchive:
    """Find the files of what is wanted; `storage` is never among them.

    Raises:
        TandemError: something wanted does not exist, or is a secret itself.
    """
    files: dict[str, PackedFile] = {}
    folders: set[str] = set()
    left_out: list[LeftOutFile] = []
    for each in wanted:
        if each.path.is_file():
            _refuse_secret(each)
            files[each.to] = PackedFile(each.to, each.path)
        elif each.path.is_dir():
            folders.add(each.to)
            for file in _below(each, storage, left_out.append):
                files[file.name] = file
        else:
            raise TandemError(
                f"{each.key} names {each.path}, which is not there.",
                "A file or folder of this machine, or an absolute path that the cluster's nodes have.",
                "Check the path.",
            )
    return JobArchive(tuple(files[name] for name in sorted(files)), tuple(sorted(folders)), tuple(left_out))


def format_bytes(size: float) -> str:
    """Such as 3.2 MiB."""
    if size < 1024:
        return f"{size:.0f} B"
    units = iter(("KiB", "MiB", "GiB"))
    while size >= 1024 and (unit := next(units, "")):
        size, shown_unit = size / 1024, unit
    return f"{size:.1f} {shown_unit}"


def _below(wanted: UserFile, storage: Path | None, leave: Callable[[LeftOutFile], None]) -> Iterator[PackedFile]:
    """The files in a folder, as indexing walks it: nothing hidden, no links to folders."""
    for folder, subfolders, names in os.walk(wanted.path):
        here = Path(folder)
        for name in sorted(subfolders):
            if why := _why_not_folder(here / name, storage):
                leave(LeftOutFile(here / name, why))
                subfolders.remove(name)
        subfolders.sort()
        for name in sorted(names):
            path = here / name
            if why := _why_not(path, wanted.suffixes):
                leave(LeftOutFile(path, why))
            else:
                yield PackedFile(str(PurePosixPath(wanted.to, path.relative_to(wanted.path).as_posix())), path)


def _why_not_folder(path: Path, storage: Path | None) -> str | None:
    if storage is not None and path.resolve() == storage:
        return "the storage"
    if path.name.startswith(".") or path.name == "__pycache__":
        return "hidden"
    return "a link to a folder" if path.is_symlink() else None


def _why_not(path: Path, suffixes: frozenset[str] | None) -> str | None:
    if _SECRET_NAME.fullmatch(path.name):
        return "a secret by its name"
    if path.name.startswith("."):
        return "hidden"
    if not path.is_file():
        return "no file"
    if suffixes is not None and path.suffix.lower() not in suffixes:
        return "no document"
    return "a private key" if _holds_private_key(path) else None


def _refuse_secret(wanted: UserFile) -> None:
    if _SECRET_NAME.fullmatch(wanted.path.name) or _holds_private_key(wanted.path):
        raise TandemError(
            f"{wanted.key} names {wanted.path}, which is a secret by its name or holds a private key.",
            "Files that may lie in the memory of a cluster and be read by whoever may submit to it.",
            "Mount it on the cluster's nodes as a Secret, and name its absolute path there.",
        )


def _holds_private_key(path: Path) -> bool:
    with path.open("rb") as file:
        return _PRIVATE_KEY.search(file.read(_LOOKED_AT)) is not None


def _add(archive: zipfile.ZipFile, file: PackedFile, fits: Callable[[], bool]) -> bool:
    """Write one file for as long as it fits; whether it did."""
    with archive.open(member(file.name), "w", force_zip64=file.size >= 2**31) as target:
        if isinstance(file.source, bytes):
            target.write(file.source)
            return fits()
        with file.source.open("rb") as source:
            while piece := source.read(2**20):
                target.write(piece)
                if not fits():
                    return False
    return True
