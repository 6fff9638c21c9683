"""Whose a collection is: the identity of a project, made once, kept in its storage and with its collections."""

import json
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.errors import TandemError
from cluster.storage.objects import SharedRecord

OWNER_PROPERTY = "tandem.owner"


@dataclass(frozen=True)
class ProjectIdentity:
    """A project by what nobody else has, and by what a reader knows it by."""

    id: str
    project: str
    """Its name."""
    where: str
    """Where its identity was made, in words."""

    def written(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))


def keep_identity(kept: SharedRecord, project: str, folder: Path) -> ProjectIdentity:
    """The identity that is kept in the storage of a project; made where there is none yet.

    Raises:
        TandemError: what is kept is damaged.
    """
    made = ProjectIdentity(uuid.uuid4().hex, project, f"first indexed on {socket.gethostname()} from {folder}")
    kept.update(lambda there: made.written().encode() if there is None else there)
    content = kept.read()
    identity = _read(content.decode(errors="replace") if content else "")
    if identity is None:
        raise TandemError(
            f"{kept} cannot be read.",
            "It holds the identity of the project, by which its collections are known to be its own.",
            "Remove the file; then run `tandem index --take-over`, which makes another one.",
        )
    return identity


def owner_of(properties: Mapping[str, str]) -> ProjectIdentity | None:
    """Whose a collection with these properties is; None where an earlier version built it, which wrote no owner."""
    if (written := properties.get(OWNER_PROPERTY)) is None:
        return None
    return _read(written) or ProjectIdentity("", "unknown", "written by another version of Tandem")


def _read(written: str) -> ProjectIdentity | None:
    try:
        values = json.loads(written)
        return ProjectIdentity(str(values["id"]), str(values["project"]), str(values["where"]))
    except (KeyError, TypeError, ValueError):
        return None
