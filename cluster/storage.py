"""The storage folder and the two ways in which a file gets there: atomically, or once and never again."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import TandemError


@dataclass(frozen=True)
class Storage:
    """The rooms under `storage`: runs by project, adapters, the local Milvus data, and what was forgotten."""

    root: Path

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def milvus(self) -> Path:
        return self.root / "milvus"

    @property
    def keys(self) -> Path:
        """The API keys of the endpoint."""
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        """The endpoint's access log, and what callers let it keep."""
        return self.root / "logs"

    def forgotten(self, collection: str) -> Path:
        """The file with the names of documents that are left out of a collection."""
        return self.root / "forgotten" / f"{collection}.json"

    def runs(self, project: str) -> Path:
        return self.root / project

    def answers(self, project: str) -> Path:
        """The file that keeps what arms answered in comparisons."""
        return self.runs(project) / "answers.sqlite"


def open_storage(location: str, folder: Path) -> Storage:
    """The storage at `location`, created where missing; relative paths are relative to `folder`.

    Raises:
        TandemError: for an object store, and for a place that cannot be written.
    """
    if "://" in location:
        raise TandemError(
            f"storage is {location!r}.", "This version stores on a local or mounted folder.", "Set `storage: ./runs`."
        )
    root = (folder / Path(location).expanduser()).resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TandemError(
            f"The storage folder {root} cannot be written ({error.strerror}).",
            "A folder that you may write to.",
            "Set `storage` in the project file, or change the folder's rights.",
        ) from error
    return Storage(root)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    temporary = _write_beside(path, content)
    temporary.replace(path)


def write_once(path: Path, content: str | bytes) -> bool:
    """Write a file only where there is none yet; of several writers exactly one gets True."""
    temporary = _write_beside(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _write_beside(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
