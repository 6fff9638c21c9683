"""Which run `tandem train --resume` goes on with."""

import json
from pathlib import Path

from cluster.errors import TandemError
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from training.config import TrainingConfig
from training.job import JOB
from training.publish import fingerprint


def find_interrupted(
    folder: Path, config: TrainingConfig, model: str, base_digest: str, storage: Storage | None = None
) -> Run:
    """The newest run below `folder` that began to train and did not end well, opened again.

    Raises:
        TandemError: the project searches, there is none, its command still runs, or data or settings have changed
            since it was started.
    """
    if config.search:
        raise TandemError(
            "`training.search` is set, and a search is not gone on with.",
            "A single training.",
            "Search again with `tandem train`.",
        )
    runs = [path.parent for path in folder.glob(f"*/{JOB}") if _status(path.parent) != "done"]
    if not runs:
        raise TandemError(
            f"There is no training below {folder} that did not end.",
            "A training that was interrupted, or whose machine went down.",
            "Start one with `tandem train`.",
        )
    newest = max(runs, key=lambda run: (run / JOB).stat().st_mtime)
    prepared = json.loads((newest / JOB).read_text())
    if prepared["fingerprint"] != fingerprint(config, model, base_digest):
        raise TandemError(
            f"The training {newest.name} was started with other data, settings, packages or another model.",
            "What it was started with: the settings stand in its config.yaml.",
            "Put them back to go on with it, or start a new one with `tandem train`.",
        )
    return Run.reopen(newest, storage)


def _status(run: Path) -> str:
    try:
        return str(json.loads((run / "manifest.json").read_text())["status"])
    except (OSError, ValueError, KeyError):
        return "unknown"
