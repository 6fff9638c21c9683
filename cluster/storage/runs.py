"""A run folder: the resolved config, a manifest that says how it ended, metrics and reports.

<storage>/<project>/<verb>-<UTC time>-<id>/  config.yaml  manifest.json  metrics.jsonl  report.*
"""

import fcntl
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from cluster.config import SCHEMA_VERSION
from cluster.errors import TandemError
from cluster.fingerprints.provenance import describe_machine, git_commit, package_versions
from cluster.storage.files import write_atomically
from cluster.storage.run_copies import RunClaim, RunCopy
from cluster.storage.storage import Storage


@dataclass(frozen=True)
class Run:
    """One execution of one verb; `path` is its folder, of which `copy` keeps a copy where the storage is a bucket."""

    path: Path
    verb: str
    started: str
    copy: "RunCopy | None" = field(default=None, compare=False, repr=False)

    @classmethod
    def start(cls, storage: Storage, project: str, verb: str, config: dict[str, Any]) -> "Run":
        """Make the folder of a new run and write its resolved config."""
        now = datetime.now(UTC)
        path = storage.runs(project) / f"{verb}-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        path.mkdir(parents=True)
        write_atomically(path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        run = cls(path, verb, now.isoformat(timespec="seconds"), storage.copy(path))
        run._write_manifest("running", {})
        return run

    @classmethod
    def reopen(cls, path: Path, storage: Storage | None = None) -> "Run":
        """Take up a run that did not end; its folder is as it was left, on whichever machine that was."""
        copy = storage.copy(path) if storage else None
        if copy:
            copy.pull()
        manifest = json.loads((path / "manifest.json").read_text())
        return cls(path, manifest["verb"], manifest["started"], copy)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the run to this process for a block; the kernel lets go of it when the process dies.

        In a bucket it is kept by signs of life, and its files are sent while they are written.

        Raises:
            TandemError: another process is at it.
        """
        with (self.path / "lock").open("w") as file, ExitStack() as there:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TandemError(
                    f"The run {self.path} is still going on in another process.",
                    "A run whose command has ended.",
                    "Wait for it, or stop it first.",
                ) from error
            if self.copy:
                there.enter_context(RunClaim(self.copy.bucket).held())
                there.enter_context(self.copy.kept_up())
            self._write_manifest("running", {})
            yield

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def status(self) -> str:
        """As `run_status`."""
        return run_status(self.path)

    def log_metrics(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")

    def finish(self, status: str, **fields: Any) -> None:
        """Record how the run ended: `done`, `failed` or `interrupted`, and what else its verb wants to say."""
        self._write_manifest(status, {"ended": datetime.now(UTC).isoformat(timespec="seconds"), **fields})

    def _write_manifest(self, status: str, fields: dict[str, Any]) -> None:
        manifest = {
            "schema_version": SCHEMA_VERSION, "verb": self.verb, "status": status, "started": self.started,
            "git_commit": git_commit(), "machine": describe_machine(), "versions": package_versions(), **fields,
        }  # fmt: skip
        write_atomically(self.path / "manifest.json", json.dumps(manifest, indent=2, default=str) + "\n")


def run_status(folder: Path) -> str:
    """What a run's manifest says: `running`, `done`, `failed` or `interrupted`; `unknown` where it has none."""
    try:
        return str(json.loads((folder / "manifest.json").read_text())["status"])
    except (OSError, ValueError, KeyError):
        return "unknown"
